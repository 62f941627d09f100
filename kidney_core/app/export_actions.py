"""Buttons that hand runs on to TensorBoard and MLflow."""

import os

import streamlit as st

from kidney_core.app import access, formatting, markdown
from kidney_core.common.errors import KidneyError
from kidney_core.runs.run_folder import Run

MLFLOW_ADDRESS = "MLFLOW_TRACKING_URI"  # MLflow's own variable


def show(runs: list[Run]) -> None:
    """Export the runs; below the buttons, what became of it."""
    measured = [run for run in runs if run.epochs()]
    if st.button("TensorBoard files", disabled=not measured, key="training_tensorboard"):
        _tensorboard(measured)
    server = os.environ.get(MLFLOW_ADDRESS, "").strip()
    if server:
        if st.button("Send to MLflow", disabled=not measured, key="training_mlflow"):
            _mlflow(measured, server)
    else:
        st.caption(f"To send runs to MLflow, start the app with {MLFLOW_ADDRESS}.")


def _tensorboard(runs: list[Run]) -> None:
    from kidney_core.engines import tensorboard_export

    access.require(access.RESEARCHER)
    try:
        for run in runs:
            tensorboard_export.export(run)
    except KidneyError as error:
        st.error(markdown.text(error))
        return
    st.success(f"Written for {formatting.quantity(len(runs), 'run')}. To see them:")
    st.code(f"tensorboard --logdir '{runs[0].folder.parent}'", language="bash", wrap_lines=True)


def _mlflow(runs: list[Run], server: str) -> None:
    from kidney_core.engines import mlflow_mirror

    access.require(access.RESEARCHER)
    try:
        with st.spinner("Sending …"):
            client = mlflow_mirror.connect(server)
            added = sum(mlflow_mirror.mirror(client, run) for run in runs)
    except KidneyError as error:
        st.error(markdown.text(error))
        return
    st.success(
        f"Sent {formatting.quantity(len(runs), 'run')} to MLflow: {formatting.quantity(added, 'measurement')} added."
    )
