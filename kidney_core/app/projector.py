"""Projector mode of the Teaching page: large type, and nothing around the page. The notice stays."""

import streamlit as st

from kidney_core.app import teaching_link

_STYLE = """
<style>
html { font-size: 150%; }
[data-testid="stSidebar"], [data-testid="stHeader"], [data-testid="stSidebarCollapsedControl"], h1 { display: none !important; }
.block-container { max-width: none; padding: 1rem 2rem; }
.class-code { font-size: 6rem; }
.board { font-size: 1.3rem; }
</style>
"""


def switch() -> None:
    """A switch that turns the mode on and off; the address keeps it."""
    is_on = st.toggle(
        "Projector",
        teaching_link.read(teaching_link.PROJECTOR) == "1",
        key="teaching_projector",
        help="Large type, without the sidebar. F11 hides the browser’s own bars.",
    )
    teaching_link.write(**{teaching_link.PROJECTOR: "1" if is_on else ""})
    if is_on:
        st.html(_STYLE)
