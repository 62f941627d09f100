"""Charts: each with what it says in a sentence for screen readers, and its numbers as a table one press away."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from kidney_core.app import tables

if TYPE_CHECKING:
    import plotly.graph_objects as go

_AXIS_TEXT = {"light": "#4F6067", "dark": "#AAB8BD"}  # Streamlit's own is too pale on white: 3.7:1


def draw(
    figure: "go.Figure | dict[str, Any]",
    says: str,
    *,
    key: str,
    numbers: pd.DataFrame | Callable[[], pd.DataFrame] | None = None,
    has_toolbar: bool = False,
    **options: Any,
) -> Any:
    """Draw a chart; what Streamlit returns of it, such as its selection.

    Args:
        figure: of Plotly, or the options of ECharts.
        says: what the chart shows, in words that are read aloud instead.
        numbers: a table of what is drawn, or a function that makes it once it is asked for; None where the page shows
            the numbers already or `says` has them all.
        has_toolbar: whether Plotly shows its buttons, on hover.
        options: of the element of Streamlit.
    """
    if isinstance(figure, dict):
        state = st.echarts_chart(with_readable_axes(figure, st.context.theme.type), key=key, alt=says, **options)
    else:
        config = {} if has_toolbar else {"displayModeBar": False}
        state = st.plotly_chart(figure, key=key, alt=says, config=config, **options)
    if numbers is not None:
        show_numbers(numbers, key=key)
    return state


def with_readable_axes(figure: dict[str, Any], theme: str | None) -> dict[str, Any]:
    """The options of ECharts, with the names and numbers of all axes in a colour that has contrast on the page.

    Args:
        theme: "light" or "dark"; None where the browser has not told yet.
    """
    color = {"color": _AXIS_TEXT[theme or "light"]}
    base = figure.get("baseOption", figure)
    colored = base | {
        name: [
            axis | {part: axis.get(part, {}) | color for part in ("axisLabel", "nameTextStyle")}
            for axis in (base[name] if isinstance(base[name], list) else [base[name]])
        ]
        for name in ("xAxis", "yAxis")
    }
    return figure | {"baseOption": colored} if "baseOption" in figure else colored


def show_numbers(numbers: pd.DataFrame | Callable[[], pd.DataFrame], *, key: str, **options: Any) -> Any:
    """A button that opens the numbers of a chart as a table; what `st.dataframe` returns, or None where it was not made.

    Args:
        key: of the chart.
        options: of `st.dataframe`, such as a selection, which keys can make where a chart takes only a pointer.
    """
    is_lazy = callable(numbers)
    opened = st.popover(
        "Choose from a table" if "on_select" in options else "Numbers",
        type="tertiary",
        icon=":material/table_rows:",
        key=f"{key}_numbers",
        on_change="rerun" if is_lazy else "ignore",
    )
    if is_lazy and not opened.open:
        return None
    table = numbers() if callable(numbers) else numbers
    with opened:
        options = {"hide_index": table.index.name is None, **options}
        return st.dataframe(tables.drawn(table), key=f"{key}_numbers_table", **options)
