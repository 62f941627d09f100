"""The choice of architectures: those of the paper, and any of timm's, found by a search."""

from typing import TYPE_CHECKING

import streamlit as st

from kidney_core.app import markdown, streamlit_internals
from kidney_core.common.paper import ARCHITECTURE_NAMES
from kidney_core.metrics import number_format

if TYPE_CHECKING:
    from kidney_core.networks.architectures import Architecture

CHOSEN = "training_architectures"  # session key: the names that are chosen
MOST_SHOWN = 8
_WIDTH_PX = 400


def show() -> list[str]:
    """The field, with the search beside it; the chosen names."""
    field, search = st.columns([3, 1.3], vertical_alignment="bottom")
    chosen = field.multiselect(
        "Architectures",
        list(dict.fromkeys((*ARCHITECTURE_NAMES, *st.session_state.get(CHOSEN, [])))),
        format_func=number_format.model_name,
        accept_new_options=True,
        placeholder="Choose, or type a timm name",
        key=CHOSEN,
    )
    menu = search.popover("Search", icon=":material/search:", width="stretch", help="All architectures of timm")
    with menu, st.container(width=_WIDTH_PX, gap="xsmall"):
        _search()
    return [name.strip() for name in chosen if name.strip()]


@st.fragment
def _search() -> None:
    """What timm has by a part of a name. It runs by itself, so that the page does not wait for it."""
    text = st.text_input("Part of a name", key="training_architecture_text", placeholder="convnext tiny")
    if not text.strip():
        return
    from kidney_core.networks import architectures  # here, since importing torch takes seconds

    found = architectures.search(text)
    if not found:
        st.info(f"timm has no architecture with “{markdown.text(text)}” in its name. Try a shorter part.")
        return
    st.caption("Press one to add it. In brackets: millions of parameters.")
    for name in found[:MOST_SHOWN]:
        if st.button(
            markdown.text(_in_words(architectures.describe(name))),
            icon=":material/check:" if name in st.session_state[CHOSEN] else None,
            type="tertiary",
            key=f"training_add_{name}",
            on_click=_add,
            args=(name,),
        ):
            st.rerun(scope="app")
    if len(found) > MOST_SHOWN:
        st.caption(f"{MOST_SHOWN} of {len(found):,}. Type more of the name for others.")


def _in_words(architecture: "Architecture") -> str:
    """ "resnet18 (11.2), pretrained"."""
    size = "cannot be built here" if architecture.n_parameters is None else f"{architecture.n_parameters / 1e6:,.1f}"
    return f"{architecture.name} ({size}), {'pretrained' if architecture.has_weights else 'random weights only'}"


@streamlit_internals.uninterrupted()
def _add(name: str) -> None:
    st.session_state[CHOSEN] = list(dict.fromkeys((*st.session_state.get(CHOSEN, []), name)))
