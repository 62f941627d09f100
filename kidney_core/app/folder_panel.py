"""A checkpoint evaluated on a labelled folder that the user names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from kidney_core.app import audit_recorder, checkpoint_choice, markdown, matrix_panel, path_inputs, progress, tables
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.errors import KidneyError
from kidney_core.common.labels import LABELS
from kidney_core.metrics import number_format
from kidney_core.metrics.predictions import Predictions

_BY_FOLDER = "from the folder names"


@dataclass(frozen=True)
class FolderResult:
    """What came of the last evaluation.

    Attributes:
        unreadable: (file, reason) of those that could not be read.
        n_slices: of the folder; those without a prediction show no kidney.
        share_trained_on: of the files that were used for training, 0 to 1; None where the checkpoint does not list them.
    """

    checkpoint: Checkpoint
    root: Path
    predictions: Predictions
    unreadable: list[tuple[str, str]]
    share_trained_on: float | None
    n_slices: int


def show(checkpoints: Sequence[Checkpoint]) -> None:
    """The form, and the result of the last evaluation of this session."""
    st.markdown(
        "Evaluate a checkpoint on any labelled folder of this machine: with one folder per class, with some of the classes, or "
        "with images of a single class."
    )
    with st.form("evaluation_folder_form"):
        folder = path_inputs.path_input("Folder", placeholder="/data/ct-kidney", key="evaluation_folder")
        checkpoint = checkpoint_choice.choose_checkpoint("Checkpoint", checkpoints, key="evaluation_folder_model")
        label = st.selectbox(
            "Labels",
            [_BY_FOLDER, *LABELS],
            format_func=lambda name: name if name == _BY_FOLDER else f"every image is {name}",
            key="evaluation_folder_label",
        )
        only_kidneys = st.checkbox(
            "Leave out slices without a visible kidney",
            help="The kidney finder looks at each slice. Such slices get no label in Diagnosis.",
            key="evaluation_folder_kidneys",
        )
        is_submitted = st.form_submit_button("Evaluate", type="primary")
    if is_submitted:
        if not folder:
            st.error("Enter a folder first.")
            return
        try:
            chosen_label = None if label == _BY_FOLDER else label
            result = _evaluate(checkpoint, Path(folder), chosen_label, only_kidneys=only_kidneys)
        except KidneyError as error:
            st.error(
                f"{markdown.text(error)} Or choose the class of all images under Labels."
                if label == _BY_FOLDER
                else markdown.text(error)
            )
            return
        st.session_state["evaluation_result"] = result
    if "evaluation_result" in st.session_state:
        _show_result(st.session_state["evaluation_result"])


def _evaluate(checkpoint: Checkpoint, folder: Path, label: str | None, *, only_kidneys: bool) -> FolderResult:
    """Predict all images of a folder; `label` is the class of all of them, None where subfolders name it."""
    from kidney_core.checkpoints import prediction
    from kidney_core.data import dataset

    images = dataset.read_dataset(folder, label=label, progress=progress.progress_bar("Reading images"))
    predictions = prediction.predict_dataset(
        checkpoint, images, only_kidneys=only_kidneys, progress_of=progress.progress_bar
    )
    audit_recorder.diagnosis(checkpoint, input_sha256=images.fingerprint, probabilities={}, verdict="folder")
    share = prediction.n_trained_on(checkpoint, images) / len(images) if checkpoint.trained_on() else None
    return FolderResult(checkpoint, images.root, predictions, list(images.unreadable), share, len(images))


def _show_result(result: FolderResult) -> None:
    from kidney_core.metrics import evaluation, intervals

    checkpoint, predictions = result.checkpoint, result.predictions
    st.markdown(f"#### {markdown.text(checkpoint.name)} on “{markdown.text(result.root.name)}”")
    _show_overlap(result.share_trained_on)
    if result.unreadable:
        with st.expander(f"{len(result.unreadable)} files could not be read"):
            tables.show_unreadable(result.unreadable)
    if n_left_out := result.n_slices - len(predictions.table):
        st.caption(f"{n_left_out:,} of {result.n_slices:,} slices show no kidney and are left out.")
    metrics = evaluation.metrics(predictions)
    if len(predictions.present_labels) < len(predictions.labels):
        st.caption("This folder holds only some of the classes: averages are over those.")
    ranges = {name: [interval.low, interval.high] for name, interval in intervals.intervals(predictions).items()}
    st.caption(f"How to read this. {matrix_panel.HOW_TO_READ_MATRIX} {matrix_panel.HOW_TO_READ_REPORT}")
    key = f"{checkpoint.name}-folder"
    matrix, report = st.columns(2, gap="large")
    with matrix:
        matrix_panel.show_headline(metrics, ranges)
        selected = matrix_panel.show_matrix(metrics, predictions, key=key)
    with report:
        matrix_panel.show_report(metrics, predictions, ranges, key=key)
    if selected is not None:
        matrix_panel.show_cell(
            checkpoint, selected, key=key, where=result.root.name, same_network=True, images=str(result.root)
        )


def _show_overlap(share_trained_on: float | None) -> None:
    if share_trained_on is None:
        st.info(
            "This checkpoint does not list its training files. If some of these are among them, the results are too good "
            "(data leakage)."
        )
    elif share_trained_on:
        st.warning(
            f"The checkpoint was trained on {number_format.percent(share_trained_on)} of these files, so the results are too good (data "
            "leakage). Re-saved copies, and other slices of the same scans, are not recognised."
        )
