"""Runs side by side: everything known of each, a column a run, and what differs."""

from typing import Any

import pandas as pd

from kidney_core.engines.run_table import COLUMNS, PERCENT, SECONDS, TIME

WHAT, DIFFERS = "Option or figure", "Differs?"  # no run can have such a name


def side_by_side(rows: list[dict[str, Any]], *, only_differences: bool) -> pd.DataFrame:
    """Runs as columns and everything known of them as rows: what they are of, their options, their figures.

    Columns: `WHAT`, one per run (text), and `DIFFERS`, true or false.
    """
    left_out = {"run", "place", "message", "progress", "epoch", "time_left", "note"}
    lines = []
    for name, column in COLUMNS.items():
        if name in left_out:
            continue
        texts = [in_words(row[name], column.kind) for row in rows]
        differs = len(set(texts)) > 1
        if (differs or not only_differences) and any(texts):
            lines.append(
                {
                    WHAT: column.title,
                    **dict(zip((row["run"] for row in rows), texts, strict=True)),
                    DIFFERS: differs,
                }
            )
    return pd.DataFrame(lines, columns=[WHAT, *(row["run"] for row in rows), DIFFERS])


def in_words(value: Any, kind: str) -> str:
    """A value of the table as text; empty for None."""
    if value is None or value != value:
        return ""
    if kind == PERCENT:
        return f"{value:.1f} %"
    if kind == SECONDS:
        return f"{value:,.0f} s"
    if kind == TIME:
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
