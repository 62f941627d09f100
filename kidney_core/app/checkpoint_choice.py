"""Which checkpoint, and which of its measurements: the inputs, and the two accuracies of the chosen one."""

from collections.abc import Sequence

import streamlit as st

from kidney_core.app import markdown
from kidney_core.checkpoints import hospital_results, purpose
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.errors import CheckpointError
from kidney_core.metrics.number_format import percent
from kidney_core.metrics.splits import MEASURED, PROTOCOL_NAMES, RANDOM

UNSEEN_HELP = (
    "Accuracy on test slices of scans that training never used (scan-level split): an estimate for new patients of the same "
    "hospitals."
)
RANDOM_HELP = (
    "Accuracy on slices drawn at random, as in the paper. Neighbours of nearly every test slice were in training (data "
    "leakage), so the figure is too high for new patients."
)
OTHER_HOSPITALS_HELP = (
    "Measured on slices and whole scans of hospitals that were not in training. See Evaluation, Other hospitals, for each of them "
    "with its interval."
)
NEVER_HELP = "On unseen scans too many predictions of this label were wrong, so the model abstains. The probabilities are still shown."


def checkpoint_title(checkpoint: Checkpoint) -> str:
    """A checkpoint in a list: its name, whether it lacks its seal, and whether it has no figures."""
    return checkpoint.name + "".join(
        f" · {remark}"
        for remark, holds in (
            ("not sealed", checkpoint.seal_warning),
            ("never evaluated here", not checkpoint.is_evaluated),
        )
        if holds
    )


def choose_checkpoint(title: str, checkpoints: Sequence[Checkpoint], *, key: str) -> Checkpoint:
    """The chosen one of `checkpoints`, which stays chosen when another page was open in between."""
    names = [checkpoint.name for checkpoint in checkpoints]
    purposes = purpose.purposes(checkpoints)
    # Streamlit forgets a widget that a run does not draw.
    last = st.session_state.get(f"{key}_last")
    chosen = st.selectbox(
        markdown.text(title),
        checkpoints,
        index=names.index(last) if last in names else 0,
        format_func=lambda each: " · ".join((checkpoint_title(each), *purposes[each.name][:1])),
        key=key,
    )
    st.session_state[f"{key}_last"] = chosen.name
    return chosen


def show_accuracy(checkpoint: Checkpoint) -> None:
    """Two lines below the choice of a model: its accuracy on unseen scans, and its results on other hospitals."""
    metrics = checkpoint.unseen_metrics()
    accuracy = percent(metrics["accuracy"], 0) if metrics else _without_figures(checkpoint)
    st.caption(f"Accuracy on unseen scans: **{accuracy}**", help=UNSEEN_HELP)
    if never := purpose.never_answered(checkpoint):
        st.caption(f"Never answers: **{markdown.text(', '.join(never))}**", help=NEVER_HELP)
    st.caption(f"Other hospitals: {_other_hospitals(checkpoint)}", help=OTHER_HOSPITALS_HELP)


def _other_hospitals(checkpoint: Checkpoint) -> str:
    """The results on other hospitals in one line."""
    try:
        measured = checkpoint.other_hospitals()
    except CheckpointError as error:
        return markdown.text(error)
    lines = hospital_results.headlines(measured) if measured else []
    return (
        "; ".join(f"{markdown.text(line.what)} **{markdown.text(line.short)}**" for line in lines)
        or f"**{_without_figures(checkpoint)}**"
    )


def _without_figures(checkpoint: Checkpoint) -> str:
    """What stands in place of a figure, within a sentence."""
    return "not measured" if checkpoint.is_evaluated else "never evaluated here"


def choose_protocol(checkpoints: Sequence[Checkpoint], key: str, *, at_least: int = 1) -> str | None:
    """The protocol whose metrics are shown, of those that at least so many checkpoints have; unseen scans come first."""
    offered = [
        name
        for name in reversed(MEASURED)
        if sum(bool(checkpoint.metrics(name)) for checkpoint in checkpoints) >= at_least
    ]
    if not offered:
        bare = [checkpoint.name for checkpoint in checkpoints if not checkpoint.is_evaluated]
        otherwise = (
            "These checkpoints have no test results."
            if at_least == 1
            else f"No protocol was measured for {at_least} of these checkpoints, so they cannot be compared."
        )
        st.info(
            f"{markdown.text(never_evaluated(bare))} Evaluate on a labelled folder: view *Your folder*."
            if bare
            else otherwise
        )
        return None
    return st.segmented_control(
        "Measured on", offered, default=offered[0], required=True, format_func=PROTOCOL_NAMES.__getitem__, key=key
    )


def never_evaluated(names: Sequence[str]) -> str:
    """That checkpoints have no figures, in a sentence."""
    listed = markdown.text(", ".join(f"“{name}”" for name in names))
    return f"{listed} {'was' if len(names) == 1 else 'were'} trained elsewhere and never evaluated here."


def show_accuracy_pair(checkpoint: Checkpoint) -> None:
    """The two accuracies of a checkpoint, always shown together."""
    if not checkpoint.is_evaluated:
        st.caption(markdown.text(never_evaluated([checkpoint.name])))
        return
    st.caption("Accuracy of networks trained this way, on test slices")
    unseen, random = st.columns(2)
    for column, metrics, title, help_text in (
        (unseen, checkpoint.unseen_metrics(), "Unseen scans", UNSEEN_HELP),
        (random, checkpoint.metrics(RANDOM), "Random split", RANDOM_HELP),
    ):
        column.metric(title, percent(metrics["accuracy"] if metrics else None), help=help_text, border=True)
