"""The checkpoints beside the table of the paper."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from kidney_core.app import how_to_read, tables
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common import paper
from kidney_core.metrics import number_format
from kidney_core.metrics.splits import MEASURED, PROTOCOL_NAMES


def show(checkpoints: Sequence[Checkpoint]) -> None:
    """One row per checkpoint and protocol, below the row that the paper prints for its architecture."""
    st.markdown(f"Precision / recall / F1 on test slices. Paper: Table 1 of *{paper.TITLE}*.")
    rows = [row for checkpoint in checkpoints for row in _rows(checkpoint)]
    st.dataframe(tables.drawn(pd.DataFrame(rows)), hide_index=True)
    how_to_read.folded().caption(
        "In brackets: how a checkpoint was trained. Only a checkpoint with the recipe `paper`, from ImageNet "
        "weights at 224 px, repeats the paper's experiment, in its row “random split”. The rows “unseen scans” answer another "
        "question: how well does it work for new patients of the same hospitals?"
    )


def _rows(checkpoint: Checkpoint) -> list[dict[str, str]]:
    architecture = checkpoint.card["architecture"]
    model = number_format.model_name(architecture)
    rows = []
    if printed := paper.TABLE_1.get(architecture):
        cells = {column: paper.format_cell(printed[column]) for column in paper.COLUMNS}
        rows.append({"Model": model, "Source": "paper, random split", **_averages_first(printed["accuracy"], cells)})
    for protocol in MEASURED:
        if metrics := checkpoint.metrics(protocol):
            source = f"{checkpoint.name} ({_training_in_short(checkpoint)}), {PROTOCOL_NAMES[protocol]}"
            cells = _averages_first(metrics["accuracy"], paper.format_row(metrics))
            rows.append({"Model": model, "Source": source, **cells})
    return rows


def _averages_first(accuracy: float, cells: dict[str, str]) -> dict[str, str]:
    """Accuracy and averages, then the labels."""
    averages = {"accuracy": f"{accuracy:.2f}", "macro average": cells["macro"], "weighted average": cells["weighted"]}
    return averages | {name: cell for name, cell in cells.items() if name not in ("macro", "weighted")}


def _training_in_short(checkpoint: Checkpoint) -> str:
    """Recipe, image size and initial weights of a checkpoint, in a few words."""
    training = checkpoint.card["training"]
    start = "random weights" if training.get("init") == "scratch" else "pretrained"
    return f"{training.get('recipe', 'recipe unknown')}, {checkpoint.size_px} px, {start}"
