"""A search for good settings, below the form: start, watch, stop, resume; and the settings that came out best."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from kidney_core.app import (
    access,
    audit_recorder,
    charts,
    lr_range_panel,
    markdown,
    preset_gallery,
    runs_table,
    search_form,
    tables,
)
from kidney_core.common.errors import KidneyError
from kidney_core.runs import recipes
from kidney_core.runs.run_folder import CRASHED, FINISHED, RUNNING, STOPPED
from kidney_core.search import search_folder
from kidney_core.search.search_folder import OBJECTIVE_TITLES, Plan, Search

if TYPE_CHECKING:
    from kidney_core.search.trials import Trials

_SECONDS_BETWEEN_UPDATES = 3.0
_PANEL, _CHOSEN = "search_panel", "search_chosen"  # session keys


def show() -> None:
    """The folded panel; what it needs is loaded when it is opened."""
    panel = st.expander("Search for good settings", key=_PANEL, on_change="rerun")
    if not panel.open:
        return
    with panel:
        st.caption(
            "Trials are runs whose settings Optuna chooses; poor ones are stopped early (pruned). Only the validation part decides, split by "
            "scan. Test figures are never used."
        )
        if access.is_allowed(access.RESEARCHER):
            _show_form()
        searches = {search.name: search for search in search_folder.list_searches()}
        if searches:
            _show_chosen(searches)


def _show_form() -> None:
    """The form of a new search, and the range test of its learning rate."""
    try:
        plan = search_form.show()
    except KidneyError as error:
        st.error(markdown.text(error))
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(
            "Name", key="search_name", placeholder=_free_name(), help="Its runs are called NAME-trial-00 and so on."
        )
        starts = st.button("Start the search", type="primary", key="search_start")
        tests = st.button(
            "Test learning rates",
            key="search_range_test",
            help="Trains a fresh network for 100 steps while the learning rate rises. Nothing of it is kept.",
        )
    if starts:
        _start(plan, name.strip() or _free_name())
    if tests:
        _test_rates(plan)
    lr_range_panel.show()


def _free_name() -> str:
    taken = {search.name for search in search_folder.list_searches()}
    return next(f"search-{number}" for number in range(1, 1000) if f"search-{number}" not in taken)


def _start(plan: Plan, name: str) -> None:
    """Start a search, once it is sure that its trials can be trained."""
    try:
        _go(Search.create(search_form.ready(plan), name))
    except KidneyError as error:
        st.error(markdown.text(error))
        return
    st.session_state[_CHOSEN] = name
    st.toast("The search has started.")


def _test_rates(plan: Plan) -> None:
    try:
        lr_range_panel.measure(search_form.ready(plan, varies=False).config)
    except KidneyError as error:
        st.error(markdown.text(error))


def _show_chosen(searches: dict[str, Search]) -> None:
    """The search that is looked at, refreshed as long as it runs."""
    names = list(searches)
    st.divider()
    chosen = st.selectbox("Search", names, key=_CHOSEN)
    search = searches[chosen]
    is_running = search.status() == RUNNING
    st.fragment(_show_live, run_every=_SECONDS_BETWEEN_UPDATES if is_running else None)(search, is_running)


def _show_live(search: Search, was_running: bool) -> None:
    access.enter()  # this part runs by itself, without the beginning of the page
    if was_running and search.status() != RUNNING:
        st.rerun()  # it ended: draw once more, then stop refreshing
    from kidney_core.search.trials import Trials

    try:
        trials = Trials(search)
        _show_standing(search, trials)
        _show_trials(search, trials)
    except KidneyError as error:
        st.error(markdown.text(error))


def _show_standing(search: Search, trials: "Trials") -> None:
    from kidney_core.search import search_process

    status = search.status()
    st.markdown(markdown.text(f"{status.capitalize()}: {trials.counts()}."))
    if search.message():
        st.error(markdown.text(search.message()))
    if status == CRASHED:
        st.info("Its process was killed. Resume goes on where it was; finished trials stay.")
    if not access.is_allowed(access.RESEARCHER):
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if st.button("Stop the search", disabled=status in (FINISHED, STOPPED), key="search_stop"):
            search_process.stop(search)
            st.toast("It stops with its runs, which save their state.")
        if st.button("Resume the search", disabled=status in (FINISHED, RUNNING), key="search_resume"):
            _resume(search)
        if status != RUNNING:
            n_trials = search.plan().n_trials
            more = st.number_input("More trials", 1, search_folder.MAX_TRIALS, 10, key="search_more", width=120)
            if st.button("Add them", key="search_extend"):
                search.extend(n_trials + int(more))
                _resume(search)
        if st.button("Select its runs", key="search_select", help="In the table of jobs below."):
            runs_table.select(trials.runs())
            st.rerun()


def _resume(search: Search) -> None:
    access.require(access.RESEARCHER)
    _go(search)
    st.rerun()


def _go(search: Search) -> None:
    """Start the process of a search, and say so in the audit log. Raises KidneyError."""
    from kidney_core.search import search_process

    plan = search.plan()
    audit_recorder.job({**asdict(plan.config), "search": search.name, "varied": plan.varied}, engine=plan.engine)
    search_process.start(search)


def _show_trials(search: Search, trials: "Trials") -> None:
    """The best settings, how the objective came down, which options matter, and every trial."""
    table = trials.table()
    if table.empty:
        st.info("No trial yet.")
        return
    plan, best = search.plan(), trials.best()
    if best is not None:
        config, what = plan.config_of(best.params), OBJECTIVE_TITLES[plan.objective]
        st.markdown(f"Best so far: trial {best.number:d}, {what} {best.value:.4f}. Its settings:")
        st.code(recipes.command_line(config), language="bash", wrap_lines=True)
        if access.is_allowed(access.RESEARCHER) and st.button(
            "Use these settings",
            key="search_use",
            on_click=preset_gallery.fill_with,
            args=(config,),
            help="Fills the form above. Folder and initial weights stay.",
        ):
            st.rerun()  # the form too
        st.caption("The best of many trials is optimistic. Train it with new seeds, or cross-validate it.")
    history, importance = _figures(trials, str(search.folder), int((table["State"] == "complete").sum()))
    left, right = st.columns(2)
    with left:
        _plot(history, "The objective of each trial, in order", "search_history")
    with right:
        _plot(importance, "Which options matter", "search_importance")
    st.dataframe(
        tables.drawn(table),
        hide_index=True,
        column_config=_columns(table),
        placeholder="–",
        key="search_trials",
        alt="Trials of the search",
    )


@st.cache_data(show_spinner=False, max_entries=16)
def _figures(_trials: "Trials", folder: str, n_complete: int) -> tuple[Any, Any]:
    """The plots of a search, made once for each number of complete trials: ranking options takes a second."""
    return _trials.history(), _trials.importance()


def _plot(figure: Any, title: str, key: str) -> None:
    if figure is not None:
        st.markdown(f"**{markdown.text(title)}**")
        charts.draw(figure, f"{title}; the numbers are in the table of trials.", key=key, has_toolbar=True)


def _columns(table: pd.DataFrame) -> dict[str, Any]:
    numbers = table.select_dtypes("number").columns
    return {str(name): st.column_config.NumberColumn(format="%.4g") for name in numbers}
