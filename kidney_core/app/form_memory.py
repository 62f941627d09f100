"""What somebody entered in forms, so that another page or a reload of the browser does not lose it.

Streamlit forgets a field that a page does not draw, and everything when the browser loads the page again. What is kept here
stays in the memory of this server, under the person and the secret of their browser: nothing is written to disk or put
into the address, and nobody else gets it. A restart of the app forgets it.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import streamlit as st

from kidney_core.app import access, streamlit_internals

MOST_BROWSERS = 200
_MOST_LETTERS = 4096  # of one value: longer ones are not kept
_FOLDER = "opened_folder"
_BROWSER = "form_memory_browser"
_OF_SESSION = "form_memory"  # where the browser has no secret of its own, as in tests of single pages
_lock = threading.Lock()


def start(values: Mapping[str, Any]) -> None:
    """Give fields that are not drawn yet what was kept of them, or else these values.

    Args:
        values: by session key; the field must be drawn without a value of its own.
    """
    kept = _kept()
    for key, value in values.items():
        if key not in st.session_state:
            st.session_state[key] = kept.get(key, value)


def keep(keys: Iterable[str]) -> None:
    """Keep what these fields hold now."""
    kept = _kept()
    for key in keys:
        if key in st.session_state and len(repr(st.session_state[key])) <= _MOST_LETTERS:
            kept[key] = st.session_state[key]


def set_aside(keys: Iterable[str]) -> None:
    """Keep what these fields hold, while they are not drawn.

    Left in the session, the value from before a field was first drawn would come back once it is not drawn any more.
    """
    keys = list(keys)
    keep(keys)
    for key in keys:
        st.session_state.pop(key, None)


def opened_folder() -> str:
    """The folder that this person opened last on any page; empty before the first."""
    return _kept().get(_FOLDER, "")


def keep_folder(folder: str) -> None:
    """Offer a folder on the other pages."""
    if folder and len(folder) <= _MOST_LETTERS:
        _kept()[_FOLDER] = folder


@st.cache_resource
def _browsers() -> OrderedDict[tuple[str, str], dict[str, Any]]:
    """(person, browser) -> what they entered, by session key; who came last is at the end."""
    return OrderedDict()


def _kept() -> dict[str, Any]:
    if _BROWSER not in st.session_state:
        st.session_state[_BROWSER] = streamlit_internals.browser_secret()  # of the request that began the session
    browser = st.session_state[_BROWSER]
    if not browser:
        return st.session_state.setdefault(_OF_SESSION, {})
    owner = (access.require(access.VIEWER).name, browser)
    with _lock:
        browsers = _browsers()
        kept = browsers.setdefault(owner, {})
        browsers.move_to_end(owner)
        while len(browsers) > MOST_BROWSERS:
            browsers.popitem(last=False)
    return kept
