"""Checkpoints evaluated on a labelled folder that the user names: the form, and the evaluations that are kept."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from kidney_core.app import audit_recorder, checkpoint_choice, folder_results, loading, markdown, path_inputs, progress
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common import os_errors
from kidney_core.common.errors import DatasetError, KidneyError
from kidney_core.common.labelling import NOT_STATED
from kidney_core.common.labels import LABELS

_BY_FOLDER = "from the folder names, or series.csv"
_AUTOMATIC, _SLICES, _SCANS = "as the folder suggests", "separate slices", "whole scans"
_SHOWN = "evaluation"  # in the address of the page: the key of the evaluation that is shown


def show(checkpoints: Sequence[Checkpoint]) -> None:
    """The form, and the evaluation that was made or chosen last."""
    has_result = bool(st.session_state.get("evaluation_kept") or st.query_params.get(_SHOWN))
    with st.expander("Evaluate a folder", expanded=not has_result, icon=":material/folder_open:"):
        error = _form(checkpoints)
    if error:
        st.error(markdown.text(error))
        return
    key = _choose_kept()
    if key:
        folder_results.show(key, checkpoints)


def _form(checkpoints: Sequence[Checkpoint]) -> str:
    """The form, and what it asks for; why that was not possible, or ""."""
    st.markdown(
        "One folder per class, or whole scans (DICOM, NIfTI, pictures) listed in `series.csv` with the columns path, series and label."
    )
    with st.form("evaluation_folder_form"):
        folder = path_inputs.opened_folder_input("evaluation_folder", label="Folder", has_demo=False)
        chosen = st.multiselect(
            "Checkpoints to evaluate",
            checkpoints,
            default=checkpoints[:1],
            format_func=checkpoint_choice.checkpoint_title,
            key="evaluation_folder_models",
        )
        labels, reading = st.columns(2)
        label = labels.selectbox(
            "Labels",
            [_BY_FOLDER, *LABELS],
            format_func=lambda name: name if name == _BY_FOLDER else f"every image is {name}",
            key="evaluation_folder_label",
        )
        how = reading.selectbox(
            "Read",
            [_AUTOMATIC, _SLICES, _SCANS],
            key="evaluation_folder_reading",
            help="In whole scans, kidneys are followed from slice to slice. A folder with volumes, or with labels in series.csv only, is "
            "read as whole scans.",
        )
        only_kidneys = st.checkbox(
            "Leave out slices without a visible kidney",
            help="The kidney finder looks at each slice. Such slices get no label in Diagnosis.",
            key="evaluation_folder_kidneys",
        )
        is_submitted = st.form_submit_button("Evaluate", type="primary")
    if is_submitted:
        try:
            _check(folder, chosen)
            chosen_label = None if label == _BY_FOLDER else label
            _remember(_evaluate(chosen, Path(folder), chosen_label, how, only_kidneys=only_kidneys))
        except KidneyError as error:
            return (
                f"{error} Or choose the class of all images under Labels; the Dataset page asks what class names stand for."
                if label == _BY_FOLDER
                else str(error)
            )
    return ""


def _check(folder: str, chosen: Sequence[Checkpoint]) -> None:
    if not folder:
        raise DatasetError("Enter a folder first.")
    if not chosen:
        raise DatasetError("Choose a checkpoint to evaluate.")


def _evaluate(chosen: Sequence[Checkpoint], folder: Path, label: str | None, how: str, *, only_kidneys: bool) -> str:
    """Read a folder with some checkpoints, and keep what comes of it; its key."""
    from kidney_core.data import dataset, labelled_scans, remembered_labels
    from kidney_core.diagnosis import evaluation_records, folder_evaluation

    folder = folder.expanduser()
    is_of_scans = how == _SCANS or (how == _AUTOMATIC and labelled_scans.lists_whole_scans(folder))
    results, root = {}, folder
    if is_of_scans:
        scans, left_out = labelled_scans.read_labelled_scans(folder, label=label)
        for checkpoint in chosen:
            results[checkpoint.name] = folder_evaluation.evaluate_scans(
                loading.predictor(checkpoint),
                folder,
                scans,
                left_out=left_out,
                progress=progress.progress_bar(f"Reading scans with {checkpoint.name}"),
            )
    else:
        labelling = NOT_STATED if label else remembered_labels.recall(folder)
        images = dataset.read_dataset(
            folder, label=label, labelling=labelling, progress=progress.progress_bar("Reading images")
        )
        root = images.root
        for checkpoint in chosen:
            results[checkpoint.name] = folder_evaluation.evaluate_slices(
                loading.predictor(checkpoint),
                images,
                only_kidneys=only_kidneys,
                progress=progress.progress_bar(f"Reading slices with {checkpoint.name}"),
            )
    weights = {checkpoint.name: checkpoint.card["weights_sha256"] for checkpoint in chosen}
    with os_errors.reraise_as(DatasetError, root):
        key = evaluation_records.save(evaluation_records.Evaluation(root, is_of_scans, results, weights))
    for checkpoint in chosen:
        audit_recorder.diagnosis(checkpoint, input_sha256=key, probabilities={}, verdict="folder")
    return key


def _remember(key: str) -> None:
    """Show an evaluation from now on, also when the page or the browser is loaded again."""
    st.session_state["evaluation_kept"] = key
    st.query_params[_SHOWN] = key
    st.session_state["evaluation_earlier"] = key


def _choose_kept() -> str:
    """The key of the evaluation to show; empty for none. Only those of folders that this person may open are offered."""
    from kidney_core.diagnosis import evaluation_records

    kept = {}
    for each in evaluation_records.listed():
        try:
            path_inputs.allowed_path(str(each.root))
        except KidneyError:
            continue
        kept[each.key] = f"{each.root.name}: {', '.join(each.results)} ({each.created})"
    if not kept:
        return ""
    last = st.session_state.get("evaluation_kept") or st.query_params.get(_SHOWN, "")
    if st.session_state.get("evaluation_earlier") not in kept:  # at first, and where it is gone
        st.session_state["evaluation_earlier"] = last if last in kept else None
    chosen = st.selectbox(
        "Earlier evaluations",
        list(kept),
        index=None,
        format_func=kept.__getitem__,
        placeholder="Show an earlier evaluation",
        key="evaluation_earlier",
        help="Kept in the cache folder of this machine, with file names. The newest 20 are kept.",
    )
    if chosen:
        st.session_state["evaluation_kept"] = chosen
        st.query_params[_SHOWN] = chosen
    return chosen or ""
