"""The learning-rate range test on a page: a process of its own, its curve, and what it suggests."""

import json
import subprocess
import tempfile
from dataclasses import fields
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from kidney_core.app import charts, markdown
from kidney_core.common import child_process
from kidney_core.common.errors import RunError
from kidney_core.runs.recipes import TrainingConfig

_KEPT = "search_range_result"  # session key


def measure(config: TrainingConfig) -> None:
    """Run the test of a configuration, draw its progress, and keep its result for `show`.

    Raises: RunError with what the test said, where it failed.
    """
    st.session_state.pop(_KEPT, None)
    place = st.empty()
    place.progress(0.0, text="Preparing")
    command = child_process.python_command("kidney_core.search.lr_range_command", "--json", *_options(config))
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as printed,
        subprocess.Popen(
            ["nice", "-n", "10", *command],
            stdout=subprocess.PIPE,
            stderr=printed,
            text=True,
            env=child_process.environment({"PYTHONUNBUFFERED": "1"}),
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                if line.startswith("{"):  # what libraries print is not for the page
                    _take(json.loads(line), place)
            process.wait()
        finally:  # also where the visitor leaves the page
            process.kill()
            place.empty()
        printed.seek(0)
        said = printed.read().strip().splitlines() or ["its process was killed"]
    if process.returncode:
        raise RunError(f"The test failed: {said[-1].removeprefix('error: ')}")


def _take(told: dict[str, Any], place: Any) -> None:
    """Draw what the test told, or keep its result."""
    if "result" in told:
        st.session_state[_KEPT] = told["result"]
        return
    text = told["note"] if "note" in told else f"Step {told['step']} of {told['n_steps']}"
    place.progress(min(1.0, told["step"] / max(1, told["n_steps"])), text=markdown.text(text))


def _options(config: TrainingConfig) -> list[str]:
    """A configuration as options of the command."""
    return [f"--{option.name.replace('_', '-')}={getattr(config, option.name)}" for option in fields(config)]


def show() -> None:
    """The curve of the last test and its suggestion; nothing before it."""
    result = st.session_state.get(_KEPT)
    if result is None:
        return
    if result["suggestion"] is None:
        st.warning("No suggestion: the loss never fell. Try another recipe or other weights.")
    else:
        end = "The loss diverged at the end." if result["diverged"] else "The loss did not diverge."
        st.success(f"Suggested learning rate: {result['suggestion']:.1e}, where the loss falls fastest. {end}")
    numbers = pd.DataFrame(
        {
            "Learning rate": result["learning_rates"],
            "Loss": result["losses"],
            "Moving average": result["smoothed_losses"],
        }
    )
    charts.draw(
        curve(result),
        "Training loss over the learning rate.",
        key="search_range_curve",
        numbers=numbers,
        has_toolbar=True,
    )


def curve(result: dict[str, Any]) -> go.Figure:
    """Loss against learning rate: single steps, their moving average, and the suggestion.

    Args:
        result: a `RangeTest` as a dictionary.
    """
    rates = result["learning_rates"]
    figure = go.Figure(
        [
            go.Scatter(x=rates, y=result["losses"], name="Steps", mode="markers", opacity=0.35),
            go.Scatter(x=rates, y=result["smoothed_losses"], name="Moving average", mode="lines"),
        ]
    )
    if result["suggestion"] is not None:
        figure.add_vline(x=result["suggestion"], line_dash="dash", line_color="#888888")
    figure.update_xaxes(type="log", title="Learning rate", exponentformat="power", dtick=1)
    highest = max(result["smoothed_losses"], default=1.0)
    figure.update_yaxes(title="Training loss", range=[0, 1.1 * highest])
    figure.update_layout(
        height=300, margin={"l": 10, "r": 10, "t": 10, "b": 10}, legend={"orientation": "h", "y": 1.15}
    )
    return figure
