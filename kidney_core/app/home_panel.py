"""What Home shows of the checkpoints: how they do in each situation in one chart, and what each is the choice for."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from kidney_core.app import charts, tables
from kidney_core.checkpoints import hospital_results, purpose
from kidney_core.checkpoints.checkpoint import WEIGHTS_FILE, Checkpoint
from kidney_core.metrics import chart_text, plots
from kidney_core.metrics.number_format import percent
from kidney_core.metrics.splits import RANDOM

RANDOM_ROW, UNSEEN_ROW = "Random split (data leakage)", "Unseen scans"
Row = tuple[str, str, float, float | None, float | None]


def show_accuracy(checkpoints: Sequence[Checkpoint], measured: dict[str, dict[str, Any]]) -> None:
    """The share of slices that each checkpoint predicts correctly, from the easiest situation to other hospitals.

    Args:
        measured: of `hospitals_panel.measured_of`.
    """
    rows = _own_rows(checkpoints) + _other_hospitals(measured)
    if rows:
        st.header("Accuracy: random split, unseen scans, other hospitals", anchor=False)
        charts.draw(
            plots.situation_dots(rows),
            "Slices predicted correctly, lowest and highest model. " + chart_text.ranges(rows),
            key="home_accuracy",
            numbers=chart_text.interval_table(rows, group="Tested on", series="Model", value="Correct"),
        )
        st.caption("Slices predicted correctly, 95 % intervals over scans.")


def _own_rows(checkpoints: Sequence[Checkpoint]) -> list[Row]:
    rows = []
    for title in (RANDOM_ROW, UNSEEN_ROW):
        for checkpoint in checkpoints:
            protocol = RANDOM if title == RANDOM_ROW else checkpoint.unseen_protocol
            metrics = checkpoint.metrics(protocol) if protocol else None
            if protocol and metrics:
                low, high = checkpoint.intervals(protocol).get("accuracy", (None, None))
                rows.append((title, checkpoint.name, metrics["accuracy"], low, high))
    return rows


def _other_hospitals(measured: dict[str, dict[str, Any]]) -> list[Row]:
    """A line a source and label; sources are not pooled."""
    rows = [
        (f"Other hospital: {label} ({source})", name, row["correct"], *row["interval"])
        for name, content in measured.items()
        for source, each in content["sources"].items()
        if each["kind"] == hospital_results.SLICES
        for label, row in each["labels"].items()
    ]
    return sorted(rows, key=lambda row: row[0])


def show_choice(checkpoints: Sequence[Checkpoint]) -> None:
    """A line a checkpoint: what it is the choice for, how much it answers, what it never answers, and its size."""
    purposes = purpose.purposes(checkpoints)
    rows = []
    for checkpoint in checkpoints:
        entry = checkpoint.card.get("abstention")
        megabytes = (checkpoint.folder / WEIGHTS_FILE).stat().st_size / 1e6
        rows.append(
            {
                "Model": checkpoint.name,
                "Choose it for": ", ".join(purposes[checkpoint.name]) or "–",
                "Answered (unseen scans)": percent(entry["coverage"] if entry else None, 0),
                "Wrong of answered": percent(entry["error"] if entry else None, 0),
                "Never answers": ", ".join(purpose.never_answered(checkpoint)) or "–",
                "Size": f"{megabytes:.0f} MB",
            }
        )
    if rows:
        st.header("Which model?", anchor=False)
        st.dataframe(tables.drawn(pd.DataFrame(rows)), hide_index=True)
