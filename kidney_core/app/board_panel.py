"""A class as its teacher sees it: how to join, who answered what, each case with everybody's marks, and the results."""

from collections import Counter
from html import escape

import streamlit as st

from kidney_core.app import (
    case_panel,
    charts,
    class_entry,
    class_memory,
    class_results_panel,
    formatting,
    markdown,
    projector,
    solution_panel,
    teaching_link,
)
from kidney_core.app.case_panel import Sitting
from kidney_core.app.class_memory import classroom
from kidney_core.common.labels import NORMAL
from kidney_core.teaching import class_results
from kidney_core.teaching.classroom import ClassSession
from kidney_core.teaching.seats import Reading

POLL_S = 2
JOIN, BOARD, CASES, RESULTS = "Join", "Board", "Cases", "Results"
_STYLE = """
<style>
.board { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
.board th, .board td { border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); padding: .3rem .5rem; text-align: center; }
.board th:first-child, .board td:first-child { text-align: left; overflow-wrap: anywhere; }
.board-frame { overflow-x: auto; }
.class-code { font-size: 3.2rem; font-weight: 700; letter-spacing: .3rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
</style>
"""


def show(session: ClassSession) -> None:
    """The teacher's screen."""
    st.html(_STYLE)
    left, middle, right = st.columns([3, 1, 1], vertical_alignment="center")
    with middle:
        projector.switch()
    with left:
        st.header(markdown.text(session.name), anchor=False)
        _show_counts(session)
    with right.popover("Close the class", width="stretch"):
        st.markdown("All answers are deleted. Download the results first.")
        if st.button("Delete the answers and close", type="primary", key="teaching_close"):
            classroom().close(session)
            class_memory.leave()
            st.rerun()
    view = st.segmented_control(
        "View",
        [JOIN, BOARD, CASES, RESULTS],
        default=JOIN,
        required=True,
        key="teaching_board_view",
        label_visibility="collapsed",
    )
    if view == JOIN:
        _show_join(session)
    elif view == BOARD:
        _show_board(session)
    elif view == CASES:
        _show_case(session)
    else:
        class_results_panel.show(session)


def _show_join(session: ClassSession) -> None:
    st.html(f'<div class="class-code" aria-label="Code of the class">{escape(session.code)}</div>')
    st.markdown("Open the link, or type the code under **With a class** on the Teaching page.")
    class_entry.show_link(
        teaching_link.address(**{teaching_link.PART: "quiz", teaching_link.CLASS: session.code}), size_rem=16
    )


@st.fragment(run_every=POLL_S)
def _show_counts(session: ClassSession) -> None:
    seats = session.seats()
    n_answers = sum(len(seat.readings()) for seat in seats)
    st.markdown(
        f"Code **{markdown.text(session.code)}** · {formatting.quantity(len(seats), 'student')} · {formatting.quantity(n_answers, 'answer')} of "
        f"{len(seats) * len(session.cases):d}"
    )


@st.fragment(run_every=POLL_S)
def _show_board(session: ClassSession) -> None:
    """Who answered which case, renewed every few seconds; whether correctly, only where the truth is revealed."""
    has_names = st.toggle("Show names", value=True, key="teaching_board_names")
    seats, revealed = session.seats(), session.revealed()
    if not seats:
        st.info("Nobody has joined yet.")
        return
    head = "".join(f"<th scope='col'>{number + 1}</th>" for number in range(len(session.cases)))
    rows = []
    for position, seat in enumerate(seats):
        readings = seat.readings()
        cells = "".join(
            f"<td>{_cell(readings.get(number), case.label, is_revealed=number in revealed)}</td>"
            for number, case in enumerate(session.cases)
        )
        name = escape(seat.name) if has_names else f"{position + 1}"
        rows.append(f"<tr><td>{name}</td>{cells}<td>{len(readings)}</td></tr>")
    st.html(
        f"<div class='board-frame'><table class='board'><thead><tr><th scope='col'>Student</th>{head}<th scope='col'>Answers</th></tr>"
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
    st.caption("● answered · ✓ class correct · ✗ class wrong, shown once the case is revealed")
    _show_reveal_all(session, revealed)


def _cell(reading: Reading | None, truth: str, *, is_revealed: bool) -> str:
    if reading is None:
        return '<span aria-label="open">·</span>'
    if not is_revealed:
        return '<span aria-label="answered">●</span>'
    right = reading.final.label == truth
    return f'<span aria-label="{"correct" if right else "wrong"}">{"✓" if right else "✗"}</span>'


def _show_reveal_all(session: ClassSession, revealed: frozenset[int]) -> None:
    if len(revealed) < len(session.cases) and st.button("Reveal all cases", key="teaching_reveal_all"):
        session.reveal(range(len(session.cases)))
        st.rerun(scope="app")


def _show_case(session: ClassSession) -> None:
    """One case: the picture, and once it is revealed the truth with everybody's answers and marks."""
    n, revealed = len(session.cases), session.revealed()
    at = st.segmented_control(
        "Case",
        range(n),
        default=0,
        required=True,
        format_func=lambda number: f"{number + 1}{' ✓' if number in revealed else ''}",
        key="teaching_board_case",
    )
    case, answer = session.cases[at], session.answers[at]
    readings = {seat.name: found for seat in session.seats() if (found := seat.readings().get(at))}
    with st.container(key="teaching_quiz"):
        picture, panel = st.columns([3, 2], gap="large")
    with panel:
        if at not in revealed:
            sitting = _without_seat(session)
            with picture:
                case_panel.show_unsolved(sitting, at)
            _show_answered(session, at)
            if st.button("Reveal this case", type="primary", key="teaching_reveal", width="stretch"):
                session.reveal([at])
                st.rerun()
            return
        marked_at, marks = _marks_on_one_slice(list(readings.values()))
        solution_panel.show_solution(
            case, marks, marked_at, answer, picture, name=f"board {session.code} {at}", who="the marks of the class"
        )
        if readings:
            _show_distribution(session, at, readings)
        solution_panel.show_model(session.model_name, case, answer)


@st.fragment(run_every=POLL_S)
def _show_answered(session: ClassSession, at: int) -> None:
    seats = session.seats()
    n = sum(at in seat.readings() for seat in seats)
    st.metric("Answered", f"{n} of {len(seats)}", border=True)


def _marks_on_one_slice(readings: list[Reading]) -> tuple[int, list[tuple[int, int] | None]]:
    """The slice of a stack that most of the class marked, and the marks on it; of a single slice, all marks."""
    places = Counter(each.final.at for each in readings if each.final.mark)
    at = places.most_common(1)[0][0] if places else 0
    return at, [each.final.mark for each in readings if each.final.at == at]


def _show_distribution(session: ClassSession, at: int, readings: dict[str, Reading]) -> None:
    from kidney_core.teaching import class_plots

    labels = case_panel.offered_labels(session.cases)
    counts = Counter(each.final.label for each in readings.values())
    charts.draw(
        class_plots.answers_figure(counts, session.cases[at].label, labels),
        f"Answers: {', '.join(f'{label} {counts[label]}' for label in labels)}. True: {session.cases[at].label}.",
        key=f"teaching_distribution_{at}",
    )
    rows = class_results.answered(
        {name: {at: each} for name, each in readings.items()}, session.cases, dict(enumerate(session.answers))
    )
    table = class_results.case_table(rows, session.cases, dict(enumerate(session.answers))).iloc[at]
    if session.cases[at].has_known_lesion and session.cases[at].label != NORMAL:
        st.caption(f"Location correct: {int(table['Location correct'])} of {len(readings)}.")


def _without_seat(session: ClassSession) -> Sitting:
    """The quiz as the teacher looks at it."""
    from kidney_core.teaching.seats import Seat

    return Sitting(
        name=f"board {session.code}",
        cases=session.cases,
        seat=Seat(),
        model_name=session.model_name,
        answer_of=lambda number: session.answers[number],
        shows=lambda number: True,
        looks_again=False,
    )
