"""What stands in the address of the Teaching page, so that a link opens the same quiz and a reload loses nothing."""

import re
from collections.abc import Sequence
from urllib.parse import urlencode, urlsplit

import streamlit as st

PART, MODEL, QUIZ, CASES, STACKS = "part", "model", "quiz", "cases", "scans"
AGAIN, SEAT, CLASS, KEY, PROJECTOR = "again", "seat", "class", "key", "projector"
_KEPT = "teaching_link"


def restore() -> None:
    """Put back what stood in the address when this person left the page for another one."""
    kept: dict[str, str] = st.session_state.get(_KEPT, {})
    if kept and not st.query_params:
        st.query_params.from_dict(kept)


def read(name: str) -> str:
    """A value of the address; empty where it has none."""
    return st.query_params.get(name, "")


def write(**values: str) -> None:
    """Set values of the address; an empty one is removed."""
    for name, value in values.items():
        if value and st.query_params.get(name) != value:
            st.query_params[name] = value
        elif not value and name in st.query_params:
            del st.query_params[name]
    st.session_state[_KEPT] = st.query_params.to_dict()


def slug(title: str) -> str:
    """A title as a value of the address: "What breaks a model" -> "what-breaks-a-model"."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def titled(name: str, titles: Sequence[str]) -> str:
    """The one of these titles that stands in the address; the first where none does."""
    return next((title for title in titles if slug(title) == read(name)), titles[0])


def number(name: str, low: int, high: int) -> int:
    """A number of the address, `low` where there is none in this range."""
    text = read(name)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 and low <= int(text) <= high else low


def prefer_model(key: str) -> None:
    """Let the choice of a model, see `choose_checkpoint`, start with the one of the address."""
    if read(MODEL):
        st.session_state.setdefault(f"{key}_last", read(MODEL))


def address(**values: str) -> str:
    """The full address of this page with these values alone, to be given to others."""
    here = urlsplit(st.context.url or "")
    return f"{here.scheme}://{here.netloc}{here.path}?{urlencode(values)}"
