"""Charts: each with what it says in a sentence for screen readers, and its numbers as a table one press away."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from kidney_core.app import tables

if TYPE_CHECKING:
    import plotly.graph_objects as go


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
        state = st.echarts_chart(figure, key=key, alt=says, **options)
    else:
        config = {} if has_toolbar else {"displayModeBar": False}
        state = st.plotly_chart(figure, key=key, alt=says, config=config, **options)
    if numbers is not None:
        show_numbers(numbers, key=key)
    return state


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
