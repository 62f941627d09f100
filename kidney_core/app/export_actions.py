"""Buttons that hand runs on to TensorBoard and MLflow."""

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from kidney_core.app import access, formatting, markdown
from kidney_core.common.errors import KidneyError
from kidney_core.runs.run_folder import Run

MLFLOW_ADDRESS = "MLFLOW_TRACKING_URI"  # MLflow's own variable
# Session key: what became of the last export, since live parts are redrawn every two seconds.
_KEPT = "training_exported"


@dataclass(frozen=True)
class _Outcome:
    """What became of an export of runs: a sentence, or an error; and a command that goes on from there."""

    runs: tuple[str, ...]
    sentence: str = ""
    error: str = ""
    command: str = ""


def show(runs: list[Run]) -> None:
    """Export the runs; below the buttons, what became of it."""
    measured = [run for run in runs if run.epochs()]
    if st.button("TensorBoard files", disabled=not measured, key="training_tensorboard"):
        _keep(measured, _tensorboard)
    server = os.environ.get(MLFLOW_ADDRESS, "").strip()
    if not server:
        st.caption(f"To send runs to MLflow, start the app with {MLFLOW_ADDRESS}.")
    elif st.button("Send to MLflow", disabled=not measured, key="training_mlflow"):
        _keep(measured, lambda runs: _mlflow(runs, server))
    kept: _Outcome | None = st.session_state.get(_KEPT)
    if kept is not None and kept.runs == _names(measured):
        _show(kept)


def _names(runs: list[Run]) -> tuple[str, ...]:
    return tuple(run.name for run in runs)


def _keep(runs: list[Run], export: Callable[[list[Run]], _Outcome]) -> None:
    """Export runs, and keep what became of it or why it failed."""
    access.require(access.RESEARCHER)
    try:
        with st.spinner("Exporting"):
            outcome = export(runs)
    except KidneyError as error:
        outcome = _Outcome(_names(runs), error=str(error))
    st.session_state[_KEPT] = outcome


def _show(outcome: _Outcome) -> None:
    if outcome.error:
        st.error(markdown.text(outcome.error))
    if outcome.sentence:
        st.success(markdown.text(outcome.sentence))
    if outcome.command:
        st.code(outcome.command, language="bash", wrap_lines=True)


def _tensorboard(runs: list[Run]) -> _Outcome:
    from kidney_core.engines import tensorboard_export

    for run in runs:
        tensorboard_export.export(run)
    command = shlex.join(["tensorboard", "--logdir", str(runs[0].folder.parent)])
    return _Outcome(_names(runs), f"Written for {formatting.quantity(len(runs), 'run')}. To see them:", command=command)


def _mlflow(runs: list[Run], server: str) -> _Outcome:
    from kidney_core.engines import mlflow_mirror

    client = mlflow_mirror.connect(server)
    added = sum(mlflow_mirror.mirror(client, run) for run in runs)
    sent, new = formatting.quantity(len(runs), "run"), formatting.quantity(added, "measurement")
    return _Outcome(_names(runs), f"Sent {sent} to MLflow: {new} added.")
