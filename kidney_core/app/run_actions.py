"""What can be done with the selected runs: stop, resume, publish, note, archive, delete; and why one failed."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import streamlit as st

from kidney_core.app import access, audit_recorder, export_actions, formatting, markdown, runs_table
from kidney_core.common.errors import KidneyError
from kidney_core.engines import housekeeping, jobs, local_engine
from kidney_core.metrics.splits import GROUPED, PROTOCOL_TITLES, RANDOM
from kidney_core.runs.run_folder import CRASHED, FAILED, FINISHED, QUEUED, RUNNING, STOPPED, Run

_BUSY, _RESUMABLE = (QUEUED, RUNNING), (STOPPED, FAILED, CRASHED)
_LOG_LINES = 60
_UNEXPECTED = "Unexpected error"  # as `trainer.train` calls it
_NEXT_STEP = " Resume tries again from the last checkpoint. If it fails again, report it with the log."


def show(runs: list[Run]) -> None:
    """The buttons, which act on these runs."""
    states = {run: jobs.status(run) for run in runs}
    busy, resumable = ([run for run in runs if states[run] in wanted] for wanted in (_BUSY, _RESUMABLE))
    try:
        with st.container(horizontal=True, key="training_actions"):
            if st.button("Stop", disabled=not busy, key="training_stop"):
                _each(busy, jobs.cancel)
                st.toast("It stops after its current step and saves its state. If it does not, press Stop again.")
            if st.button("Resume", disabled=not resumable, key="training_resume"):
                _each(resumable[::-1], _resume)  # the oldest first, as they were submitted
                st.rerun()
            waits = len(runs) == 1 and (jobs.queue_place(runs[0]) or 1) > 1
            if st.button("Move to front", disabled=not waits, key="training_first"):
                local_engine.move_to_front(runs[0])
                st.rerun()
            if len(runs) == 1 and states[runs[0]] == FINISHED:
                with st.popover("Publish as a checkpoint"):
                    _publish_form(runs[0])
            if len(runs) == 1:
                with st.popover("Note, tags, name"):
                    _show_note(runs[0], states[runs[0]])
            with st.popover("Export"):
                export_actions.show(runs)
            with st.popover("Archive or delete"):
                _show_end(runs, busy)
    except KidneyError as error:
        st.error(markdown.text(error))
        st.toast(markdown.text(error))


def show_failures(runs: list[Run]) -> None:
    """Why runs failed or crashed, in full, with the end of the log; runs that ended alike share an alert."""
    ended: dict[str, list[Run]] = {}
    for run in runs:
        status = jobs.status(run)
        was_started = run.job() or run.state()["state"] != QUEUED  # else its form is still at work on it
        if status in (FAILED, CRASHED) and was_started:
            ended.setdefault(f"{status}. {jobs.message(run)}", []).append(run)
    for reason, alike in ended.items():
        names = ", ".join(run.name for run in alike)
        st.error(
            markdown.text(f"{names} {reason}{_NEXT_STEP if _UNEXPECTED in reason else ''}"),
            icon=":material/error:",
        )
        for run in alike[:3]:
            _show_log(run, title=f"End of the log of {run.name}", lines=25, expanded=len(runs) == 1)


def show_details(run: Run) -> None:
    """Log and configuration of one run."""
    if jobs.status(run) not in (FAILED, CRASHED):  # whose log stands beside the reason
        _show_log(run, title="Log", lines=_LOG_LINES)
    with st.expander("Configuration"):
        st.json(asdict(run.config()), expanded=1)


def _show_log(run: Run, *, title: str, lines: int, expanded: bool = False) -> None:
    with st.expander(markdown.text(title), expanded=expanded):
        st.code(run.log_tail(lines) or "The log is empty.", language=None, wrap_lines=True)


def _each(runs: list[Run], act: Callable[[Run], object]) -> None:
    """Do something with every run, then raise what went wrong first: one run that cannot does not hold up the others."""
    errors: list[KidneyError] = []
    for run in runs:
        try:
            act(run)
        except KidneyError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _resume(run: Run) -> None:
    access.require(access.RESEARCHER)
    audit_recorder.job(asdict(run.config()), engine=run.job().get("engine", ""))
    jobs.submit(run)


def _show_note(run: Run, status: str) -> None:
    """Note, tags and name of one run."""
    note = housekeeping.read_note(run)
    with st.form(f"training_note_{run.name}", border=False):
        text = st.text_area("Note", note.text, max_chars=housekeeping.MAX_NOTE)
        tags = st.text_input("Tags, separated by commas", ", ".join(note.tags))
        if st.form_submit_button("Save note"):
            housekeeping.write_note(run, text, tags)
            st.rerun()
    if status in _BUSY:
        st.caption("A queued or running job cannot be renamed.")
        return
    name = st.text_input("Name", run.name, key=f"training_rename_{run.name}").strip()
    if st.button("Rename", disabled=name == run.name, key="training_rename"):
        renamed = housekeeping.rename(run, name)
        runs_table.select([renamed.name])
        st.rerun()


def _show_end(runs: list[Run], busy: list[Run]) -> None:
    """Archive and delete, for all selected runs that no process works on."""
    idle = [run for run in runs if run not in busy]
    if busy:
        st.caption(f"{formatting.quantity(len(busy), 'run')} of these must be stopped first.")
    if not idle:
        return
    archived = [run for run in idle if housekeeping.is_archived(run)]
    current = [run for run in idle if run not in archived]
    if current and st.button(f"Archive {formatting.quantity(len(current), 'run')}", key="training_archive"):
        _each(current, housekeeping.archive)
        st.rerun()
    if archived and st.button(f"Unarchive {formatting.quantity(len(archived), 'run')}", key="training_unarchive"):
        _each(archived, housekeeping.unarchive)
        st.rerun()
    st.divider()
    st.text("Delete for good, with weights and curves:\n" + "\n".join(run.name for run in idle))
    st.caption("Published checkpoints stay.")
    if st.button(f"Delete {formatting.quantity(len(idle), 'run')}", type="primary", key="training_delete"):
        _each(idle, housekeeping.delete)
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
