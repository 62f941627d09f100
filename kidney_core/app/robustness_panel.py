"""What breaks a model: a slice, a disturbance, and the prediction along its whole range."""

import functools
from typing import TYPE_CHECKING

import streamlit as st

from kidney_core.app import access, audit_recorder, loading, markdown, packed_uploads, verdict_panel
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common import digests
from kidney_core.common.errors import KidneyError
from kidney_core.common.labels import LABELS
from kidney_core.imaging import rendering
from kidney_core.imaging.slices import Slice, read_slice
from kidney_core.metrics import number_format

if TYPE_CHECKING:
    from kidney_core.diagnosis.inference import Diagnosis
    from kidney_core.teaching.robustness import Curve, Disturbance

_FIRST_SEED = 5_500_000  # far from the seeds of the quizzes and of all slices that networks learned from
_UPLOAD = "Your slice"


def show(checkpoint: Checkpoint) -> None:
    """The slice that the user chooses, disturbed as they choose."""
    st.markdown("Disturb the image step by step. The kidney stays the same: does the prediction?")
    with st.expander("For the teacher"):
        st.markdown(
            "- Before each slider, let the class guess: which disturbance changes the prediction first, and does the "
            "out-of-distribution (OOD) check notice?\n"
            "- The OOD check rejects images unlike the training data. Look for amounts at which the prediction is already wrong and "
            "the check still passes: these are the dangerous ones.\n"
            "- Choose another model at the top of the page: one trained with more augmentation should change less.\n"
            "- The next part, “Why 99 % can mean nothing”, shuffles the labels."
        )
    try:
        image, simulated_as, sha256 = _choose()
        if image is not None:
            before, _ = audit_recorder.ask(loading.predictor(checkpoint), image, sha256=sha256)
            _explore(checkpoint, image, simulated_as, before)
    except KidneyError as error:
        st.error(markdown.text(error))


def _choose() -> tuple[Slice | None, str, str]:
    """The slice, None until there is one; its simulated label, or ""; the SHA-256 of its file, or ""."""
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    source = left.segmented_control(
        "Simulated slice",
        [*LABELS, _UPLOAD],
        default="Cyst",
        required=True,
        key="teaching_slice",
    )
    if source == _UPLOAD:
        access.require(access.DIAGNOSER)
        upload = st.file_uploader("A CT slice: PNG, JPEG, BMP, TIFF or DICOM", key="teaching_upload")
        if upload is None:
            return None, "", ""
        content = packed_uploads.content(upload)
        return read_slice(content, name=upload.name), "", digests.sha256(content)
    number = st.session_state.setdefault("teaching_sample", 1)
    if right.button("Another simulated patient", key="teaching_another", width="stretch"):
        number = st.session_state["teaching_sample"] = number + 1
    return _sample(source, number), source, ""


@st.cache_data(max_entries=8, show_spinner="Drawing the slice…")
def _sample(label: str, number: int) -> Slice:
    from kidney_core.simulation import phantom

    return phantom.draw_series(label, _FIRST_SEED + number, n_slices=1)[0].as_slice(
        f"simulated {label.lower()} {number}"
    )


@st.fragment
def _explore(checkpoint: Checkpoint, image: Slice, simulated_as: str, before: "Diagnosis") -> None:
    try:
        _disturb(checkpoint, image, simulated_as, before)
    except KidneyError as error:  # a fragment runs by itself, where the page does not catch it
        st.error(markdown.text(error))


def _disturb(checkpoint: Checkpoint, image: Slice, simulated_as: str, before: "Diagnosis") -> None:
    from kidney_core.diagnosis import inference, verdict
    from kidney_core.teaching import robustness, teaching_plots

    predictor = loading.predictor(checkpoint)
    name = st.segmented_control(
        "Disturbance", list(robustness.DISTURBANCES), default="Noise", required=True, key="teaching_disturbance"
    )
    kind, disturb = robustness.DISTURBANCES[name]
    amounts = kind.amounts
    if name == "Burned-in mark":
        slide, where, which = st.columns([2, 1, 1], gap="medium")
        place = where.selectbox("Position", list(robustness.PLACES), key="teaching_place")
        shape = which.selectbox("Shape", robustness.SHAPES, key="teaching_shape")
        disturb = functools.partial(robustness.add_mark, place=place, shape=shape)
        mark = functools.partial(robustness.mark_mask, image.height_px, image.width_px, place=place, shape=shape)
    else:
        slide, mark = st.container(), None
    title = kind.axis[0].upper() + kind.axis[1:]
    amount = slide.slider(
        markdown.text(title),
        amounts[0],
        amounts[-1],
        kind.start,
        amounts[1] - amounts[0],
        key=f"teaching_amount_{name}",
    )
    st.caption(markdown.text(kind.plain))
    picture, chart = st.columns(2, gap="large")
    with chart:
        curve = robustness.predict_curve(predictor, image, disturb, amounts)
        threshold = verdict.required_confidence(checkpoint.card, before.predicted_label)
        figure = teaching_plots.robustness_figure(curve, amount, axis=kind.axis, none=kind.none, threshold=threshold)
        st.plotly_chart(figure, config={"displayModeBar": False}, key="teaching_curve")
        st.caption(_how_to_read(curve, kind, threshold))
    disturbed = disturb(image, amount)
    now = inference.diagnose(predictor, disturbed)
    checks = verdict.judge(predictor, disturbed, now)
    with picture:
        framed = now.framed
        heat = None if now.heatmap is None else framed.fit_mask(disturbed.upright.picture(now.heatmap))
        left, right = st.columns(2)
        left.image(framed.square, caption="network input", width="stretch")
        right.image(
            rendering.blend(framed.square, heat),
            caption=f"heatmap of {markdown.text(now.explained_label)}",
            width="stretch",
        )
        if mark and amount and not framed.frame.crop(mark(amount)).any():
            st.info("This network sees only the body, and the mark lies outside of it.")
        st.markdown(f"Undisturbed: **{markdown.text(before.predicted_label)}**, {_confidence(before)}")
        st.markdown(
            f"Now: **{markdown.text(now.predicted_label)}**, {_confidence(now)}"
            + (" :red[(changed)]" * _changed(before, now))
        )
        ood_check = next(step for step in checks.steps if step.title == verdict.OOD_CHECK)
        st.markdown(
            f"{verdict_panel.STEP_MARKS[ood_check.outcome]} **OOD check: {markdown.text(ood_check.outcome)}.** {markdown.text(ood_check.reason)}"
        )
        if simulated_as:
            st.caption(
                f"This slice is simulated as {markdown.text(simulated_as)}, so this does not show how a model performs on patients."
            )


def _how_to_read(curve: "Curve", kind: "Disturbance", threshold: float | None) -> str:
    """What the lines are, and the first amount at which the prediction changes."""
    predicted = curve.predicted()
    start = min(range(len(predicted)), key=lambda position: abs(curve.amounts[position] - kind.none))
    changed = [amount for amount, label in zip(curve.amounts, predicted, strict=True) if label != predicted[start]]
    rejected = curve.amounts[curve.refused]
    parts = [
        f"The prediction first changes at **{min(changed, key=lambda amount: abs(amount - kind.none)):g}**."
        if changed
        else "The prediction **never changes** in this range.",
        f"The OOD check rejects **{len(rejected)} of {len(predicted)}** amounts (grey)."
        if len(rejected)
        else "The OOD check **rejects none** in this range.",
        "Dashed: undisturbed; solid: the slider.",
    ]
    if threshold is not None:
        parts.append("Dotted: the confidence threshold of the undisturbed label, below which the model abstains.")
    return " ".join(parts)


def _confidence(answer: "Diagnosis") -> str:
    return number_format.percent(answer.probabilities[answer.predicted_label], 0)


def _changed(before: "Diagnosis", now: "Diagnosis") -> bool:
    return before.predicted_label != now.predicted_label
