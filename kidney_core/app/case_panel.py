"""One case of a quiz: the picture in which to mark the lesion, the questions, and what is shown after the answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kidney_core.app import case_picture, markdown, solution_panel
from kidney_core.app.viewer import show_scan
from kidney_core.common.labels import DESCRIPTIONS, LABELS, NORMAL, order_labels
from kidney_core.metrics.number_format import percent
from kidney_core.teaching.seats import CONFIDENCE_WORDS, CONFIDENCES, Draft, Reading, Seat

if TYPE_CHECKING:
    from kidney_core.teaching.cases import Case
    from kidney_core.teaching.fair_answers import ModelAnswer


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
        keep: called after each answer, and where one is begun.
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


def play(sitting: Sitting) -> bool:
    """The case that the reader is at, with the way to the others; whether its answer is given and waits for the truth."""
    readings = sitting.seat.readings()
    at = _position(sitting, readings)
    case, reading = sitting.cases[at], readings.get(at)
    with st.container(key="teaching_quiz"):
        picture, panel = st.columns([3, 2], gap="large")
    with panel:
        st.header(f"Case {at + 1} of {len(sitting.cases)}", anchor=False)
        if not sitting.is_done(reading):
            sitting.seat.open(at)
            _ask(sitting, at, reading, picture)
            return False
        if reading is None:
            raise ValueError("a case that is done must have a reading")
        waits = not sitting.shows(at)
        if not waits:
            solution_panel.show_truth(
                case,
                sitting.answer_of(at),
                reading,
                picture,
                name=f"{sitting.name}_{at}",
                model_name=sitting.model_name,
            )
        else:
            solution_panel.show_saved(case, reading, picture)
        _show_next(sitting, at, readings)
    return waits


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
            format_func=lambda number: markdown.text(f"{number + 1}{symbols[number]}"),
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
    suffix = f"{sitting.name}_{at}{'_again' * again}"
    place, label_key, confidence_key = (f"teaching_{each}_{suffix}" for each in ("mark", "label", "confidence"))
    begun = sitting.seat.draft(at) or _second_begins(reading)  # what was chosen before the page was loaded again
    st.session_state.setdefault(place, begun.mark)
    st.session_state.setdefault(f"{place}_slice", begun.at)
    st.session_state.setdefault(label_key, begun.label if begun.label in labels else None)
    st.session_state.setdefault(confidence_key, begun.confidence)
    if reading is not None:
        _show_advice(sitting, at, reading)
    with picture:
        shown, clicked = _show_picture(sitting, at, st.session_state[place], st.session_state[f"{place}_slice"])
        if clicked and (clicked, shown) != (st.session_state[place], st.session_state[f"{place}_slice"]):
            st.session_state[place], st.session_state[f"{place}_slice"] = clicked, shown
            st.rerun()
    marked, marked_at = st.session_state[place], st.session_state[f"{place}_slice"]
    label = st.radio(
        "1. What do you see now?" if again else "1. What do you see?",
        labels,
        index=None,
        format_func=markdown.text,
        key=label_key,
        help="  \n".join(
            f"**{markdown.text(each)}**: {DESCRIPTIONS[each].plain}" for each in labels if each in DESCRIPTIONS
        )
        or None,
    )
    _tell_about_mark(case, label, marked, marked_at)
    confidence = st.segmented_control(
        "3. How sure are you?",
        CONFIDENCES,
        format_func=lambda each: markdown.text(f"{each} {CONFIDENCE_WORDS.get(each, '')}"),
        key=confidence_key,
    )
    draft = Draft(label, marked, marked_at, confidence)
    if sitting.seat.keep_draft(at, draft):
        sitting.keep()
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
        st.caption(f":material/info: {markdown.text(note)}")


def _second_begins(reading: Reading | None) -> Draft:
    """What a second answer begins with: the first, but for how sure the reader is."""
    return Draft(reading.first.label, reading.first.mark, reading.first.at) if reading else Draft()


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
        keys = "Enter, arrow keys, Enter" if case.stack else "arrow keys and Enter"
        st.markdown(f"**2. Mark it:** click, or {keys}." + (f" ✓ Marked{where}." if marked else ""))


def _show_picture(
    sitting: Sitting, at: int, mark: tuple[int, int] | None, mark_at: int, *, marking: bool = True
) -> tuple[int, tuple[int, int] | None]:
    """The slice to mark, of a stack with the way through it; (the slice shown, where it was marked just now)."""
    case = sitting.cases[at]
    frame, under = st.container(), st.container()
    with under:
        shown = case_picture.choose_slice(case, f"{sitting.name}_{at}", first=mark_at if mark else None)
    with frame:
        events = show_scan(
            case.slices[shown],
            None,
            alt="CT slice to diagnose" + (", with your mark" if mark and shown == mark_at else ""),
            key="teaching_viewer",
            scene=f"{sitting.name} {at}" if case.stack else "",
            place=case_picture.place_of(case, shown),
            stacked=bool(case.stack),
            marking=marking,
            drawings=case_picture.drawings(case, [mark] if shown == mark_at else [], None, shown, with_truth=False),
        )
    return shown, events.mark


def show_unsolved(sitting: Sitting, at: int) -> None:
    """The picture of a case without anything drawn on it."""
    _show_picture(sitting, at, None, 0, marking=False)


def _show_advice(sitting: Sitting, at: int, reading: Reading) -> None:
    """The model's answer, before the reader answers again."""
    answer = sitting.answer_of(at)
    with st.container(border=True):
        st.markdown(f"**You:** {markdown.text(reading.first.label)} · sure {reading.confidence:d} of 5")
        st.markdown(
            f"**{markdown.text(sitting.model_name)}:** {markdown.text(answer.guess.label)} · {percent(answer.confidence, 0)}"
        )
    st.caption("The model can be wrong. Keep your answer, or change it.")


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
