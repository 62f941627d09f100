"""Tables as people read them, on a page and as CSV."""

from collections.abc import Iterable
from typing import Any

import pandas as pd
import streamlit as st

from kidney_core.common import spreadsheet
from kidney_core.metrics.predictions import labels_of, probability_column

COLUMN_TITLES = {
    "path": "File",
    "reason": "Reason",
    "series": "Scan",
    "label": "Label",
    "predicted": "Predicted",
    "confidence": "Confidence",
    "n_slices": "Slices",
    "right": "Correct",
    "copy_of": "Copy of",
    "same_label": "Same label",
    "near_duplicate": "Near-duplicate",
    "near_duplicate_label": "Label of the near-duplicate",
    "correlation": "Correlation",
    "outcome": "Outcome",
    "first": "First says",
    "first_confidence": "First's confidence",
    "second": "Second says",
    "second_confidence": "Second's confidence",
    "who": "Who is right",
    "suggested": "Suggested",
    "own_probability": "Given label",
    "n_networks": "Checkpoints",
    "n_contradicted": "Contradicted",
    "share": "Share",
}


def show_table(table: pd.DataFrame, *, key: str | None, percents: tuple[str, ...] = (), **options: Any) -> Any:
    """Draw a table with readable column titles, and fractions in per cent with one decimal.

    Args:
        percents: columns of fractions, 0 to 1; those of probabilities (`p_Cyst`, …) are added.
        options: of `st.dataframe`.

    Returns: what `st.dataframe` returns, such as the selected rows.
    """
    label_of = {probability_column(label): label for label in labels_of(table)}
    fractions = [*percents, *label_of]
    config = {name: st.column_config.Column(COLUMN_TITLES[name]) for name in table.columns if name in COLUMN_TITLES}
    config |= {
        name: st.column_config.NumberColumn(COLUMN_TITLES.get(name) or label_of.get(name, name), format="%.1f %%")
        for name in fractions
    }
    if "correlation" in table:
        config["correlation"] = st.column_config.NumberColumn(COLUMN_TITLES["correlation"], format="%.3f")
    shown = table.assign(**{name: 100 * table[name] for name in fractions})
    return st.dataframe(drawn(shown), hide_index=True, column_config=config, key=key, placeholder="–", **options)


def show_unreadable(files: Iterable[tuple[str, str]]) -> None:
    """The files that could not be read, each with the reason."""
    show_table(pd.DataFrame(list(files), columns=["path", "reason"]), key=None)


def drawn(table: pd.DataFrame) -> pd.DataFrame:
    """A table for `st.dataframe`, whose reader can save it as CSV: no cell of that becomes a formula, and none fails.

    What a spreadsheet would compute gets a space of no width before it, which nobody sees.
    """
    shown = table.map(lambda cell: _drawn(cell) if isinstance(cell, str) else cell)
    return shown.rename(columns=lambda name: _drawn(name) if isinstance(name, str) else name)


def _drawn(cell: str) -> str:
    cell = cell.encode(errors="replace").decode()  # names that are no UTF-8
    return cell if spreadsheet.escape(cell) == cell else f"\N{ZERO WIDTH SPACE}{cell}"


def csv_bytes(table: pd.DataFrame, *, index: bool = False) -> bytes:
    """A table for a download button."""
    return spreadsheet.to_csv(table, index=index, float_format="%.6g")
