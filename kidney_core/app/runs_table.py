"""The table of runs, the one place where they are listed: search, filter, group, choose columns, select, export."""

from typing import Any

import pandas as pd
import streamlit as st

from kidney_core.app import access, tables
from kidney_core.engines import remembered_columns, run_groups, run_search, run_table
from kidney_core.engines.run_table import COLUMNS, NUMBER, PERCENT, PROGRESS, SECONDS, TIME
from kidney_core.runs.run_folder import CRASHED, FAILED, FINISHED, QUEUED, RUNNING, STOPPED

SELECTED = "training_selected"  # session key: the names of the selected runs
_DRAWN = "training_rows"  # session key: the runs of each row of the table as it was drawn last
_TABLE, _COLUMNS = "training_table", "training_columns"
_STATES = (RUNNING, QUEUED, FINISHED, STOPPED, FAILED, CRASHED)


def select(names: list[str]) -> None:
    """Select runs, such as those that were just started."""
    st.session_state[SELECTED] = list(names)


def show(rows: list[dict[str, Any]]) -> list[str]:
    """The table with its search, filter, groups and columns; the names of the selected runs, newest first."""
    find, states, group, more = st.columns([4, 3, 3, 2], vertical_alignment="bottom")
    text = find.text_input(
        "Search",
        key="training_search",
        placeholder="Search runs",
        label_visibility="collapsed",
        help="Every word must occur in the row: a name, a tag, an option. “seed=1” or “split=unseen” searches one column.",
    )
    chosen = states.multiselect(
        "State", _STATES, key="training_states", placeholder="Any state", label_visibility="collapsed"
    )
    by = group.selectbox(
        "Group by",
        ["", *run_groups.GROUPED_BY],
        format_func=lambda name: f"Group by {COLUMNS[name].title.lower()}" if name else "Not grouped",
        key="training_group",
        label_visibility="collapsed",
    )
    found = run_search.search(rows, text, states=chosen)
    with more.popover("Columns", width="stretch"):
        columns = _choose_columns()
        st.download_button(
            "All columns (CSV)",
            tables.csv_bytes(run_table.table(found, COLUMNS)),
            "kidney-ct-runs.csv",
            "text/csv",
            on_click="ignore",
            key="training_csv",
        )
    if not found:
        st.info("No run matches. Change the search or the states.")
        return []
    if by:
        table, members = run_groups.groups(found, by)
    else:
        table, members = run_table.table(found, columns), [(row["run"],) for row in found]
    _restore_selection(members)
    st.dataframe(
        tables.drawn(table),
        hide_index=True,
        column_config=_column_config(table),
        placeholder="–",
        on_select=_remember_selection,
        selection_mode="multi-row",
        key=_TABLE,
        alt="Training runs",
    )
    selected = set(st.session_state.get(SELECTED, []))
    return [row["run"] for row in found if row["run"] in selected]


def _choose_columns() -> list[str]:
    """The columns to show, as they were chosen last time."""
    person = access.require(access.VIEWER).name
    # As a default: a value that is set in the session is lost for an input in a popover that has not been opened yet.
    return st.multiselect(
        "Columns",
        list(COLUMNS),
        default=remembered_columns.read_columns(person),
        format_func=lambda name: COLUMNS[name].title,
        key=_COLUMNS,
        on_change=lambda: remembered_columns.write_columns(person, st.session_state[_COLUMNS]),
    ) or ["run"]


def _remember_selection() -> None:
    """The rows that a click selected, as names: the next drawing may have others at these places."""
    drawn = st.session_state.get(_DRAWN, [])
    rows = st.session_state[_TABLE]["selection"]["rows"]
    st.session_state[SELECTED] = [name for row in rows if row < len(drawn) for name in drawn[row]]


def _restore_selection(members: list[tuple[str, ...]]) -> None:
    """Select the rows whose runs are selected, wherever they are now."""
    selected = set(st.session_state.get(SELECTED, []))
    rows = [place for place, names in enumerate(members) if names and selected.issuperset(names)]
    state = st.session_state.get(_TABLE)
    if state is None or sorted(state["selection"]["rows"]) != rows:
        st.session_state[_TABLE] = {"selection": {"rows": rows, "columns": [], "cells": []}}
    st.session_state[_DRAWN] = members


def _column_config(table: pd.DataFrame) -> dict[str, Any]:
    """How the columns are formatted, by their titles."""
    of_kind = {
        PERCENT: st.column_config.NumberColumn(format="%.1f %%"),
        NUMBER: st.column_config.NumberColumn(format="%.4g"),
        SECONDS: st.column_config.NumberColumn(format="%.0f s"),
        PROGRESS: st.column_config.ProgressColumn(format="%d %%", min_value=0, max_value=100),
        TIME: st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
    }
    config = {
        column.title: of_kind[column.kind]
        for column in COLUMNS.values()
        if column.title in table and column.kind in of_kind
    }
    grouped = {str(name): of_kind[PERCENT] for name in table if "test" in str(name) and name not in config}
    return {**config, **grouped}
