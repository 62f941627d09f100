"""Explanations of figures and charts, folded: the numbers stand first, and who wants to know more presses."""

from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator


def folded() -> "DeltaGenerator":
    """Where an explanation goes; draw into it."""
    return st.popover("How to read this", icon=":material/help:", type="tertiary")
