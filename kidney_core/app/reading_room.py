"""The places of a diagnosis on the page: a one-line verdict, the picture beside the reasons, and what is below."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator


@dataclass(frozen=True)
class ReadingRoom:
    """Containers of a page; on a narrow screen they stand in this order.

    Attributes:
        lead: the verdict in a line.
        picture: the viewer.
        under: what belongs to the picture: a way through the scan, the inputs of the heatmap.
        panel: reasons and details, beside the picture.
        below: what needs the whole width.
    """

    lead: "DeltaGenerator"
    picture: "DeltaGenerator"
    under: "DeltaGenerator"
    panel: "DeltaGenerator"
    below: "DeltaGenerator"


def open_room() -> ReadingRoom:
    """Make the places, empty, where the page stands now."""
    lead = st.container(key="diagnosis_lead")
    left, right = st.columns([3, 2], gap="large")
    with left:
        picture, under = st.container(), st.container()
    return ReadingRoom(lead, picture, under, right, st.container())
