"""The classes of this server, and the one that the address of the page names."""

import streamlit as st

from kidney_core.app import access, teaching_link
from kidney_core.teaching.classroom import Classroom, ClassSession


@st.cache_resource
def classroom() -> Classroom:
    """All classes and readers of this server process, shared by its sessions."""
    return Classroom()


def is_teacher(session: ClassSession) -> bool:
    """Whether this person leads a class: by the key in the address, the name they came in with, and their role."""
    person = access.require(access.VIEWER)
    key = teaching_link.read(teaching_link.KEY)
    return session.is_teacher(key, person.name) and access.is_allowed(access.DIAGNOSER)


def leave() -> None:
    """Take the class out of the address; the seat stays on the server."""
    teaching_link.write(**{teaching_link.CLASS: "", teaching_link.KEY: "", teaching_link.SEAT: ""})
