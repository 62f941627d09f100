"""The class that the address of the page names: its teacher's screen, or a student's."""

import streamlit as st

from kidney_core.app import board_panel, class_memory, markdown, student_panel, teaching_link
from kidney_core.app.class_memory import classroom
from kidney_core.common.errors import ClassError


def show() -> bool:
    """Draw the class of the address; False where it names none."""
    code = teaching_link.read(teaching_link.CLASS)
    if not code:
        return False
    try:
        session = classroom().find(code)
        if class_memory.is_teacher(session):
            board_panel.show(session)
        else:
            student_panel.show(session)
    except ClassError as error:
        st.error(markdown.text(error))
        if st.button("Take a quiz on your own", key="teaching_alone"):
            class_memory.leave()
            st.rerun()
    return True
