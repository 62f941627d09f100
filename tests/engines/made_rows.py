"""Rows of the table of runs, made by hand."""

from typing import Any

from kidney_core.engines import run_table


def plain(name: str, **values: Any) -> dict[str, Any]:
    """The row of a finished run of which nothing else is known."""
    return {**dict.fromkeys(run_table.COLUMNS), "run": name, "state": "finished", "tags": "", **values}
