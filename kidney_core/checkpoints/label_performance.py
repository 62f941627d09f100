"""How often a predicted label was correct on unseen scans, in a sentence."""

from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.metrics.number_format import percent
from kidney_core.metrics.predictions import Predictions
from kidney_core.metrics.splits import GROUPED


def describe_label(checkpoint: Checkpoint, label: str, tested: Predictions | None = None) -> str:
    """Precision and recall of one label on unseen scans, in a sentence; "" where they were not measured.

    Args:
        tested: its predictions under `checkpoint.unseen_protocol`, for the number of scans; None leaves that out.
    """
    metrics = checkpoint.unseen_metrics()
    if not metrics:
        return ""
    n_predicted = sum(row[metrics["labels"].index(label)] for row in metrics["confusion"])
    rates = metrics["per_label"][label]
    predictor = "this model" if checkpoint.unseen_protocol == GROUPED else "networks of this recipe"
    precision = (
        f"predicted {label} {n_predicted:,} times and {percent(rates['precision'], 0)} of these were correct"
        if n_predicted
        else f"never predicted {label}"
    )
    n_scans = tested.n_series(label) if tested is not None else 0
    scans = f" (of {n_scans} {'scan' if n_scans == 1 else 'scans'})" if n_scans else ""
    return (
        f"On unseen scans, {predictor} {precision}. Of the {rates['support']:,} slices labelled {label}{scans}, "
        f"{percent(rates['recall'], 0)} were found."
    )
