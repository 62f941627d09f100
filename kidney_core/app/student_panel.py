"""A class as its students see it: a name, the cases, and the truth once it is revealed."""

import streamlit as st

from kidney_core.app import case_panel, class_memory, formatting, markdown, teaching_link
from kidney_core.app.case_panel import Sitting
from kidney_core.teaching.classroom import ClassSession
from kidney_core.teaching.seats import MAX_NAME

# Of one page, and of all pages of a class together: each look runs a part of the page.
MIN_POLL_S, MAX_POLLS_PER_S = 2.0, 5.0


def show(session: ClassSession) -> None:
    """The quiz of a student who has a seat, or the way to one."""
    seat = session.seat(teaching_link.read(teaching_link.SEAT))
    if seat is None:
        _join(session)
        return
    left, right = st.columns([4, 1], vertical_alignment="center")
    left.markdown(f"**{markdown.text(session.name)}** · {markdown.text(seat.name)}")
    if right.button("Leave the class", key="teaching_leave", width="stretch"):
        class_memory.leave()
        st.rerun()
    revealed = session.revealed()
    sitting = Sitting(
        name=f"class {session.code}",
        cases=session.cases,
        seat=seat,
        model_name=session.model_name,
        answer_of=lambda number: session.answers[number],
        shows=lambda number: number in revealed,
        looks_again=session.rules.looks_again,
    )
    waits = case_panel.play(sitting)
    n_done = sum(sitting.is_done(each) for each in seat.readings().values())
    st.caption(f"You answered {formatting.quantity(n_done, 'case')} of {len(session.cases)}.")
    if waits:
        _wait_for_reveal(session, revealed)


def _join(session: ClassSession) -> None:
    st.header(markdown.text(session.name), anchor=False)
    with st.form("teaching_seat_form"):
        name = st.text_input(
            "Your name or number",
            max_chars=MAX_NAME,
            key="teaching_student_name",
            help="Shown to your teacher. It stays in the memory of this server until the class ends. Leave it empty to get a number.",
        )
        if st.form_submit_button("Join the class", type="primary"):
            teaching_link.write(**{teaching_link.SEAT: session.join(name)})
            st.rerun()


def _wait_for_reveal(session: ClassSession, revealed: frozenset[int]) -> None:
    """Run the page again when the teacher reveals another case."""

    @st.fragment(run_every=poll_s(len(session.seats())))
    def look() -> None:
        if session.revealed() != revealed:
            st.rerun(scope="app")

    look()


def poll_s(n_students: int) -> float:
    """Seconds between two looks of a waiting page, longer in a large class."""
    return max(MIN_POLL_S, n_students / MAX_POLLS_PER_S)
