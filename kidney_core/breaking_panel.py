"""What breaks a model: a slice, a disturbance, and what the model says along its whole range."""

import functools
from typing import TYPE_CHECKING

import streamlit as st

from kidney_core import access, digests, figures, pictures, recording, ui, verdict_panel
from kidney_core.checkpoint import Checkpoint
from kidney_core.errors import KidneyError
from kidney_core.labels import LABELS
from kidney_core.slices import Slice, read_slice

if TYPE_CHECKING:
    from kidney_core.diagnosis import Diagnosis

_FIRST_SEED = 5_500_000  # far from the seeds of the quizzes and of all slices that networks learned from
_UPLOAD = "your own"


def draw(checkpoint: Checkpoint) -> None:
    """The whole part."""
    st.markdown(
        "**For students:** spoil the picture step by step. Nothing about the kidney changes; how far does the model's answer?"
    )
    with st.expander("For the teacher"):
        st.markdown(
            "- Ask for a forecast before each slider: which disturbance will turn the answer first, and does the gate notice?\n"
            "- The gate refuses images unlike what the model learned from. Look for amounts at which the answer is already wrong "
            "and the gate is still silent: these are the dangerous ones.\n"
            "- Shuffled labels, the worst that can be done to a model, are the next part: “Why 99 % can be nothing”.\n"
            "- Compare models by the choice at the top of the page: the one trained with more augmentation should bend less."
        )
    try:
        image, simulated_as, sha256 = _choose()
        if image is not None:
            before, _ = recording.ask(ui.reader(checkpoint), image, sha256=sha256)
            _explore(checkpoint, image, simulated_as, before)
    except KidneyError as error:
        st.error(str(error))


def _choose() -> tuple[Slice | None, str, str]:
    """The slice, None until there is one; the label that it is simulated as, or ""; the SHA-256 of its file, or ""."""
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    source = left.segmented_control(
        "A simulated slice, or your own",
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
        content = upload.getvalue()
        return read_slice(content, name=upload.name), "", digests.sha256(content)
    number = st.session_state.setdefault("teaching_sample", 1)
    if right.button("Another simulated patient", key="teaching_another", width="stretch"):
        number = st.session_state["teaching_sample"] = number + 1
    return _sample(source, number), source, ""


@st.cache_data(max_entries=8, show_spinner="Drawing the slice…")
def _sample(label: str, number: int) -> Slice:
    from kidney_core import phantom

    return phantom.draw_series(label, _FIRST_SEED + number, n_slices=1)[0].as_slice(
        f"simulated {label.lower()} {number}"
    )


@st.fragment
def _explore(checkpoint: Checkpoint, image: Slice, simulated_as: str, before: "Diagnosis") -> None:
    try:
        _disturb(checkpoint, image, simulated_as, before)
    except KidneyError as error:  # a fragment runs anew by itself, where nobody else catches it
        st.error(str(error))


def _disturb(checkpoint: Checkpoint, image: Slice, simulated_as: str, before: "Diagnosis") -> None:
    from kidney_core import breaking, diagnosis, teaching_figures, verdict

    reader = ui.reader(checkpoint)
    name = st.segmented_control(
        "What is done to it", list(breaking.DISTURBANCES), default="Noise", required=True, key="teaching_disturbance"
    )
    kind, disturb = breaking.DISTURBANCES[name]
    amounts = kind.amounts
    if name == "Burned-in mark":
        slide, where, which = st.columns([2, 1, 1], gap="medium")
        place = where.selectbox("Where", list(breaking.PLACES), key="teaching_place")
        shape = which.selectbox("Which", breaking.SHAPES, key="teaching_shape")
        disturb = functools.partial(disturb, place=place, shape=shape)
        mark = functools.partial(breaking.mark_mask, image.height_px, image.width_px, place=place, shape=shape)
    else:
        slide, mark = st.container(), None
    title = kind.axis[0].upper() + kind.axis[1:]
    amount = slide.slider(
        title, amounts[0], amounts[-1], kind.start, amounts[1] - amounts[0], key=f"teaching_amount_{name}"
    )
    st.caption(kind.plain)
    picture, chart = st.columns(2, gap="large")
    with chart:
        found = breaking.curve(reader, image, disturb, amounts)
        asked = verdict.confidence_asked(checkpoint.card)
        drawn = teaching_figures.breaking_figure(found, amount, axis=kind.axis, none=kind.none, asked=asked)
        st.plotly_chart(drawn, config={"displayModeBar": False}, key="teaching_curve")
        st.caption(_how_to_read(found, kind, asked))
    spoiled = disturb(image, amount)
    now = diagnosis.diagnose(reader, spoiled)
    judged = verdict.judge(reader, spoiled, now)
    with picture:
        seen = diagnosis.see(reader, spoiled)
        heat = None if now.heatmap is None else seen.mask(now.heatmap)
        one, other = st.columns(2)
        one.image(seen.square, caption="as the network sees it", width="stretch")
        other.image(pictures.blend(seen.square, heat), caption=f"its map of {now.explained_label}", width="stretch")
        if mark and amount and not seen.frame.of(mark(amount)).any():
            st.info(
                "The mark is there, but not in what this network sees: it is cut to the body, and the mark lies outside."
            )
        st.markdown(f"Undisturbed: **{before.predicted_label}**, {_sure(before)}")
        st.markdown(f"Now: **{now.predicted_label}**, {_sure(now)}" + (" :red[(changed)]" * _changed(before, now)))
        gate = judged.steps[1]
        st.markdown(f"{verdict_panel.STEP_MARKS[gate.outcome]} **Gate: {gate.outcome}.** {gate.reason}")
        if simulated_as:
            st.caption(
                f"This slice is simulated as {simulated_as}: how a model answers it says nothing of its worth on patients."
            )


def _how_to_read(found, kind, asked: float | None) -> str:
    """What the lines are, and the first amount at which the answer changes."""
    spoken = found.predicted()
    start = min(range(len(spoken)), key=lambda position: abs(found.amounts[position] - kind.none))
    turned = [amount for amount, label in zip(found.amounts, spoken, strict=True) if label != spoken[start]]
    refused = found.amounts[found.refused]
    parts = [
        f"The answer turns first at **{min(turned, key=lambda amount: abs(amount - kind.none)):g}**."
        if turned
        else "The answer **never turns** in this range.",
        f"The gate refuses at **{len(refused)} of {len(spoken)}** amounts (grey)."
        if len(refused)
        else "The gate **never refuses** in this range.",
        "Dashed: undisturbed; solid: the slider.",
    ]
    if asked is not None:
        parts.append("Dotted: the confidence below which the model abstains.")
    return " ".join(parts)


def _sure(answer) -> str:
    return figures.percent(answer.probabilities[answer.predicted_label], 0)


def _changed(before, now) -> bool:
    return before.predicted_label != now.predicted_label
