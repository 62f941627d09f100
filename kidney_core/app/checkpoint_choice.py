"""Which checkpoint, and which of its measurements: the inputs, and the two accuracies of the chosen one."""

from collections.abc import Sequence

import streamlit as st

from kidney_core.app import markdown
from kidney_core.checkpoints import hospital_results
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.errors import CheckpointError
from kidney_core.metrics.number_format import percent
from kidney_core.metrics.splits import MEASURED, PROTOCOL_NAMES, RANDOM

UNSEEN_HELP = (
    "Accuracy on test slices of scans that training never used: a scan-level (patient-level) split. This is what to expect "
    "for a new patient."
)
RANDOM_HELP = (
    "Accuracy on slices drawn at random, as in the paper. Neighbours of nearly every test slice were in training (data "
    "leakage), so the value is too high for a new patient."
)
OTHER_HOSPITALS_HELP = (
    "Measured on slices and whole scans of hospitals from which nothing was learned. See Evaluation, Other hospitals, for each of them "
    "with its interval."
)


def checkpoint_title(checkpoint: Checkpoint) -> str:
    """A checkpoint in a list: its name, and whether it lacks its seal."""
    return checkpoint.name + (" · not sealed" if checkpoint.seal_warning else "")


def choose_checkpoint(title: str, checkpoints: Sequence[Checkpoint], *, key: str) -> Checkpoint:
    """The chosen one of `checkpoints`, which stays chosen when another page was open in between."""
    names = [checkpoint.name for checkpoint in checkpoints]
    # Streamlit forgets a widget that a run does not draw.
    last = st.session_state.get(f"{key}_last")
    chosen = st.selectbox(
        markdown.text(title),
        checkpoints,
        index=names.index(last) if last in names else 0,
        format_func=checkpoint_title,
        key=key,
    )
    st.session_state[f"{key}_last"] = chosen.name
    return chosen


def show_accuracy(checkpoint: Checkpoint) -> None:
    """Two lines below the choice of a model: its accuracy on unseen scans, and its results on other hospitals."""
    metrics = checkpoint.unseen_metrics()
    accuracy = percent(metrics["accuracy"], 0) if metrics else "not measured"
    st.caption(f"Accuracy on unseen scans: **{accuracy}**", help=UNSEEN_HELP)
    st.caption(f"Other hospitals: {_other_hospitals(checkpoint)}", help=OTHER_HOSPITALS_HELP)


def _other_hospitals(checkpoint: Checkpoint) -> str:
    """The results on other hospitals in one line."""
    try:
        measured = checkpoint.other_hospitals()
    except CheckpointError as error:
        return markdown.text(error)
    lines = hospital_results.headlines(measured) if measured else []
    return (
        "; ".join(f"{markdown.text(line.what)} **{markdown.text(line.short)}**" for line in lines) or "**not measured**"
    )


def choose_protocol(checkpoints: Sequence[Checkpoint], key: str) -> str | None:
    """The protocol whose metrics are shown, of those that all checkpoints have; unseen scans come first."""
    offered = [name for name in reversed(MEASURED) if all(checkpoint.metrics(name) for checkpoint in checkpoints)]
    if not offered:
        st.info("No protocol was measured for all of these checkpoints, so they cannot be compared.")
        return None
    return st.segmented_control(
        "Measured on", offered, default=offered[0], required=True, format_func=PROTOCOL_NAMES.__getitem__, key=key
    )


def show_accuracy_pair(checkpoint: Checkpoint) -> None:
    """The two accuracies of a checkpoint, always shown together."""
    st.caption("Accuracy of networks trained this way, on test slices")
    unseen, random = st.columns(2)
    for column, metrics, title, help_text in (
        (unseen, checkpoint.unseen_metrics(), "Unseen scans", UNSEEN_HELP),
        (random, checkpoint.metrics(RANDOM), "Random split", RANDOM_HELP),
    ):
        column.metric(title, percent(metrics["accuracy"] if metrics else None), help=help_text, border=True)
