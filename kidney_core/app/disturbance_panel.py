"""One slice disturbed: before and after, and model and gate along the whole range of amounts."""

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from kidney_core.app import charts, loading, markdown, shortcut_panel
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common import digests
from kidney_core.common.errors import KidneyError
from kidney_core.imaging import rendering
from kidney_core.imaging.slices import Slice
from kidney_core.metrics import chart_text
from kidney_core.metrics.number_format import percent

if TYPE_CHECKING:
    from kidney_core.diagnosis.inference import Diagnosis, Predictor
    from kidney_core.teaching.robustness import Curve, Disturbance, Scene

_DISTURBANCE = "teaching_disturbance"
TAUGHT_MARK = "Mark that was taught"
_LESION, _MIRRORED = "the lesion", "the mirrored spot (control)"


def choose(name: str, amount: float) -> None:
    """Set disturbance and amount, before their widgets are drawn."""
    st.session_state[_DISTURBANCE] = name
    st.session_state[_key_of(name)] = amount


def _key_of(name: str) -> str:
    return f"teaching_amount_{name}"


def with_kidneys(scene: "Scene", before: "Diagnosis") -> "Scene":
    """The scene with the kidneys that the finder saw."""
    kidneys = None if before.kidneys is None or not before.kidneys.mask.any() else before.kidneys.mask
    return replace(scene, kidneys=kidneys)


@st.fragment
def explore(checkpoint: Checkpoint, scene: "Scene", simulated_as: str, before: "Diagnosis") -> None:
    """Disturbance, amount, pictures and curves of a slice.

    Args:
        simulated_as: its label; "" for the user's own slice.
        before: the prediction for the undisturbed slice.
    """
    try:
        _explore(checkpoint, scene, simulated_as, before)
    except KidneyError as error:  # a fragment runs by itself, where the page does not catch it
        st.error(markdown.text(error))


def _explore(checkpoint: Checkpoint, scene: "Scene", simulated_as: str, before: "Diagnosis") -> None:
    from kidney_core.diagnosis import inference

    predictor = loading.predictor(checkpoint)
    name = _choose_disturbance(predictor, scene, simulated_as)
    if name == TAUGHT_MARK:
        predictor, kind, options = _taught_mark(predictor)
        before = inference.diagnose(predictor, scene.image)
    else:
        kind, options = _choose_options(name, scene)
    row = _choose_amount(name, kind)
    st.caption(markdown.text(kind.plain))
    curve = _curve(checkpoint, predictor, scene, kind, options)
    disturbed = kind.disturb(scene.image, kind.amounts[row])
    now = inference.diagnose(predictor, disturbed)
    _say_what_happened(predictor, curve, kind, row, simulated_as)
    pictures, chart = st.columns(2, gap="large")
    with pictures:
        _show_pictures(scene.image, before, disturbed, now)
        if name == "Burned-in mark" and kind.amounts[row] and not _is_mark_seen(scene.image, disturbed, now):
            st.info("The mark lies outside of what this network sees.")
        if simulated_as:
            st.caption(
                f"This slice is simulated as {markdown.text(simulated_as)}, so this does not show how a model performs on patients."
            )
    with chart:
        _show_chart(predictor, curve, kind, row)


def _choose_disturbance(predictor: "Predictor", scene: "Scene", simulated_as: str) -> str:
    from kidney_core.teaching import robustness

    names = list(robustness.disturbances_of(scene)) + [TAUGHT_MARK] * (predictor.finder is not None)
    if st.session_state.get(_DISTURBANCE) not in names:
        st.session_state[_DISTURBANCE] = names[0]
    name = (
        st.segmented_control("Disturbance", names, required=True, format_func=markdown.text, key=_DISTURBANCE)
        or names[0]
    )
    missing = [] if scene.kidneys is not None else ["Contrast phase needs a kidney that the finder sees."]
    if not simulated_as:
        missing.append(
            "Painting a lesion over needs its mask: for your own slices with masks, see Evaluation, One model, "
            "Painted over."
        )
    if missing:
        st.caption(" ".join(missing))
    return name


def _taught_mark(predictor: "Predictor") -> "tuple[Predictor, Disturbance, tuple[str, ...]]":
    """The network that was taught a mark in place of the chosen one, that mark as a disturbance, and which mark it is."""
    from kidney_core.teaching import robustness, taught_network

    taught = shortcut_panel.taught_network()
    mark, asked = taught.mark, taught_network.as_predictor(taught, predictor)
    kind = replace(
        robustness.BURNED_IN_MARK,
        start=mark.size_percent,
        axis="height of the mark in % of the picture of a kidney",
        plain=f"This asks the small network of “Shortcut learning”, not the model above. It learned that this mark means {mark.label}. "
        "The mark was in its training data, so the gate does not react to it.",
        disturb=lambda image, amount: taught_network.burn_into(asked, mark, image, amount),
    )
    return asked, kind, (TAUGHT_MARK, mark.label, mark.place, mark.shape)


def _choose_options(name: str, scene: "Scene") -> "tuple[Disturbance, tuple[str, ...]]":
    """The disturbance with what can be chosen beside its amount, and these choices."""
    from kidney_core.teaching import disturbances, robustness

    kind = robustness.disturbances_of(scene)[name]
    if name == robustness.MARK:
        where, which = st.columns(2, gap="medium")
        place = where.selectbox("Position", list(disturbances.PLACES), key="teaching_place")
        shape = which.selectbox("Shape", disturbances.SHAPES, key="teaching_shape")
        disturb = functools.partial(disturbances.add_mark, place=place, shape=shape)
        return replace(kind, disturb=disturb), (name, place, shape)
    if name == robustness.LESION_GONE and scene.lesion is not None:
        spot = st.selectbox("Painted over", (_LESION, _MIRRORED), key="teaching_spot")
        if spot == _MIRRORED:
            kind = robustness.lesion_painted_over(scene.lesion, instead=robustness.mirrored_spot(scene))
        return kind, (name, spot)
    return kind, (name,)


def _choose_amount(name: str, kind: "Disturbance") -> int:
    """The position of the chosen amount."""
    key = _key_of(name)
    if not kind.amounts[0] <= st.session_state.get(key, kind.amounts[0] - 1) <= kind.amounts[-1]:
        st.session_state[key] = kind.start
    title = kind.axis[0].upper() + kind.axis[1:]
    if kind.names:
        return kind.amounts.index(
            st.segmented_control(
                markdown.text(title),
                kind.amounts,
                format_func=lambda amount: markdown.text(kind.name_of(amount)),
                required=True,
                key=key,
            )
        )
    amount = st.slider(
        markdown.text(title), kind.amounts[0], kind.amounts[-1], step=kind.amounts[1] - kind.amounts[0], key=key
    )
    return min(range(len(kind.amounts)), key=lambda position: abs(kind.amounts[position] - amount))


def _curve(
    checkpoint: Checkpoint, predictor: "Predictor", scene: "Scene", kind: "Disturbance", options: tuple[str, ...]
) -> "Curve":
    """The curve, kept until something else than the amount is chosen."""
    from kidney_core.teaching import robustness

    key = (loading.reading_key(checkpoint), digests.sha256(scene.image.pixels.tobytes()), scene.image.unit, options)
    kept = st.session_state.get("teaching_kept_curve")
    if kept is None or kept[0] != key:
        with st.spinner("Predicting along the whole range…"):
            kept = st.session_state["teaching_kept_curve"] = (key, robustness.predict_curve(predictor, scene, kind))
    return kept[1]


def _say_what_happened(
    predictor: "Predictor", curve: "Curve", kind: "Disturbance", row: int, simulated_as: str
) -> None:
    """In one alert: whether the model is broken here, whether the gate notices, or whether it holds."""
    from kidney_core.teaching import robustness

    predicted, none = curve.predicted(), curve.position_of(kind.none)
    before, now = predicted[none], predicted[row]
    shown_now = f"**{markdown.text(now)}** ({percent(float(curve.confidence[row]), 0)})"
    shown_before = f"**{markdown.text(before)}** ({percent(float(curve.confidence[none]), 0)})"
    if curve.rejected[none]:
        st.info(
            f"The gate rejects this slice even undisturbed: {markdown.text(curve.rejected[none])}. Choose another one."
        )
    elif curve.rejected[row]:
        st.info(f":material/block: **The gate stops it**: {markdown.text(curve.rejected[row])}. No label is shown.")
    elif not curve.breaks(kind)[row]:
        follows = now != before and not kind.keeps_label
        st.success(f"**The prediction {'follows' if follows else 'holds'}**: {shown_now}, undisturbed {shown_before}.")
    else:
        is_answered = robustness.is_answered(predictor, now, float(curve.confidence[row]))
        change = (
            f"{shown_now} instead of {shown_before}"
            if kind.keeps_label
            else f"still {shown_now}, though the lesion is gone"
        )
        if is_answered:
            st.error(f":material/warning: **Broken.** The gate lets it through, and the model answers {change}.")
        else:
            st.warning(
                f"**Wrong, but it abstains.** The gate lets it through, and the model says {change}. It is not sure enough of this label "
                "to show it."
            )
    if simulated_as and before != simulated_as and not curve.rejected[none]:
        st.caption(f"It is wrong even undisturbed: the slice is simulated as {markdown.text(simulated_as)}.")


def _show_pictures(image: Slice, before: "Diagnosis", disturbed: Slice, now: "Diagnosis") -> None:
    """The slice with its heatmap, undisturbed and disturbed."""
    for column, shown, answer, when in zip(
        st.columns(2), (image, disturbed), (before, now), ("Undisturbed", "Disturbed"), strict=True
    ):
        confidence = percent(answer.probabilities[answer.predicted_label], 0)
        column.image(
            rendering.blend(shown.network_grey8(), answer.heatmap),
            caption=f"{markdown.text(when)}: **{markdown.text(answer.predicted_label)}**, {confidence}, with its heatmap",
            width="stretch",
            alt=f"CT slice, {when.lower()}, with a heatmap of {answer.predicted_label}",
        )


def _is_mark_seen(image: Slice, disturbed: Slice, now: "Diagnosis") -> bool:
    """Whether what the network sees differs from the undisturbed slice."""
    changed = image.network_grey8() != disturbed.network_grey8()
    return bool(now.framed.frame.crop(changed).any())


def _show_chart(predictor: "Predictor", curve: "Curve", kind: "Disturbance", row: int) -> None:
    from kidney_core.diagnosis import verdict
    from kidney_core.teaching import teaching_plots

    undisturbed = curve.predicted()[curve.position_of(kind.none)]
    threshold = verdict.required_confidence(predictor.checkpoint.card, undisturbed)
    figure = teaching_plots.robustness_figure(curve, kind, kind.amounts[row], threshold=threshold)
    n_broken = int(curve.breaks(kind).sum())
    charts.draw(
        figure,
        f"Probability of each label over {kind.axis}: the model breaks at {n_broken} of {len(kind.amounts)} amounts, the gate rejects "
        f"{int(curve.refused.sum())}.",
        key="teaching_curve",
        numbers=chart_text.line_table(figure),
    )
    _show_how_to_read(curve, kind, threshold)


def _show_how_to_read(curve: "Curve", kind: "Disturbance", threshold: float | None) -> None:
    """Where the model breaks, what the gate does, and what the lines are."""
    broken = [kind.amounts[row] for row in curve.breaks(kind).nonzero()[0]]
    first = min(broken, key=lambda amount: abs(amount - kind.none)) if broken else None
    reasons = sorted({reason for reason in curve.rejected if reason})
    parts = [
        "Nothing breaks the model in this range."
        if first is None
        else f"The model breaks at **{len(broken)} of {len(kind.amounts)}** amounts, first at **{markdown.text(kind.name_of(first))}**.",
        f"The gate rejects **{int(curve.refused.sum())}** (grey: {markdown.text(', '.join(reasons))}).",
        "Upper chart: the model. Lower chart: the gate, as the distance to the training data in per cent of its limit (dotted). Dashed: undisturbed; "
        "solid: the slider.",
    ]
    if not reasons:
        parts[1] = "The gate **rejects none**."
    if threshold is not None:
        parts.append("Dotted above: the confidence below which the model abstains from the undisturbed label.")
    st.caption(" ".join(parts))
