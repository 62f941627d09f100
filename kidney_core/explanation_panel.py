"""The explanation of an answer: what is asked of the map, what it is worth, and what the other models look at."""

from typing import TYPE_CHECKING

import streamlit as st

from kidney_core import figures, pictures, ui
from kidney_core.slices import Slice

if TYPE_CHECKING:
    from kidney_core.diagnosis import Diagnosis, Reader

NOBODY = "no other label"
GRADE_MARKS = {
    "good": ":green[:material/check_circle:]",
    "fair": ":orange[:material/error:]",
    "poor": ":red[:material/cancel:]",
}


def ask(reader: "Reader", image: Slice, answer: "Diagnosis", *, key: str) -> "Diagnosis":
    """Let the user choose label, contrast and method of the map; the answer with the map that was asked for."""
    from kidney_core import diagnosis, explanation

    labels = reader.checkpoint.labels
    suffix = f"{key}_{reader.checkpoint.name}_{answer.predicted_label}"
    explain = st.segmented_control(
        "Explain the evidence for",
        labels,
        default=answer.predicted_label,
        required=True,
        key=f"diagnosis_explain_{suffix}",
        help="It starts with the label the model names.",
    )
    left, right = st.columns(2)
    against = left.selectbox(
        "rather than",
        [NOBODY, *(label for label in labels if label != explain)],
        key=f"diagnosis_against_{suffix}_{explain}",
        help="The contrast: what speaks for the one label and not for the other.",
    )
    method = right.selectbox(
        "Method",
        list(explanation.METHODS),
        key="diagnosis_method",
        help="How well each method points at known lesions stands on the Evaluation page, under One model, Explanations.",
    )
    against = None if against == NOBODY else against
    if (explain, against, method) == (answer.explained_label, answer.against_label, answer.method):
        return answer
    with st.spinner(f"Drawing {method}…"):
        return diagnosis.diagnose(reader, image, explain=explain, against=against, method=method)


def show_worth(reader: "Reader", image: Slice, answer: "Diagnosis", *, key: str) -> tuple:
    """The grades of the map on request, beside how well such maps point; the grades, empty until asked."""
    if answer.heatmap is None:
        return ()
    from kidney_core import grading

    with st.expander("What is this map worth?"):
        pointed(reader, answer.method)
        wanted = (
            f"{key}|{ui.version(reader.checkpoint)}|{answer.explained_label}|{answer.against_label}|{answer.method}"
        )
        known = st.session_state.setdefault("diagnosis_grades", {})
        if wanted not in known and st.button("Grade this map", key="diagnosis_grade"):
            with st.spinner("Hiding and moving parts of the image, asking the other models…"):
                others = tuple(each for each in ui.readers() if each.checkpoint.name != reader.checkpoint.name)
                known[wanted] = grading.grade(reader, image, answer, others=others)
        if wanted in known and answer.against_label:
            st.caption(
                f"The probabilities below are of {answer.explained_label} and {answer.against_label} alone, as if there were no "
                "other label."
            )
        for grade in known.get(wanted, ()):
            st.markdown(f"{GRADE_MARKS[grade.outcome]} **{grade.title}: {grade.outcome}.** {grade.reason}")
        return known.get(wanted, ())


def pointed(reader: "Reader", method: str) -> None:
    """One sentence a set: how often maps of this model and method point at the lesion, and how often chance does."""
    from kidney_core import pointing

    found = reader.explanations
    if found is None:
        st.caption(
            "Whether the maps of this model point at lesions was not measured: `python -m kidney_core.pointing`."
        )
        return
    for name, measured in found["sets"].items():
        rate, low, _ = pointing.hit_rate(measured["methods"][method]["hits"], measured["n"])
        verdict = "better than chance" if low > measured["chance_hit"] else "no better than chance"
        st.markdown(
            f"On **{name}**, {method} of {reader.checkpoint.name} points at the lesion in **{figures.percent(rate, 0)}** of "
            f"{ui.counted(measured['n'], 'slice')}; a random place does in {figures.percent(measured['chance_hit'], 0)}: {verdict}."
        )


def show_models(image: Slice, answer: "Diagnosis") -> None:
    """The maps of all checkpoints for the same question, side by side, where that is asked for."""
    if not st.toggle("Draw the map of every model", key="diagnosis_all_maps"):
        return
    from kidney_core import grading

    readers = tuple(ui.readers())
    maps = grading.maps_of(readers, image, answer)
    if without := [each.checkpoint.name for each in readers if each.checkpoint.name not in maps]:
        st.caption(f"No such map of: {', '.join(without)}.")
    if not maps:
        return
    for column, (name, heatmap) in zip(st.columns(len(maps)), maps.items(), strict=True):
        column.image(pictures.blend(image.grey8(), heatmap), caption=name, width="stretch")
    st.caption(f"{answer.method} of {answer.explained_label}, each map scaled to its own brightest place.")
