"""A slice of a folder that is opened in Diagnosis from another page."""

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from kidney_core.app import markdown, path_inputs
from kidney_core.common import allowed_paths
from kidney_core.common.errors import KidneyError

if TYPE_CHECKING:
    from kidney_core.imaging.stack import UploadContents

_ASKED = "diagnosis_opened"  # (folder, name of the slice below it)
_GOING = "diagnosis_going"  # a button was pressed, and the page has not changed yet


def open_button(folder: str, path: str, *, key: str) -> None:
    """A button that opens a slice in Diagnosis."""
    st.button("Open in Diagnosis", key=key, type="tertiary", on_click=_ask, args=(folder, path))


def _ask(folder: str, path: str) -> None:
    st.session_state[_ASKED] = (folder, path)
    st.session_state[_GOING] = True
    st.session_state.pop("diagnosis_sample", None)


def go_where_asked() -> None:
    """Go to Diagnosis where a slice was just asked for; to be called at the start of a page, before it draws what takes time."""
    if st.session_state.pop(_GOING, False):
        # Without query_params Streamlit refuses to leave a page whose address holds widgets.
        st.switch_page("pages/1_Diagnosis.py", query_params={})


def asked() -> str:
    """What was asked for, as a key; empty for nothing."""
    return "-".join(st.session_state.get(_ASKED, ()))


def contents() -> "UploadContents | None":
    """The slice that was asked for, with a way to close it; None where none was, or it cannot be opened."""
    if _ASKED not in st.session_state:
        return None
    folder, path = st.session_state[_ASKED]
    st.text(f"From a folder: {path}")
    st.button("Close this slice", key="diagnosis_close_opened", on_click=forget)
    try:
        return _open(folder, path)
    except KidneyError as error:
        st.error(markdown.text(error))
    except OSError as error:
        st.error(f"The slice cannot be read ({markdown.text(error.strerror)}). Is its folder still there?")
    return None


def forget() -> None:
    """Close the slice, since something else was chosen."""
    st.session_state.pop(_ASKED, None)


def _open(folder: str, path: str) -> "UploadContents | None":
    """The one slice of the file, also of one with several."""
    from kidney_core.imaging.stack import Stack, UploadContents, file_and_frame, open_stacks

    name, frame = file_and_frame(path)
    file = allowed_paths.file_below(Path(path_inputs.allowed_path(folder)), name)
    opened = open_stacks([(name, file.read_bytes())])
    for problem in opened.problems:
        st.error(markdown.text(problem))
    for stack in opened.stacks:
        items = tuple(item for item in stack.items if item.frame == frame)
        if items:
            return UploadContents((Stack(stack.title, items, stack.ordered_by),), ())
    return None
