"""The way into a class: by its code, or by starting one with the quiz at hand; links and their QR codes."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import streamlit as st

from kidney_core.app import access, formatting, markdown, quiz_answers, teaching_link
from kidney_core.app.class_memory import classroom
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.errors import KidneyError
from kidney_core.teaching.classroom import Rules
from kidney_core.teaching.seats import MAX_NAME

if TYPE_CHECKING:
    from kidney_core.teaching.cases import Case

AT_REVEAL, AT_ONCE = "when I reveal it", "after each answer"


def show(checkpoint: Checkpoint, name: str, cases: Sequence["Case"], *, link: dict[str, str]) -> None:
    """A button that opens the way into a class.

    Args:
        name, cases: the quiz at hand.
        link: the values of an address that opens it; empty where there is none.
    """
    with st.popover("With a class", icon=":material/groups:", width="stretch"):
        _show_join()
        if access.is_allowed(access.DIAGNOSER):
            st.divider()
            if cases:
                _show_start(checkpoint, name, cases)
        if link:
            st.divider()
            st.markdown("**Link to this quiz**, for readers on their own")
            show_link(teaching_link.address(**link), size_rem=9)


def _show_join() -> None:
    with st.form("teaching_join_form", border=False):
        code = st.text_input("Join a class: code", max_chars=12, key="teaching_join_code")
        if st.form_submit_button("Join") and code:
            try:
                session = classroom().find(code)
            except KidneyError as error:
                st.error(markdown.text(error))
                return
            teaching_link.write(**{teaching_link.CLASS: session.code, teaching_link.SEAT: "", teaching_link.KEY: ""})
            st.rerun()


def _show_start(checkpoint: Checkpoint, name: str, cases: Sequence["Case"]) -> None:
    with st.form("teaching_start_form", border=False):
        class_name = st.text_input("Start a class: name", max_chars=MAX_NAME, key="teaching_class_name")
        reveal = st.radio("Show the truth", [AT_REVEAL, AT_ONCE], key="teaching_class_reveal")
        again = st.toggle("Before and after AI", key="teaching_class_again", help=AGAIN_HELP)
        if not st.form_submit_button("Start the class", type="primary"):
            return
        person = access.require(access.DIAGNOSER)
        try:
            with st.spinner(
                f"Asking {markdown.text(checkpoint.name)} about {formatting.quantity(len(cases), 'case')}…"
            ):
                answers = [quiz_answers.answer(checkpoint, name, at, case) for at, case in enumerate(cases)]
            session = classroom().start(
                class_name,
                cases,
                answers,
                model_name=checkpoint.name,
                rules=Rules(reveals_at_once=reveal == AT_ONCE, looks_again=again),
                owner=person.name,
            )
        except KidneyError as error:
            st.error(markdown.text(error))
            return
        teaching_link.write(
            **{teaching_link.CLASS: session.code, teaching_link.KEY: session.teacher_key, teaching_link.SEAT: ""}
        )
        st.rerun()


AGAIN_HELP = "After the first answer the model’s answer is shown, and everybody answers again."


def show_link(link: str, *, size_rem: float) -> None:
    """A link with its QR code, which is drawn on this machine."""
    st.html(
        f'<img src="{escape(_qr_code(link))}" alt="QR code of the link" style="width:{size_rem:g}rem;max-width:100%;border-radius:.4rem">'
    )
    st.code(link, language=None, wrap_lines=True)
    if access.is_loopback(urlsplit(link).hostname):
        st.caption("Other machines cannot open this address. For a class, deploy the workbench with a log-in.")


@st.cache_data(max_entries=100, show_spinner=False)
def _qr_code(link: str) -> str:
    """The QR code of a link as a data URI of an SVG."""
    import segno

    return segno.make(link, error="m").svg_data_uri(scale=4, border=3, dark="#000", light="#fff")
