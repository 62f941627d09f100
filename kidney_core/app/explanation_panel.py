"""The heatmap of a prediction: what it explains and how, how far to trust it, and the heatmaps of the other models."""

import shlex
from typing import TYPE_CHECKING

import streamlit as st

from kidney_core.app import formatting, loading, markdown
from kidney_core.imaging import rendering
from kidney_core.imaging.slices import Slice
from kidney_core.metrics import number_format

if TYPE_CHECKING:
    from kidney_core.diagnosis.inference import Diagnosis, Predictor
    from kidney_core.networks.map_grades import Grade

NO_CONTRAST = "no other label"
GRADE_MARKS = {
    "good": ":green[:material/check_circle:]",
    "fair": ":orange[:material/error:]",
    "poor": ":red[:material/cancel:]",
}


def choose(predictor: "Predictor", image: Slice, answer: "Diagnosis", *, key: str) -> "Diagnosis":
    """Let the user choose method, label and contrast of the heatmap; the answer with that heatmap."""
    from kidney_core.diagnosis import inference
    from kidney_core.networks import explanation

    method = st.selectbox(
        "Method",
        list(explanation.METHODS),
        key="diagnosis_method",
        help="The Evaluation page shows how often each method points at known lesions: One model, Explanations.",
    )
    explain, against = answer.predicted_label, None
    if explanation.METHODS[method].depends_on_label:
        suffix = f"{key}_{predictor.checkpoint.name}_{answer.predicted_label}"
        explain, against = _choose_labels(predictor.checkpoint.labels, answer.predicted_label, suffix)
    if (explain, against, method) == (answer.explained_label, answer.against_label, answer.method):
        return answer
    with st.spinner(f"Drawing {markdown.text(method)}…"):
        return inference.diagnose(
            predictor, image, explain=explain, against=against, method=method, kidneys=answer.kidneys
        )


def _choose_labels(labels: tuple[str, ...], predicted: str, suffix: str) -> tuple[str, str | None]:
    """The label that the heatmap explains, and the one it is compared with."""
    explain = st.segmented_control(
        "Show evidence for",
        labels,
        default=predicted,
        required=True,
        format_func=markdown.text,
        key=f"diagnosis_explain_{suffix}",
        help="The label that the heatmap explains; first, the predicted one.",
    )
    contrast = st.selectbox(
        "Compared with",
        [NO_CONTRAST, *(label for label in labels if label != explain)],
        key=f"diagnosis_against_{suffix}_{explain}",
        help="A contrastive heatmap: evidence for the one label and not for the other.",
    )
    return explain, None if contrast == NO_CONTRAST else contrast


def show_grades(predictor: "Predictor", image: Slice, answer: "Diagnosis", *, key: str) -> "tuple[Grade, ...]":
    """How often such heatmaps point at lesions, and the grades of this one on request; empty before that."""
    if answer.heatmap is None:
        return ()
    from kidney_core.diagnosis import grading

    with st.expander("Can this heatmap be trusted?"):
        _show_pointing(predictor, answer.method)
        shown = f"{key}|{loading.cache_key(predictor.checkpoint)}|{answer.explained_label}|{answer.against_label}|{answer.method}"
        kept: dict[str, tuple[Grade, ...]] = st.session_state.setdefault("diagnosis_grades", {})
        if shown not in kept and st.button("Grade this heatmap", key="diagnosis_grade"):
            with st.spinner("Hiding and moving parts of the image, running the other models…"):
                others = tuple(
                    each for each in loading.predictors() if each.checkpoint.name != predictor.checkpoint.name
                )
                kept[shown] = grading.grade(predictor, image, answer, others=others)
        grades = kept.get(shown, ())
        if grades and answer.against_label:
            st.caption(
                f"The probabilities below compare {markdown.text(answer.explained_label)} and {markdown.text(answer.against_label)} only, as if there were no "
                "other label."
            )
        if grades and (without_proof := grading.unproven(predictor, answer.method)):
            named = " and ".join(f"“{title}” ({null})" for title, null in without_proof.items())
            st.caption(f"Not shown, since a map that ignores the model is graded as high: {markdown.text(named)}.")
        for grade in grades:
            st.markdown(
                f"{GRADE_MARKS[grade.outcome]} **{markdown.text(grade.title)}: {markdown.text(grade.outcome)}.** {markdown.text(grade.reason)}"
            )
        return grades


def _show_pointing(predictor: "Predictor", method: str) -> None:
    """One sentence per dataset: how often heatmaps of this model and method point at the lesion, and how often chance does."""
    from kidney_core.checkpoints import pointing

    sets = (predictor.explanations or {}).get("sets", {})
    measured_sets = {name: measured for name, measured in sets.items() if method in measured["methods"]}
    if not measured_sets:
        st.caption(
            f"How often {markdown.text(method)} of this model points at lesions was not measured. To measure it, run "
            f"{markdown.code(shlex.join(['kidney-ct', 'pointing', str(predictor.checkpoint.folder)]))}."
        )
    for name, measured in measured_sets.items():
        row = measured["methods"][method]
        rate, low, _ = pointing.hit_rate(row["hits"], measured["n"])
        opponent, at_chance, beats = "a random point", measured["chance_hit"], low > measured["chance_hit"]
        if "nulls" in row:  # measured since 0.6
            opponent, beats = f"the best null map ({row['best_null']})", row["beats"]
            at_chance = row["nulls"][row["best_null"]]["hits"] / measured["n"]
        st.markdown(
            f"On **{markdown.text(name)}**, {markdown.text(method)} of {markdown.text(predictor.checkpoint.name)} points at the lesion in **{number_format.percent(rate, 0)}** of "
            f"{formatting.quantity(measured['n'], 'slice')}; {markdown.text(opponent)} does in {number_format.percent(at_chance, 0)}: "
            f"{'better' if beats else 'no better'} than a map that ignores the model."
        )


def show_models(image: Slice, answer: "Diagnosis") -> None:
    """The heatmaps of all checkpoints for the same label, side by side, where the user wants them."""
    if not st.toggle("Show the heatmap of every model", key="diagnosis_all_maps"):
        return
    from kidney_core.diagnosis import grading

    predictors = tuple(loading.predictors())
    maps = grading.maps_of(predictors, image, answer)
    if without := [each.checkpoint.name for each in predictors if each.checkpoint.name not in maps]:
        st.caption(f"No such heatmap for: {markdown.text(', '.join(without))}.")
    if not maps:
        return
    for column, (name, heatmap) in zip(st.columns(len(maps)), maps.items(), strict=True):
        column.image(
            rendering.blend(image.grey8(), heatmap),
            caption=markdown.text(name),
            width="stretch",
            alt=f"CT slice with the heatmap of {name}",
        )
    st.caption(f"{markdown.text(answer.map_title)}. Each heatmap is scaled to its own maximum.")
