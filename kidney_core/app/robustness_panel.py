"""What breaks a model: it opens on a slice that breaks it; then a slice, a disturbance, and model and gate along its whole range."""

from typing import TYPE_CHECKING

import streamlit as st

from kidney_core.app import access, audit_recorder, disturbance_panel, loading, markdown, packed_uploads, progress
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common import digests
from kidney_core.common.errors import KidneyError
from kidney_core.common.labels import LABELS
from kidney_core.imaging.slices import read_slice

if TYPE_CHECKING:
    from kidney_core.diagnosis.inference import Predictor
    from kidney_core.teaching.breaks import Break
    from kidney_core.teaching.robustness import Scene

_UPLOAD = "Your slice"
_SOURCE, _NUMBER, _N_SHOWN = "teaching_slice", "teaching_sample", "teaching_n_breaks"


def show(checkpoint: Checkpoint) -> None:
    """A slice that breaks the model, or the one that the user chooses, disturbed as they choose."""
    st.markdown("The kidney stays the same. Does the answer? And if not, does the gate notice?")
    with st.expander("For the teacher"):
        st.markdown(
            "- Before each slider, let the class guess: which disturbance changes the label first, and does the gate notice?\n"
            "- The gate is what keeps a model from answering: no upright slice, no kidney, or an image unlike the training data "
            "(out-of-distribution check). The dangerous amounts are those at which the label is wrong and the gate lets the slice through.\n"
            "- **Lesion painted over** is the other way round: the answer should change. Paint the mirrored spot as a control.\n"
            "- Choose another model at the top of the page: one trained with more augmentation should change less."
        )
    try:
        _choose_and_explore(checkpoint)
    except KidneyError as error:
        st.error(markdown.text(error))


def _choose_and_explore(checkpoint: Checkpoint) -> None:
    button, choice, another = st.columns([1, 3, 1], vertical_alignment="bottom")
    wants_break = button.button("Show me one", type="primary", key="teaching_show_break", width="stretch")
    is_upload = st.session_state.get(_SOURCE) == _UPLOAD
    if _SOURCE not in st.session_state or (wants_break and not is_upload):
        _show_a_break(checkpoint)
    source = choice.segmented_control("Slice", [*LABELS, _UPLOAD], required=True, key=_SOURCE) or LABELS[0]
    if source == _UPLOAD:
        uploaded = _uploaded()
        if uploaded is None:
            return
        scene, sha256 = uploaded
    else:
        st.session_state.setdefault(_NUMBER, 1)
        if another.button("Another patient", key="teaching_another", width="stretch"):
            st.session_state[_NUMBER] += 1
        scene, sha256 = _sample(source, st.session_state[_NUMBER]), ""
    predictor = loading.predictor(checkpoint)
    before, _ = audit_recorder.ask(predictor, scene.image, sha256=sha256)
    scene = disturbance_panel.with_kidneys(scene, before)
    if wants_break and is_upload:
        _break_upload(predictor, scene)
    disturbance_panel.explore(checkpoint, scene, "" if source == _UPLOAD else source, before)


def _uploaded() -> "tuple[Scene, str] | None":
    """The prepared slice of the user and the SHA-256 of its file; None until there is one."""
    from kidney_core.teaching import disturbances
    from kidney_core.teaching.robustness import Scene

    access.require(access.DIAGNOSER)
    upload = st.file_uploader("A CT slice: PNG, JPEG, BMP, TIFF or DICOM", key="teaching_upload")
    if upload is None:
        return None
    content = packed_uploads.content(upload)
    return Scene(disturbances.prepare(read_slice(content, name=upload.name))), digests.sha256(content)


@st.cache_data(max_entries=8, show_spinner="Drawing the slice…")
def _sample(label: str, number: int) -> "Scene":
    from kidney_core.teaching import breaks

    return breaks.draw(breaks.Sample(label, number))


def _show_a_break(checkpoint: Checkpoint) -> None:
    """Choose the next slice, disturbance and amount that break the model: known ones first, then by search."""
    from kidney_core.teaching import breaks, ready_results

    n_shown = st.session_state.get(_N_SHOWN, 0)
    st.session_state[_N_SHOWN] = n_shown + 1
    known = ready_results.breaks_of(checkpoint)
    if n_shown < len(known):
        found: Break | None = known[n_shown]
    else:
        told = progress.progress_bar("Looking for a slice that breaks the model")
        found = breaks.find(loading.predictor(checkpoint), n_shown - len(known), progress=told)
    if found is None or found.sample is None:
        st.session_state.setdefault(_SOURCE, LABELS[0])
        st.info("No slice that was tried broke the model. Press “Show me one” for others, or try it yourself.")
        return
    st.session_state[_SOURCE], st.session_state[_NUMBER] = found.sample.label, found.sample.number
    disturbance_panel.choose(found.disturbance, found.amount)


def _break_upload(predictor: "Predictor", scene: "Scene") -> None:
    """Choose what breaks the model on the user's own slice."""
    from kidney_core.teaching import breaks

    with st.spinner("Looking for a disturbance that breaks the model…"):
        found = next(breaks.find_in(predictor, scene), None)
    if found is None:
        st.info(
            "No disturbance changes the label of this slice unnoticed, or the gate rejects the slice even undisturbed."
        )
    else:
        disturbance_panel.choose(found.disturbance, found.amount)
