"""The training jobs: their table, live curves, and stop, resume, log and publish of one run."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from kidney_core.app import access, audit_recorder, formatting, markdown, tables
from kidney_core.common.errors import KidneyError
from kidney_core.engines import housekeeping, jobs, local_engine
from kidney_core.metrics import echarts
from kidney_core.metrics.splits import GROUPED, PROTOCOL_NAMES, PROTOCOL_TITLES, RANDOM
from kidney_core.runs import run_folder
from kidney_core.runs.run_folder import CRASHED, FAILED, FINISHED, QUEUED, RUNNING, STOPPED, Run


def show() -> None:
    """The table, the curves and the actions, or how to start a first job."""
    runs = run_folder.list_runs()
    if not runs:
        st.info(
            "No jobs yet. For a first try, `kidney-ct phantom demo-data` writes a simulated dataset to “demo-data”."
        )
        return
    busy = any(jobs.status(run) in (QUEUED, RUNNING) for run in runs[:50])
    st.fragment(_show_live, run_every=2.0 if busy else None)(busy)


def _job_row(run: Run) -> dict[str, Any]:
    """One row of the table of jobs."""
    state, status = run.state(), jobs.status(run)
    config, metrics = run.config(), (run.report() or {}).get("figures")
    return {
        "Run": run.name,
        "State": status,
        "Message": jobs.message(run),
        "Epoch": f"{state.get('epoch', 0)} / {state.get('n_epochs', config.n_epochs)}",
        "Progress": round(100 * state.get("step", 0) / state["n_steps"]) if state.get("n_steps") else 0,
        "Time left": formatting.duration(state.get("seconds_left")) if status == RUNNING else "",
        "Test accuracy": 100 * metrics["accuracy"] if metrics else None,
        "Balanced accuracy": 100 * metrics["balanced_accuracy"] if metrics else None,
        "Split": PROTOCOL_NAMES[config.protocol],
        "Images/s": state.get("images_per_s") if status == RUNNING else None,
        "Memory": _memory(state) if status == RUNNING else "",
        "Engine": run.job().get("engine", ""),
        "Tags": " ".join(housekeeping.read_note(run).tags),
    }


def _memory(state: dict[str, Any]) -> str:
    """Resident and GPU memory of a job, as it reported them last."""
    parts = [f"{state['memory_mib'] / 1024:.1f} GiB"] if "memory_mib" in state else []
    return ", ".join(parts + ([f"GPU {state['gpu_memory_mib'] / 1024:.1f} GiB"] if "gpu_memory_mib" in state else []))


def _shown() -> list[Run]:
    """The runs, without archived ones unless the user wants them."""
    runs = run_folder.list_runs()
    if st.session_state.get("training_archived"):
        return runs
    return [run for run in runs if not housekeeping.is_archived(run)]


def _measurements(run: Run) -> list[dict[str, Any]]:
    """All measurements of a run; only lines that are new since the last call are read."""
    kept = st.session_state.setdefault("training_metrics", {})
    rows, offset = kept.get(run.name, ([], 0))
    path = run.folder / "metrics.jsonl"
    if path.exists() and path.stat().st_size < offset:
        rows, offset = [], 0  # a resumed run dropped the lines after its checkpoint
    new, offset = run.read_metrics(offset)
    kept[run.name] = (rows + new, offset)
    return kept[run.name][0]


def _show_live(busy: bool) -> None:
    """Everything that changes while jobs run; redrawn every two seconds as long as one is queued or running."""
    access.enter()  # this part runs by itself, without the beginning of the page
    everything = run_folder.list_runs()
    if not everything:  # somebody deleted the last one
        st.rerun()
    if any(map(housekeeping.is_archived, everything)):
        st.toggle("Show archived runs", key="training_archived")
    runs = _shown()
    if not runs:
        return
    _show_jobs(runs, busy)
    if access.is_allowed(access.RESEARCHER):
        _show_actions(runs)


def _show_jobs(runs: list[Run], busy: bool) -> None:
    """The table and the curves."""
    rows = []
    for run in runs:
        try:
            rows.append(_job_row(run))
        except KidneyError as error:
            st.warning(markdown.text(error))
    rates = {name: st.column_config.NumberColumn(format="%.1f %%") for name in ("Test accuracy", "Balanced accuracy")}
    progress = st.column_config.ProgressColumn(format="%d %%", min_value=0, max_value=100)
    st.dataframe(
        tables.drawn(pd.DataFrame(rows)),
        hide_index=True,
        column_config={**rates, "Progress": progress},
        placeholder="–",
        key="training_table",
    )
    if busy and not any(row["State"] in (QUEUED, RUNNING) for row in rows):
        st.rerun()  # the last job ended: draw the page once more, then stop polling
    names = [row["Run"] for row in rows]
    live = [row["Run"] for row in rows if row["State"] == RUNNING]
    drawn = st.multiselect("Runs in the charts", names, default=(live or names)[:3], key="training_drawn")
    if not drawn:
        return
    by_name = {run.name: run for run in runs}
    curves = {name: _measurements(by_name[name]) for name in drawn}
    with st.container(key="training_charts"):
        left, right = st.columns(2)
    for column, quantity in ((left, "loss"), (right, "accuracy")):
        with column:
            st.echarts_chart(echarts.curve_options(curves, quantity), height=340, key=f"training_{quantity}")
    more = echarts.curve_quantities(curves)
    extra = st.multiselect("More curves", list(more), format_func=more.__getitem__, key="training_more") if more else []
    for quantity in extra:
        st.echarts_chart(echarts.curve_options(curves, quantity), height=280, key=f"training_{quantity}")
    st.caption(
        "Solid: validation. Dashed: training. Faint: single steps. Without a validation part, “validation” is the test part, as in "
        "the paper. Scroll inside a chart to zoom."
    )


def _show_actions(runs: list[Run]) -> None:
    """Stop, resume, log and publish of one run."""
    # Running jobs come first: they are the ones to stop or to look into.
    runs = sorted(runs, key=lambda run: jobs.status(run) not in (QUEUED, RUNNING))
    run = st.selectbox("Run", runs, format_func=lambda item: item.name, key="training_run")
    status = jobs.status(run)
    stop, resume, first, publish = st.columns([1, 1, 1, 2])
    try:
        if stop.button("Stop", disabled=status not in (QUEUED, RUNNING), width="stretch", key="training_stop"):
            jobs.cancel(run)
            st.toast("It stops after its current step and saves its state. If it does not, press Stop again.")
        if resume.button(
            "Resume", disabled=status not in (STOPPED, FAILED, CRASHED), width="stretch", key="training_resume"
        ):
            config = run.config()
            audit_recorder.job(asdict(config), engine=run.job().get("engine", ""))
            jobs.submit(run)
            st.rerun()
        if first.button(
            "Move to front", disabled=(jobs.queue_place(run) or 1) == 1, width="stretch", key="training_first"
        ):
            local_engine.move_to_front(run)
            st.rerun()
        if status == FINISHED:
            with publish.popover("Publish as a checkpoint"):
                _publish_form(run)
        with st.expander("Note, name, archive, delete"):
            _show_housekeeping(run, status)
        with st.expander("Log and configuration"):
            st.code(run.log_tail(60) or "The log is empty.", language=None)
            st.json(asdict(run.config()), expanded=1)
    except KidneyError as error:
        st.error(markdown.text(error))
        st.toast(markdown.text(error))


def _show_housekeeping(run: Run, status: str) -> None:
    """Note, tags, name, archive and delete."""
    note = housekeeping.read_note(run)
    with st.form(f"training_note_{run.name}", border=False):
        text = st.text_area("Note", note.text, max_chars=housekeeping.MAX_NOTE)
        tags = st.text_input("Tags, separated by commas", ", ".join(note.tags))
        if st.form_submit_button("Save note"):
            housekeeping.write_note(run, text, tags)
            st.rerun()
    if status in (QUEUED, RUNNING):
        st.caption("A queued or running job cannot be renamed, archived or deleted.")
        return
    name = st.text_input("Name", run.name, key=f"training_rename_{run.name}").strip()
    rename, archive, delete = st.columns(3)
    if rename.button("Rename", disabled=name == run.name, width="stretch", key="training_rename"):
        housekeeping.rename(run, name)
        st.rerun()
    is_archived = housekeeping.is_archived(run)
    if archive.button("Unarchive" if is_archived else "Archive", width="stretch", key="training_archive"):
        (housekeeping.unarchive if is_archived else housekeeping.archive)(run)
        st.rerun()
    with delete.popover("Delete", width="stretch"):
        st.markdown(f"Delete “{markdown.text(run.name)}” with its weights and curves? Published checkpoints stay.")
        if st.button("Delete permanently", type="primary", key="training_delete"):
            housekeeping.delete(run)
            st.rerun()


@st.cache_data(ttl=30, show_spinner=False)
def _partners(folder: str) -> tuple[str | None, str | None]:
    """Folders of the run under the other protocol, and of a fold; cached, since the search reads every run."""
    from kidney_core.runs import cross_validation

    run = Run(Path(folder))
    counterpart, folds = cross_validation.find_counterpart(run), cross_validation.find_cross_validation(run)
    return str(counterpart.folder) if counterpart else None, str(folds.folder) if folds else None


def _publish_form(run: Run) -> None:
    from kidney_core.training import publish

    other, folds = (Run(Path(folder)) if folder else None for folder in _partners(str(run.folder)))
    if other:
        st.caption(f"Includes the results of “{markdown.text(other.name)}” for the other split.")
    else:
        missing = RANDOM if run.config().protocol == GROUPED else GROUPED
        st.caption(
            f"No finished run of the same recipe used the {PROTOCOL_TITLES[missing]}: its results will be missing."
        )
    if folds:
        st.caption(f"Includes the results over all {folds.config().n_folds:d} cross-validation folds.")
    name = st.text_input("Name", run.config().architecture, key=f"training_publish_name_{run.name}")
    if st.button("Publish", type="primary", key="training_publish"):
        checkpoint = publish.publish(run, name=name.strip(), other=other, folds=folds)
        audit_recorder.published(checkpoint, asdict(run.config()))
        published = f"Published as “{markdown.text(checkpoint.name)}”. It is now on the Diagnosis and Evaluation pages."
        st.success(published)
        st.toast(published)
