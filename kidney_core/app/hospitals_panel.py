"""How checkpoints do on other hospitals, source by source."""

import shlex
from typing import Any

import pandas as pd
import streamlit as st

from kidney_core.app import how_to_read, markdown, tables
from kidney_core.checkpoints import hospital_results
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.checkpoints.hospital_results import ALL, PHASES, SCANS
from kidney_core.common import settings
from kidney_core.common.errors import CheckpointError
from kidney_core.metrics.number_format import percent

HOW_TO_READ = (
    "None of these sources was in training. Correct: the share of slices when every slice is predicted. Answered: neither refused "
    "nor below the confidence threshold. AUROC: how well kidneys with a finding are separated from those without; 0.5 is chance. In "
    "brackets: 95 % intervals, by scans. Sources are not pooled: each has one label, so a pooled figure would measure the source."
)


def measured_of(checkpoints: list[Checkpoint]) -> dict[str, dict[str, Any]]:
    """Checkpoint name -> what was measured of it; shows why a damaged file cannot be read."""
    measured = {}
    for checkpoint in checkpoints:
        try:
            content = checkpoint.other_hospitals()
        except CheckpointError as error:
            st.error(markdown.text(error))
            continue
        if content:
            measured[checkpoint.name] = content
    return measured


def headline_table(measured: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """A row a source and figure, a column a checkpoint; empty where nothing was measured.

    Args:
        measured: of `measured_of`.
    """
    cells: dict[tuple[str, str, str], dict[str, str]] = {}
    for name, content in measured.items():
        for line in hospital_results.headlines(content):
            cells.setdefault((line.source, line.what, line.tested_on), {})[name] = line.value
    rows = [{"Hospital": source, "Figure": what, "Tested on": on, **by} for (source, what, on), by in cells.items()]
    return pd.DataFrame(rows).fillna("–").sort_values("Hospital", kind="stable") if rows else pd.DataFrame()


def show(chosen: list[Checkpoint]) -> None:
    """A table per source."""
    measured = measured_of(chosen)
    if not measured:
        command = shlex.join(["kidney-ct", "evaluate", "--outside", "FOLDER", f"{settings.checkpoints_folder()}/NAME"])
        st.info(
            "These checkpoints were not measured on other hospitals. Run "
            f"{markdown.code(command)}: FOLDER holds one folder for each hospital."
        )
        return
    how_to_read.folded().caption(HOW_TO_READ)
    for source in dict.fromkeys(source for content in measured.values() for source in content["sources"]):
        of_source = {
            name: content["sources"][source] for name, content in measured.items() if source in content["sources"]
        }
        st.markdown(f"## {markdown.text(source)}")
        scans = {name: each for name, each in of_source.items() if each["kind"] == SCANS}
        if scans:
            _show_scans(source, scans)
        slices = {name: each for name, each in of_source.items() if each["kind"] != SCANS}
        if slices:
            tables.show_table(pd.DataFrame(_slice_rows(slices)), key=f"evaluation_outside_{source}")


def _slice_rows(of_source: dict[str, dict[str, Any]]) -> list[dict[str, str | int]]:
    return [
        {
            "Checkpoint": name,
            "Label": label,
            "Correct": hospital_results.percent_in_words(row["correct"], row["interval"]),
            "Slices": row["n"],
            "Scans": row["n_scans"],
            "Refused": percent(each["refused"], 0),
            "Answered": percent(row["answered"], 0),
            "Wrong of answered": "–" if row["wrong"] is None else percent(row["wrong"], 0),
        }
        for name, each in of_source.items()
        for label, row in each["labels"].items()
    ]


def _show_scans(source: str, of_source: dict[str, dict[str, Any]]) -> None:
    first = next(iter(of_source.values()))
    st.caption(f"{first['n_scans']:,} whole scans with the radiologist's finding of each kidney.")
    phase = st.segmented_control(
        "Phase", PHASES, default=ALL, required=True, key=f"evaluation_phase_{source}", label_visibility="collapsed"
    )
    findings = dict.fromkeys(row["finding"] for each in of_source.values() for row in each["auroc"])
    rows = []
    for finding in findings:
        for name, each in of_source.items():
            row = hospital_results.best_row(each, finding, phase)
            if row:
                rows.append(
                    {
                        "Finding": finding,
                        "Checkpoint": name,
                        "AUROC": hospital_results.auroc_in_words(row),
                        "per": row["unit"],
                        "With it": row["n_with"],
                        "Without": row["n_without"],
                    }
                )
    tables.show_table(pd.DataFrame(rows), key=f"evaluation_outside_{source}")
    for name, each in of_source.items():
        for side, shares in each["predicted_on_healthy"].items():
            words = ", ".join(f"{label} {percent(share, 0)}" for label, share in shares.items())
            st.caption(
                f"{markdown.text(name)}, healthy {markdown.text(side)} kidneys predicted: {markdown.text(words)}."
            )
