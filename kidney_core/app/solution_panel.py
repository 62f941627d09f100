"""What is shown of a case after the answer: the truth, and the reader and the model graded by the same rule."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kidney_core.app import case_picture, markdown
from kidney_core.app.viewer import show_scan
from kidney_core.common.labels import DESCRIPTIONS
from kidney_core.diagnosis import outcomes
from kidney_core.metrics.number_format import percent
from kidney_core.teaching import fair_answers, marks
from kidney_core.teaching.seats import Reading

if TYPE_CHECKING:
    from kidney_core.teaching.cases import Case, Guess
    from kidney_core.teaching.fair_answers import ModelAnswer
    from kidney_core.teaching.marks import Grade

GRADES = {
    "correct": ":green[:material/check_circle:] correct",
    "near": ":orange[:material/adjust:] near",
    "wrong": ":red[:material/cancel:] wrong",
}
NOT_SCORED = "not scored"


def show_saved(case: "Case", reading: Reading, picture: DeltaGenerator) -> None:
    """The reader's answer, while the teacher has not revealed the truth."""
    guess = reading.final
    with picture:
        show_scan(
            case.slices[guess.at],
            None,
            alt="CT slice" + (" with your mark" if guess.mark else ""),
            key="teaching_viewer",
            place=case_picture.place_of(case, guess.at),
            drawings=case_picture.drawings(case, [guess.mark], None, guess.at, with_truth=False),
        )
    st.markdown(f"### Your answer: {markdown.text(guess.label)}")
    st.info("Saved. Your teacher reveals the truth.", icon=":material/hourglass_top:")


def show_truth(
    case: "Case", answer: "ModelAnswer", reading: Reading, picture: DeltaGenerator, *, name: str, model_name: str
) -> None:
    """The truth, the prediction and its heatmap beside the reader's answer; `name` is unique for the case."""
    guess = reading.final
    show_solution(case, [guess.mark], guess.at, answer, picture, name=name, who="your mark")
    for title, first in (("You, before", reading.first), ("You, after", reading.second)):
        if first is not None:
            _show_scored(title if reading.second else "You", case, first)
    show_model(model_name, case, answer)


def show_solution(
    case: "Case",
    student_marks: Sequence[tuple[int, int] | None],
    marked_at: int,
    answer: "ModelAnswer",
    picture: DeltaGenerator,
    *,
    name: str,
    who: str,
) -> None:
    """The picture with lesion, heatmap and marks, and what it is."""
    peak = answer.guess.mark if answer.heatmap is not None else None
    with picture:
        frame, under = st.container(), st.container()
        with under:
            shown = case_picture.choose_slice(
                case, f"{name}_solved", first=_first_to_show(case, student_marks, marked_at)
            )
        at_peak = not case.stack or shown == answer.guess.at
        with frame:
            show_scan(
                case.slices[shown],
                answer.heatmap if at_peak else None,
                alt=case_picture.in_words(
                    case, student_marks if shown == marked_at else [], answer if at_peak else None, who, shown
                ),
                key="teaching_viewer",
                scene=name if case.stack else "",
                place=case_picture.place_of(case, shown),
                stacked=bool(case.stack),
                drawings=case_picture.drawings(
                    case,
                    student_marks if shown == marked_at else [],
                    peak if at_peak else None,
                    shown,
                    with_truth=True,
                ),
            )
        case_picture.show_legend(case, student_marks, answer, who)
    st.markdown(f"### {it_is(case.label)}")
    described = f"{DESCRIPTIONS[case.label].plain.capitalize()}. " if case.label in DESCRIPTIONS else ""
    st.caption(f"{described}({markdown.text(case.origin)})")


def it_is(label: str) -> str:
    """What a case turns out to be, in a sentence of Markdown: "It is a cyst"."""
    return f"It is {DESCRIPTIONS[label].noun if label in DESCRIPTIONS else markdown.text(label)}"


def _first_to_show(case: "Case", student_marks: Sequence[tuple[int, int] | None], marked_at: int) -> int | None:
    """The slice of a stack that was marked, or else the one with the largest lesion."""
    if any(student_marks):
        return marked_at
    sizes = [int(each.sum()) for each in case.stack_lesions]
    return sizes.index(max(sizes)) if any(sizes) else None


def _show_scored(title: str, case: "Case", guess: "Guess") -> None:
    score = marks.score(case, guess)
    with st.container(border=True):
        st.markdown(f"**{markdown.text(title)}:** {markdown.text(guess.label)}")
        st.markdown(
            f"Class {GRADES['correct' if score.label else 'wrong']} · location {_graded(score.place)}{_distance_in_words(case, guess)}"
        )


def show_model(model_name: str, case: "Case", answer: "ModelAnswer") -> None:
    """The model's answer and its score, or why it has none."""
    score = marks.score(case, answer.guess)
    verdict = f", {outcomes.NAMES[answer.outcome]}" if answer.outcome else ""
    with st.container(border=True):
        st.markdown(
            f"**{markdown.text(model_name)}:** {markdown.text(answer.guess.label)} · {percent(answer.confidence, 0)}{markdown.text(verdict)}"
        )
        if answer.is_fair:
            place = _graded(score.place) if answer.outcome else NOT_SCORED
            distance = _distance_in_words(case, answer.guess) if answer.outcome else ""
            st.markdown(f"Class {GRADES['correct' if score.label else 'wrong']} · location {place}{distance}")
        st.caption(fair_answers.IN_WORDS[answer.basis])


def _graded(place: "Grade | None") -> str:
    return NOT_SCORED if place is None else GRADES[str(place)]


def _distance_in_words(case: "Case", guess: "Guess") -> str:
    """How far the mark is from the lesion on its slice; empty where that is unknown."""
    lesion = case.lesion_of(guess.at)
    if lesion is None or guess.mark is None or not case.has_lesion:
        return ""
    if not lesion.any():
        return ", no lesion on that slice"
    distance_px = marks.distance(lesion, guess.mark)
    if distance_px == 0:
        return ", on the lesion"
    spacing = case.slices[guess.at].spacing_mm
    return f", {distance_px * spacing[0]:.0f} mm away" if spacing else f", {distance_px:.0f} px away"
