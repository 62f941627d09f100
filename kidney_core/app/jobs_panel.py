"""What training jobs do: their table, live curves, and stop, resume, log and publish of one run."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd
import streamlit as st

from kidney_core import access, figures, jobs, local_engine, recording, run_keeping, runs, ui
from kidney_core.errors import KidneyError
from kidney_core.runs import CRASHED, FAILED, FINISHED, QUEUED, RUNNING, STOPPED, Run
from kidney_core.splits import GROUPED, PROTOCOL_NAMES, PROTOCOL_TITLES, RANDOM


def draw() -> None:
    """Draw the table, the curves and the actions, or say how to make a first run."""
    found = runs.list_runs()
    if not found:
        st.info("No jobs yet. `make demo-data` writes a simulated dataset to “demo-data” for a first try.")
        return
    busy = any(jobs.status(run) in (QUEUED, RUNNING) for run in found[:50])
    st.fragment(_draw, run_every=2.0 if busy else None)(busy)


def _job_row(run: Run) -> dict:
    """What the table shows of a run."""
    state, status = run.state(), jobs.status(run)
    config, tested = run.config(), (run.report() or {}).get("figures")
    return {
        "Run": run.name,
        "State": status,
        "Message": jobs.message(run),
        "Epoch": f"{state.get('epoch', 0)} / {state.get('n_epochs', config.n_epochs)}",
        "Progress": round(100 * state.get("step", 0) / state["n_steps"]) if state.get("n_steps") else 0,
        "Time left": ui.duration(state.get("seconds_left")) if status == RUNNING else "",
        "Test accuracy": 100 * tested["accuracy"] if tested else None,
        "Balanced": 100 * tested["balanced_accuracy"] if tested else None,
        "Protocol": PROTOCOL_NAMES[config.protocol],
        "Images/s": state.get("images_per_s") if status == RUNNING else None,
        "Memory": _memory(state) if status == RUNNING else "",
        "On": run.job().get("engine", ""),
        "Tags": " ".join(run_keeping.note_of(run).tags),
    }


def _memory(state: dict) -> str:
    """Resident and GPU memory of a job, as it told them last."""
    found = [f"{state['memory_mib'] / 1024:.1f} GiB"] if "memory_mib" in state else []
    return ", ".join(found + ([f"GPU {state['gpu_memory_mib'] / 1024:.1f} GiB"] if "gpu_memory_mib" in state else []))


def _shown() -> list[Run]:
    """The runs, without archived ones unless they are wanted."""
    found = runs.list_runs()
    if st.session_state.get("training_archived"):
        return found
    return [run for run in found if not run_keeping.is_archived(run)]


def _measurements(run: Run) -> list[dict]:
    """All measurements of a run, of which only the new tail is read."""
    kept = st.session_state.setdefault("training_metrics", {})
    rows, offset = kept.get(run.name, ([], 0))
    path = run.folder / "metrics.jsonl"
    if path.exists() and path.stat().st_size < offset:
        rows, offset = [], 0  # a resumed run dropped what was newer than its checkpoint
    new, offset = run.read_metrics(offset)
    kept[run.name] = (rows + new, offset)
    return kept[run.name][0]


def _draw(busy: bool) -> None:
    """Everything that changes while jobs work; runs again by itself as long as one is queued or running."""
    access.enter()  # this part runs anew by itself, without the page's beginning
    everything = runs.list_runs()
    if not everything:  # somebody deleted the last one
        st.rerun()
    if any(map(run_keeping.is_archived, everything)):
        st.toggle("Show archived runs", key="training_archived")
    found = _shown()
    if not found:
        return
    _draw_jobs(found, busy)
    if access.is_allowed(access.RESEARCHER):
        _act_on_run(found)


def _draw_jobs(found: list[Run], busy: bool) -> None:
    """The table and the curves."""
    rows = []
    for run in found:
        try:
            rows.append(_job_row(run))
        except KidneyError as error:
            st.warning(str(error))
    rates = {name: st.column_config.NumberColumn(format="%.1f %%") for name in ("Test accuracy", "Balanced")}
    progress = st.column_config.ProgressColumn(format="%d %%", min_value=0, max_value=100)
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={**rates, "Progress": progress},
        placeholder="–",
        key="training_table",
    )
    if busy and not any(row["State"] in (QUEUED, RUNNING) for row in rows):
        st.rerun()  # the last job ended: draw the page once more, then stop asking
    names = [row["Run"] for row in rows]
    live = [row["Run"] for row in rows if row["State"] == RUNNING]
    drawn = st.multiselect("Runs to draw", names, default=(live or names)[:3], key="training_drawn")
    if not drawn:
        return
    by_name = {run.name: run for run in found}
    curves = {name: _measurements(by_name[name]) for name in drawn}
    with st.container(key="training_charts"):
        left, right = st.columns(2)
    for column, quantity in ((left, "loss"), (right, "accuracy")):
        with column:
            st.echarts_chart(figures.curve_options(curves, quantity), height=340, key=f"training_{quantity}")
    more = figures.curve_quantities(curves)
    wanted = st.multiselect("More curves", list(more), format_func=more.get, key="training_more") if more else []
    for quantity in wanted:
        st.echarts_chart(figures.curve_options(curves, quantity), height=280, key=f"training_{quantity}")
    st.caption(
        "Solid: validation. Dashed: training. Faint: single steps. Without a validation part, “validation” is the test "
        "part, as in the paper. Scroll inside a chart to zoom."
    )


def _act_on_run(found: list[Run]) -> None:
    """Stop, resume, log and publish of one run."""
    # What is alive comes first: it is what one wants to stop or look into.
    found = sorted(found, key=lambda run: jobs.status(run) not in (QUEUED, RUNNING))
    run = st.selectbox("Run", found, format_func=lambda item: item.name, key="training_run")
    status = jobs.status(run)
    stop, resume, first, publish = st.columns([1, 1, 1, 2])
    try:
        if stop.button("Stop", disabled=status not in (QUEUED, RUNNING), width="stretch", key="training_stop"):
            jobs.cancel(run)
            st.toast("It will stop after its current step and write a checkpoint. If it does not, stop it again.")
        if resume.button(
            "Resume", disabled=status not in (STOPPED, FAILED, CRASHED), width="stretch", key="training_resume"
        ):
            config = run.config()
            recording.job(asdict(config), engine=run.job().get("engine", ""))
            jobs.submit(run)
            st.rerun()
        if first.button(
            "Start first", disabled=(jobs.queue_place(run) or 1) == 1, width="stretch", key="training_first"
        ):
            local_engine.move_to_front(run)
            st.rerun()
        if status == FINISHED:
            with publish.popover("Publish as a checkpoint"):
                _publish_form(run)
        with st.expander("Note, name, archive, delete"):
            _keep(run, status)
        with st.expander("Log and configuration"):
            st.code(run.log_tail(60) or "The log is empty.", language=None)
            st.json(asdict(run.config()), expanded=1)
    except KidneyError as error:
        st.error(str(error))
        st.toast(str(error))


def _keep(run: Run, status: str) -> None:
    """What a person does with a run beside training it."""
    note = run_keeping.note_of(run)
    with st.form(f"training_note_{run.name}", border=False):
        text = st.text_area("Note", note.text, max_chars=run_keeping.MAX_NOTE)
        tags = st.text_input("Tags, separated by commas", ", ".join(note.tags))
        if st.form_submit_button("Keep the note"):
            run_keeping.write_note(run, text, tags)
            st.rerun()
    if status in (QUEUED, RUNNING):
        st.caption("While it is queued or running, it keeps its name and its place.")
        return
    name = st.text_input("Name", run.name, key=f"training_rename_{run.name}").strip()
    rename, archive, delete = st.columns(3)
    if rename.button("Rename", disabled=name == run.name, width="stretch", key="training_rename"):
        run_keeping.rename(run, name)
        st.rerun()
    is_archived = run_keeping.is_archived(run)
    if archive.button("Bring back" if is_archived else "Archive", width="stretch", key="training_archive"):
        (run_keeping.bring_back if is_archived else run_keeping.archive)(run)
        st.rerun()
    with delete.popover("Delete", width="stretch"):
        st.markdown(f"Delete “{run.name}” with its weights and curves? Published checkpoints stay.")
        if st.button("Delete it for good", type="primary", key="training_delete"):
            run_keeping.delete(run)
            st.rerun()


@st.cache_data(ttl=30, show_spinner=False)
def _partners(folder: str) -> tuple[str | None, str | None]:
    """Folders of the run under the other protocol, and of a fold; the search reads every run, so not at every redraw."""
    from kidney_core import cross_validation

    run = Run(Path(folder))
    found = cross_validation.find_counterpart(run), cross_validation.find_cross_validation(run)
    return tuple(str(each.folder) if each else None for each in found)


def _publish_form(run: Run) -> None:
    from kidney_core import publish

    other, folds = (Run(Path(folder)) if folder else None for folder in _partners(str(run.folder)))
    if other:
        st.caption(f"With the figures of “{other.name}” for the other protocol.")
    else:
        missing = RANDOM if run.config().protocol == GROUPED else GROUPED
        st.caption(
            f"No finished run of the same recipe has the {PROTOCOL_TITLES[missing]}: its figure will be missing."
        )
    if folds:
        st.caption(f"With the figures over all {folds.config().n_folds} folds of its cross-validation.")
    name = st.text_input("Name", run.config().architecture, key="training_publish_name")
    if st.button("Publish", type="primary", key="training_publish"):
        made = publish.publish(run, name=name.strip(), other=other, folds=folds)
        recording.published(made, asdict(run.config()))
        published = f"Published as “{made.name}”. It is on the Diagnosis and Evaluation pages now."
        st.success(published)
        st.toast(published)
