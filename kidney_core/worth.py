"""How often an answer was right on scans never seen, in a sentence."""

import pandas as pd

from kidney_core.checkpoint import Checkpoint
from kidney_core.figures import percent
from kidney_core.splits import GROUPED


def worth_of_answer(checkpoint: Checkpoint, label: str, tested: pd.DataFrame | None = None) -> str:
    """How often a checkpoint was right when it said `label`, and how many of that label it found; "" if not measured.

    Args:
        tested: its predictions under `checkpoint.honest`, for the number of scans; None leaves that out.
    """
    found = checkpoint.honest_figures()
    if not found:
        return ""
    n_said = sum(row[found["labels"].index(label)] for row in found["confusion"])
    one = checkpoint.honest == GROUPED
    who, were, it = ("this model", "was", "it") if one else ("networks of this recipe", "were", "they")
    right = found["per_label"][label]
    said = (
        f"{were} right {percent(right['precision'], 0)} of the {n_said:,} times {it} said {label}"
        if n_said
        else f"never said {label}"
    )
    n_scans = tested.loc[tested["label"] == label, "series"].nunique() if tested is not None else 0
    of_scans = f", which come from {n_scans} {'scan' if n_scans == 1 else 'scans'}" if n_scans else ""
    return (
        f"On scans never seen, {who} {said}, and found {percent(right['recall'], 0)} of the {right['support']:,} slices "
        f"that were {label}{of_scans}."
    )
