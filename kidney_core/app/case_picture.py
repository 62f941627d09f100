"""The picture of a case: its slices to scroll through, what is drawn over them, and both in words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from kidney_core.app import markdown
from kidney_core.app.viewer import browser_part
from kidney_core.imaging import outlines, rendering

if TYPE_CHECKING:
    from kidney_core.teaching.cases import Case
    from kidney_core.teaching.fair_answers import ModelAnswer

STUDENT_COLOR, MODEL_COLOR, TRUTH_COLOR = "#56B4E9", "#F0E442", "#3DDC97"  # visible on grey and on the heatmap
_CROSS_SIZE = 0.035  # of the longer side of the slice
_DASHES = "3 4"


def place_of(case: "Case", shown: int) -> str:
    """Where a slice of a stack lies, as navigator and viewer call it; empty for a single slice."""
    return f"{shown + 1} of {len(case.stack)}" if case.stack else ""


def choose_slice(case: "Case", name: str, *, first: int | None = None) -> int:
    """A way through the slices of a stack; the chosen one. Of a single slice, 0 without anything drawn."""
    if not case.stack:
        return 0
    n = len(case.stack)
    part = browser_part("stack")
    navigator = st.components.v2.component("scan_stack", html=part["html"], css=part["css"], js=part["js"])
    start = n // 2 if first is None else first
    data = {
        "id": name,
        "index": st.session_state.setdefault(f"teaching_slice_{name}", start),
        "labels": [],
        "colors": [],
        "rows": [[] for _ in range(n)],
        "previews": [rendering.jpeg_data_url(each.grey8()) for each in case.stack],
        "places": [place_of(case, row) for row in range(n)],
        "kidneys": [],
    }
    index = navigator(data=data, key=f"teaching_stack_{name}", on_index_change=lambda: None).get("index")
    return min(int(data["index"] if index is None else index), n - 1)


def drawings(
    case: "Case",
    student_marks: Sequence[tuple[int, int] | None],
    peak: tuple[int, int] | None,
    shown: int,
    *,
    with_truth: bool,
) -> list[tuple[str, ...]]:
    """(SVG path, colour) of the lesion, the tolerance around it (dashed), the maximum of the heatmap and the marks."""
    from kidney_core.teaching import marks

    size = _CROSS_SIZE * max(case.slices[shown].pixels.shape)
    lesion = case.lesion_of(shown)
    drawn: list[tuple[str, ...]] = []
    if with_truth and lesion is not None and lesion.any():
        drawn.append((outlines.outline(lesion), TRUTH_COLOR))
        drawn.append((outlines.outline(marks.tolerance_zone(lesion)), TRUTH_COLOR, _DASHES))
    if peak:
        drawn.append((outlines.diamond(*peak, size), MODEL_COLOR))
    drawn += [(outlines.cross(*mark, size), STUDENT_COLOR) for mark in student_marks if mark]
    return drawn


def show_legend(case: "Case", student_marks: Sequence[tuple[int, int] | None], answer: "ModelAnswer", who: str) -> None:
    """What the colours stand for."""
    parts = []
    if case.has_lesion:
        parts.append("**green outline**: the lesion")
        parts.append("**dashed**: a mark inside is correct")
    if any(student_marks):
        parts.append(f"**blue cross**: {markdown.text(who)}")
    if answer.heatmap is not None and answer.guess.mark:
        parts.append(f"**yellow diamond**: the maximum of the model's heatmap of {markdown.text(answer.guess.label)}")
    st.markdown(" · ".join(parts))


def in_words(
    case: "Case", student_marks: Sequence[tuple[int, int] | None], answer: "ModelAnswer | None", who: str, shown_at: int
) -> str:
    """What the picture shows after the answer, for those who cannot see it."""
    lesion = case.lesion_of(shown_at)
    shown = ["" if lesion is None else "the lesion outlined" if lesion.any() else "no lesion"]
    shown.append(who if any(student_marks) else "")
    shown.append(f"the heatmap of {answer.guess.label}" if answer and answer.heatmap is not None else "")
    return f"CT slice, {case.label}: {', '.join(filter(None, shown)) or 'nothing drawn on it'}"
