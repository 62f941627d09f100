"""The training jobs: their table, whose rows select what the charts and buttons below act on."""

from typing import Any

import streamlit as st

from kidney_core.app import access, curves_panel, markdown, run_actions, runs_table, tables
from kidney_core.common.errors import KidneyError
from kidney_core.engines import housekeeping, jobs, run_table, runs_side_by_side
from kidney_core.metrics import curve_charts
from kidney_core.runs import run_folder
from kidney_core.runs.curves import Curves
from kidney_core.runs.run_folder import CRASHED, FAILED, QUEUED, RUNNING, Run

_SECONDS_BETWEEN_UPDATES = 2.0


def show() -> None:
    """The table, the curves and the actions, or how to start a first job."""
    runs = run_folder.list_runs()
    if not runs:
        st.info("No jobs yet. For a first try, `kidney-ct phantom demo-data` writes simulated images.")
        return
    busy = any(jobs.status(run) in (QUEUED, RUNNING) for run in runs[:50])
    live = busy and st.toggle(
        "Live", value=True, key="training_live", help="Off: table and charts stop updating, so that you can zoom."
    )
    st.fragment(_show_live, run_every=_SECONDS_BETWEEN_UPDATES if live else None)(busy)


def _show_live(busy: bool) -> None:
    """Everything that changes while jobs run; redrawn every two seconds as long as one is queued or running."""
    access.enter()  # this part runs by itself, without the beginning of the page
    everything = run_folder.list_runs()
    if not everything:  # somebody deleted the last one
        st.rerun()
    n_archived = sum(map(housekeeping.is_archived, everything))
    if n_archived:
        st.toggle(f"Show archived runs ({n_archived})", key="training_archived")
    shown = {
        run.name: run
        for run in everything
        if st.session_state.get("training_archived") or not housekeeping.is_archived(run)
    }
    if not shown:
        return
    curves = {name: _curves(run) for name, run in shown.items()}
    rows = run_table.in_order(_rows(list(shown.values()), curves))
    chosen_names = set(runs_table.show(rows))
    selected = [run for run in shown.values() if run.name in chosen_names]  # newest first
    if busy and not any(row["state"] in (QUEUED, RUNNING) for row in rows):
        st.rerun()  # the last job ended: draw the page once more, then stop polling
    readable = {row["run"] for row in rows}
    chosen = selected or _default([run for name, run in shown.items() if name in readable], curves)
    if chosen:
        _show_chosen(chosen, curves, is_default=not selected)


def _show_chosen(runs: list[Run], curves: dict[str, Curves], *, is_default: bool) -> None:
    """Buttons, failures and curves of the selected runs."""
    if is_default:
        names = ", ".join(run.name for run in runs[:3]) + (", …" if len(runs) > 3 else "")
        st.text(f"Shown: {names}. Select rows of the table for others.")
    if access.is_allowed(access.RESEARCHER):
        run_actions.show(runs)
    run_actions.show_failures(runs)
    oldest_first = list(
        reversed(runs)
    )  # a run that begins to measure takes the next colour, and the others keep theirs
    if any(curves[run.name].metrics or curves[run.name].steps for run in runs):
        curves_panel.show(oldest_first, curves)
    else:
        _show_preparation(oldest_first)
    if len(runs) == 1:
        run_actions.show_details(runs[0])
    elif len(runs) <= curve_charts.MAX_RUNS:
        _show_side_by_side(runs, curves)


def _show_preparation(runs: list[Run]) -> None:
    """What the first of these jobs is doing before its first measurement."""
    busy = [run for status in (RUNNING, QUEUED) for run in runs if jobs.status(run) == status]
    if busy:
        message = jobs.message(busy[0])
        st.info(f"Nothing is measured yet. {markdown.text(message[:1].upper() + message[1:])}")


def _show_side_by_side(runs: list[Run], curves: dict[str, Curves]) -> None:
    """Options and figures of the selected runs, one column each."""
    with st.expander("Side by side", expanded=len(runs) == 2, key="training_side_by_side"):
        only_differences = st.toggle("Only what differs", value=True, key="training_only_differences")
        rows = [run_table.row(run, curves[run.name]) for run in runs]
        table = runs_side_by_side.side_by_side(rows, only_differences=only_differences)
        if table.empty:
            st.info("These runs do not differ in anything.")
            return
        differs = table.pop(runs_side_by_side.DIFFERS)
        if not only_differences:
            table.insert(1, "Differs", ["•" if each else "" for each in differs])
        st.dataframe(
            tables.drawn(table),
            hide_index=True,
            height="content",
            placeholder="–",
            key="training_side_by_side_table",
            column_config={runs_side_by_side.WHAT: st.column_config.TextColumn(width="medium")},
            alt="Runs side by side",
        )
        st.download_button(
            "Side by side (CSV)", tables.csv_bytes(table), "kidney-ct-side-by-side.csv", "text/csv", on_click="ignore"
        )


def _rows(runs: list[Run], curves: dict[str, Curves]) -> list[dict[str, Any]]:
    """A row for each run that can be read."""
    rows = []
    for run in runs:
        try:
            rows.append(run_table.row(run, curves[run.name]))
        except KidneyError as error:
            st.warning(markdown.text(error))
    return rows


def _default(runs: list[Run], curves: dict[str, Curves]) -> list[Run]:
    """Without a selection: the running jobs; else the newest run where it failed, or the newest with measurements."""
    running = [run for run in runs if jobs.status(run) == RUNNING]
    if running:
        return running
    if runs and jobs.status(runs[0]) in (FAILED, CRASHED):
        return runs[:1]
    measured = [run for run in runs if curves[run.name].epochs or curves[run.name].steps]
    return measured[:1] or runs[:1]


def _curves(run: Run) -> Curves:
    """All measurements of a run; only lines that are new since the last call are read."""
    kept: dict[str, Curves] = st.session_state.setdefault("training_curves_read", {})
    return kept.setdefault(run.name, Curves()).read(run)
