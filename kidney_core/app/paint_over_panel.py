"""Does the prediction depend on the lesion? Measured on a folder that the user names."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from kidney_core.app import audit_recorder, loading, markdown, path_inputs, progress
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.errors import KidneyError
from kidney_core.common.labels import LABELS, NORMAL
from kidney_core.metrics.number_format import percent

if TYPE_CHECKING:
    from kidney_core.diagnosis.paint_over import PaintedOver

_N_EXAMPLES = 3
_BY_FOLDER = "from the folder names"


@dataclass(frozen=True)
class _Result:
    """What came of the last measurement: of which network and folder, and some slices in all versions."""

    checkpoint: str
    folder: str
    measured: "PaintedOver"
    examples: tuple[tuple[np.ndarray, ...], ...]


def show(checkpoint: Checkpoint) -> None:
    """The form, and the result of the last measurement of this network."""
    st.markdown(
        "**Does the prediction depend on the lesion?** Each marked lesion is painted over; then, as a control, the mirrored spot."
    )
    with st.form("paint_over_form"):
        folder = path_inputs.path_input(
            "Folder with masks or boxes of lesions", placeholder="/data/ct-kidney", key="paint_over_folder"
        )
        label = st.selectbox(
            "Labels",
            [_BY_FOLDER, *(each for each in LABELS if each != NORMAL)],
            format_func=lambda name: name if name == _BY_FOLDER else f"every image is {name}",
            key="paint_over_label",
            help="A folder in YOLO layout has no class folders: choose the label of all its images.",
        )
        is_submitted = st.form_submit_button("Paint over the lesions", type="primary")
    if is_submitted:
        try:
            result = _measure(checkpoint, folder, None if label == _BY_FOLDER else label)
        except KidneyError as error:
            st.error(markdown.text(error))
            return
        st.session_state["paint_over_result"] = result
    shown: _Result | None = st.session_state.get("paint_over_result")
    if shown and shown.checkpoint == checkpoint.name:
        _show_result(shown)


def _measure(checkpoint: Checkpoint, folder: str, label: str | None) -> _Result:
    from kidney_core.data import lesions
    from kidney_core.diagnosis import paint_over

    if not folder:
        raise KidneyError("Enter a folder first.")
    slices = paint_over.read_slices_with_lesions(Path(folder), label=label)
    measured = paint_over.measure(
        loading.predictor(checkpoint), slices, progress=progress.progress_bar("Painting over")
    )
    audit_recorder.diagnosis(checkpoint, input_sha256=lesions.version(Path(folder)), probabilities={}, verdict="folder")
    chosen = slices[:: max(1, len(slices) // _N_EXAMPLES)][:_N_EXAMPLES]
    return _Result(checkpoint.name, Path(folder).name, measured, tuple(map(paint_over.versions, chosen)))


def _show_result(result: _Result) -> None:
    from kidney_core.diagnosis.paint_over import AS_IS, VERSIONS

    measured = result.measured
    st.markdown(f"## {markdown.text(result.checkpoint)} on “{markdown.text(result.folder)}”: {measured.n:,} slices")
    table = pd.DataFrame(
        {
            "Predicted as its label": [percent(measured.predicted[each]) for each in VERSIONS],
            "Mean probability": [percent(measured.probability[each]) for each in VERSIONS],
            "Predicted label changed": ["–" if each == AS_IS else percent(measured.changed[each]) for each in VERSIONS],
        },
        index=VERSIONS,
    )
    st.table(markdown.cells(table))
    for example in result.examples:
        for column, image, version in zip(st.columns(len(VERSIONS)), example, VERSIONS, strict=True):
            column.image(image, caption=version, alt=f"CT slice, {version}")
