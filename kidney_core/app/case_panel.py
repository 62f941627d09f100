"""One case of a quiz: the picture in which to mark the lesion, the questions, and what is shown after the answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kidney_core.app.formatting import escape_markdown
from kidney_core.app.viewer import browser_part, show_scan
from kidney_core.common.labels import DESCRIPTIONS, LABELS, NORMAL, order_labels
from kidney_core.diagnosis import outcomes
from kidney_core.imaging import outlines, rendering
from kidney_core.metrics.number_format import percent
from kidney_core.teaching.seats import CONFIDENCE_WORDS, CONFIDENCES, Reading, Seat

if TYPE_CHECKING:
    from kidney_core.teaching.cases import Case, Guess
    from kidney_core.teaching.fair_answers import ModelAnswer
    from kidney_core.teaching.marks import Grade

STUDENT_COLOR, MODEL_COLOR, TRUTH_COLOR = "#56B4E9", "#F0E442", "#3DDC97"  # visible on grey and on the heatmap
GRADES = {
    "correct": ":green[:material/check_circle:] correct",
    "near": ":orange[:material/adjust:] near",
    "wrong": ":red[:material/cancel:] wrong",
}
NOT_SCORED = "not scored"
_CROSS_SIZE = 0.035  # of the longer side of the slice
_DASHES = "3 4"


@dataclass(frozen=True)
class Sitting:
    """A reader in front of a quiz.

    Attributes:
        name: of the quiz, which is part of the keys of its inputs.
        cases, seat: the questions and the answers so far.
        model_name: how the model is called.
        answer_of: the model's answer for the case of a number.
        shows: whether the truth of a case may be shown to a reader who answered it.
        looks_again: whether the reader answers again after the model's answer.
        keep: called after each answer.
    """

    name: str
    cases: Sequence["Case"]
    seat: Seat
    model_name: str
    answer_of: Callable[[int], "ModelAnswer"]
    shows: Callable[[int], bool]
    looks_again: bool
    keep: Callable[[], None] = lambda: None

    def is_done(self, reading: Reading | None) -> bool:
        """Whether a case has all its answers."""
        return reading is not None and (reading.second is not None or not self.looks_again)


def play(sitting: Sitting) -> None:
    """The case that the reader is at, with the way to the others."""
    readings = sitting.seat.readings()
    at = _position(sitting, readings)
    case, reading = sitting.cases[at], readings.get(at)
    with st.container(key="teaching_quiz"):
        picture, panel = st.columns([3, 2], gap="large")
    with panel:
        st.subheader(f"Case {at + 1} of {len(sitting.cases)}", anchor=False)
        if not sitting.is_done(reading):
            sitting.seat.open(at)
            _ask(sitting, at, reading, picture)
            return
        if reading is None:
            raise ValueError("a case that is done must have a reading")
        if sitting.shows(at):
            _show_truth(sitting, at, reading, picture)
        else:
            _show_saved(case, reading, picture)
        _show_next(sitting, at, readings)


def _position(sitting: Sitting, readings: dict[int, Reading]) -> int:
    """The case that was chosen, or the first open one; answered ones can be opened again."""
    key, n = f"teaching_case_{sitting.name}", len(sitting.cases)
    is_open = [not sitting.is_done(readings.get(number)) for number in range(n)]
    first_open = is_open.index(True) if any(is_open) else 0
    at = st.session_state.get(key)
    if at is None:
        at = st.session_state[key] = first_open
    symbols = {number: "" if is_open[number] else " ✓" for number in range(n)}
    if any(not each for each in is_open):
        chosen = st.segmented_control(
            "Cases",
            range(n),
            default=at,
            required=True,
            format_func=lambda number: f"{number + 1}{symbols[number]}",
            key=f"{key}_choice_{at}_{len(readings)}",
            label_visibility="collapsed",
        )
        if chosen is not None and chosen != at:
            st.session_state[key] = chosen
            st.rerun()
    return at


def _ask(sitting: Sitting, at: int, reading: Reading | None, picture: DeltaGenerator) -> None:
    """The picture, the questions, and with `reading` the model's answer between the first answer and the second."""
    case, labels = sitting.cases[at], offered_labels(sitting.cases)
    again = reading is not None
    place = f"teaching_mark_{sitting.name}_{at}{'_again' * again}"
    if reading is not None:
        st.session_state.setdefault(place, reading.first.mark)
        st.session_state.setdefault(f"{place}_slice", reading.first.at)
        _show_advice(sitting, at, reading)
    with picture:
        shown, clicked = _show_picture(
            sitting, at, st.session_state.get(place), st.session_state.get(f"{place}_slice", 0)
        )
        if clicked and (clicked, shown) != (st.session_state.get(place), st.session_state.get(f"{place}_slice", 0)):
            st.session_state[place], st.session_state[f"{place}_slice"] = clicked, shown
            st.rerun()
    marked, marked_at = st.session_state.get(place), st.session_state.get(f"{place}_slice", 0)
    suffix = f"{sitting.name}_{at}{'_again' * again}"
    label = st.radio(
        "1. What do you see now?" if again else "1. What do you see?",
        labels,
        index=labels.index(reading.first.label) if reading and reading.first.label in labels else None,
        format_func=escape_markdown,
        key=f"teaching_label_{suffix}",
        help="  \n".join(f"**{each}**: {DESCRIPTIONS[each].plain}" for each in labels if each in DESCRIPTIONS) or None,
    )
    _tell_about_mark(case, label, marked, marked_at)
    confidence = st.segmented_control(
        "3. How sure are you?",
        CONFIDENCES,
        format_func=lambda each: f"{each} {CONFIDENCE_WORDS.get(each, '')}".strip(),
        key=f"teaching_confidence_{suffix}",
    )
    needs_mark = case.has_known_lesion and label not in (NORMAL, None) and marked is None
    is_submitted = st.button(
        "Submit second answer" if again else "Submit answer",
        type="primary",
        disabled=label is None or confidence is None or needs_mark,
        key="teaching_answer",
        width="stretch",
    )
    if is_submitted and label is not None and confidence is not None:
        _keep(sitting, at, label, None if label == NORMAL else marked, marked_at, confidence, again=again)
        st.rerun()
    for note in case.image.notes:
        st.caption(f":material/info: {note}")


def _keep(
    sitting: Sitting,
    at: int,
    label: str,
    mark: tuple[int, int] | None,
    slice_at: int,
    confidence: int,
    *,
    again: bool,
) -> None:
    from kidney_core.teaching.cases import Guess

    guess = Guess(label, mark, slice_at if mark else 0)
    (sitting.seat.answer_again if again else sitting.seat.answer)(at, guess, confidence)
    sitting.keep()


def offered_labels(cases: Sequence["Case"]) -> tuple[str, ...]:
    """The labels to choose from: those of the cases, and all of the four where one of them is there."""
    labels = {NORMAL, *(case.label for case in cases)}
    return order_labels(labels | set(LABELS) if any(case.label in LABELS for case in cases) else labels)


def _tell_about_mark(case: "Case", label: str | None, marked: tuple[int, int] | None, marked_at: int) -> None:
    if not case.has_known_lesion:
        st.caption("No masks of lesions here, so only the class is scored.")
    elif label == NORMAL:
        st.markdown("**2. No mark needed:** you see no lesion.")
    else:
        where = f" on slice {marked_at + 1}" if case.stack else ""
        st.markdown("**2. Mark it:** click on the lesion." + (f" ✓ Marked{where}." if marked else ""))


def _show_picture(
    sitting: Sitting, at: int, mark: tuple[int, int] | None, mark_at: int, *, marking: bool = True
) -> tuple[int, tuple[int, int] | None]:
    """The slice to mark, of a stack with the way through it; (the slice shown, where it was marked just now)."""
    case = sitting.cases[at]
    frame, under = st.container(), st.container()
    with under:
        shown = choose_slice(case, f"{sitting.name}_{at}", first=mark_at if mark else None)
    with frame:
        events = show_scan(
            case.slices[shown],
            None,
            alt="CT slice to diagnose" + (", with your mark" if mark and shown == mark_at else ""),
            key="teaching_viewer",
            scene=f"{sitting.name} {at}" if case.stack else "",
            place=place_of(case, shown),
            stacked=bool(case.stack),
            marking=marking,
            drawings=drawings(case, [mark] if shown == mark_at else [], None, shown, with_truth=False),
        )
    return shown, events.mark


def show_unsolved(sitting: Sitting, at: int) -> None:
    """The picture of a case without anything drawn on it."""
    _show_picture(sitting, at, None, 0, marking=False)


def place_of(case: "Case", shown: int) -> str:
    """Where a slice of a stack lies, as navigator and viewer call it; empty for a single slice."""
    return f"{shown + 1} of {len(case.stack)}" if case.stack else ""


def choose_slice(case: "Case", name: str, *, first: int | None = None) -> int:
    """A way through the slices of a stack; the chosen one. Of a single slice, 0 without anything drawn."""
    if not case.stack:
        return 0
    n = len(case.stack)
    part = browser_part("stack")
    navigator = st.components.v2.component("scan_stack", html=part["html"], css=part["css"], js=part["js"])
    start = n // 2 if first is None else first
    data = {
        "id": name,
        "index": st.session_state.setdefault(f"teaching_slice_{name}", start),
        "labels": [],
        "colors": [],
        "rows": [[] for _ in range(n)],
        "previews": [rendering.jpeg_data_url(each.grey8()) for each in case.stack],
        "places": [place_of(case, row) for row in range(n)],
        "kidneys": [],
    }
    index = navigator(data=data, key=f"teaching_stack_{name}", on_index_change=lambda: None).get("index")
    return min(int(data["index"] if index is None else index), n - 1)


def _show_advice(sitting: Sitting, at: int, reading: Reading) -> None:
    """The model's answer, before the reader answers again."""
    answer = sitting.answer_of(at)
    with st.container(border=True):
        st.markdown(f"**You:** {escape_markdown(reading.first.label)} · sure {reading.confidence} of 5")
        st.markdown(
            f"**{escape_markdown(sitting.model_name)}:** {escape_markdown(answer.guess.label)} · {percent(answer.confidence, 0)}"
        )
    st.caption("The model can be wrong. Keep your answer, or change it.")


def _show_saved(case: "Case", reading: Reading, picture: DeltaGenerator) -> None:
    """The reader's answer, while the teacher has not revealed the truth."""
    guess = reading.final
    with picture:
        show_scan(
            case.slices[guess.at],
            None,
            alt="CT slice" + (" with your mark" if guess.mark else ""),
            key="teaching_viewer",
            place=place_of(case, guess.at),
            drawings=drawings(case, [guess.mark], None, guess.at, with_truth=False),
        )
    st.markdown(f"#### Your answer: {escape_markdown(guess.label)}")
    st.info("Saved. Your teacher reveals the truth.", icon=":material/hourglass_top:")


def _show_truth(sitting: Sitting, at: int, reading: Reading, picture: DeltaGenerator) -> None:
    """The truth, the prediction and its heatmap beside the reader's answer."""
    case, answer, guess = sitting.cases[at], sitting.answer_of(at), reading.final
    show_solution(case, [guess.mark], guess.at, answer, picture, name=f"{sitting.name}_{at}", who="your mark")
    for title, first in (("You, before", reading.first), ("You, after", reading.second)):
        if first is not None:
            _show_scored(title if reading.second else "You", case, first)
    show_model(sitting.model_name, case, answer)


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
            shown = choose_slice(case, f"{name}_solved", first=_first_to_show(case, student_marks, marked_at))
        at_peak = not case.stack or shown == answer.guess.at
        with frame:
            show_scan(
                case.slices[shown],
                answer.heatmap if at_peak else None,
                alt=_in_words(case, student_marks, answer if at_peak else None, who),
                key="teaching_viewer",
                scene=name if case.stack else "",
                place=place_of(case, shown),
                stacked=bool(case.stack),
                drawings=drawings(
                    case,
                    student_marks if shown == marked_at else [],
                    peak if at_peak else None,
                    shown,
                    with_truth=True,
                ),
            )
        st.markdown(_legend(case, student_marks, answer, who))
    st.markdown(f"#### {it_is(case.label)}")
    described = f"{DESCRIPTIONS[case.label].plain.capitalize()}. " if case.label in DESCRIPTIONS else ""
    st.caption(f"{described}({escape_markdown(case.origin)})")


def it_is(label: str) -> str:
    """What a case turns out to be, in a sentence of Markdown: "It is a cyst"."""
    return f"It is {DESCRIPTIONS[label].noun if label in DESCRIPTIONS else escape_markdown(label)}"


def _first_to_show(case: "Case", student_marks: Sequence[tuple[int, int] | None], marked_at: int) -> int | None:
    """The slice of a stack that was marked, or else the one with the largest lesion."""
    if any(student_marks):
        return marked_at
    sizes = [int(each.sum()) for each in case.stack_lesions]
    return sizes.index(max(sizes)) if any(sizes) else None


def _show_scored(title: str, case: "Case", guess: "Guess") -> None:
    from kidney_core.teaching import marks

    score = marks.score(case, guess)
    with st.container(border=True):
        st.markdown(f"**{title}:** {escape_markdown(guess.label)}")
        st.markdown(
            f"Class {GRADES['correct' if score.label else 'wrong']} · location {_graded(score.place)}{_distance_in_words(case, guess)}"
        )


def show_model(model_name: str, case: "Case", answer: "ModelAnswer") -> None:
    """The model's answer and its score, or why it has none."""
    from kidney_core.teaching import fair_answers, marks

    score = marks.score(case, answer.guess)
    verdict = f", {outcomes.NAMES[answer.outcome]}" if answer.outcome else ""
    with st.container(border=True):
        st.markdown(
            f"**{escape_markdown(model_name)}:** {escape_markdown(answer.guess.label)} · {percent(answer.confidence, 0)}{verdict}"
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
    from kidney_core.teaching import marks

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


def drawings(
    case: "Case",
    student_marks: Sequence[tuple[int, int] | None],
    peak: tuple[int, int] | None,
    shown: int,
    *,
    with_truth: bool,
) -> list[tuple[str, ...]]:
    """(SVG path, colour) of the lesion, the tolerance around it (dashed), the maximum of the heatmap and the marks."""
    from kidney_core.teaching import marks

    size = _CROSS_SIZE * max(case.slices[shown].pixels.shape)
    lesion = case.lesion_of(shown)
    drawn: list[tuple[str, ...]] = []
    if with_truth and lesion is not None and lesion.any():
        drawn.append((outlines.outline(lesion), TRUTH_COLOR))
        drawn.append((outlines.outline(marks.tolerance_zone(lesion)), TRUTH_COLOR, _DASHES))
    if peak:
        drawn.append((outlines.diamond(*peak, size), MODEL_COLOR))
    drawn += [(outlines.cross(*mark, size), STUDENT_COLOR) for mark in student_marks if mark]
    return drawn


def _legend(case: "Case", student_marks: Sequence[tuple[int, int] | None], answer: "ModelAnswer", who: str) -> str:
    parts = []
    if case.has_lesion:
        parts.append("**green outline**: the lesion")
        parts.append("**dashed**: a mark inside is correct")
    if any(student_marks):
        parts.append(f"**blue cross**: {who}")
    if answer.heatmap is not None and answer.guess.mark:
        parts.append(f"**yellow diamond**: the maximum of the model's heatmap of {escape_markdown(answer.guess.label)}")
    return " · ".join(parts)


def _in_words(
    case: "Case", student_marks: Sequence[tuple[int, int] | None], answer: "ModelAnswer | None", who: str
) -> str:
    """What the picture shows after the answer, for those who cannot see it."""
    shown = ["the lesion outlined" if case.has_lesion else "no lesion" if case.has_known_lesion else ""]
    shown.append(who if any(student_marks) else "")
    shown.append(f"the heatmap of {answer.guess.label}" if answer and answer.heatmap is not None else "")
    return f"CT slice, {case.label}: {', '.join(filter(None, shown)) or 'nothing drawn on it'}"


def _show_next(sitting: Sitting, at: int, readings: dict[int, Reading]) -> None:
    """The button to the next open case, or the end of the quiz."""
    open_cases = [number for number in range(len(sitting.cases)) if not sitting.is_done(readings.get(number))]
    if not open_cases:
        st.success("That was the last case. Open any case again by its number.")
        return
    following = next((number for number in open_cases if number > at), open_cases[0])
    if st.button("Next case", type="primary", key="teaching_next", width="stretch"):
        st.session_state[f"teaching_case_{sitting.name}"] = following
        st.rerun()
