"""The columns of the table of runs that each person chose last, kept beside the runs."""

import json

from kidney_core.common import settings
from kidney_core.common.files import write_json
from kidney_core.engines.run_table import COLUMNS, SHOWN_AT_FIRST

_COLUMNS_FILE = ".columns.json"


def read_columns(person: str) -> list[str]:
    """The columns that somebody chose last; `SHOWN_AT_FIRST` before the first choice."""
    try:
        stored = json.loads((settings.runs_folder() / _COLUMNS_FILE).read_text(encoding="utf-8"))[person]
        chosen = [name for name in stored if name in COLUMNS]
    except (OSError, ValueError, KeyError, TypeError):
        chosen = []
    return chosen or list(SHOWN_AT_FIRST)


def write_columns(person: str, columns: list[str]) -> None:
    """Remember the columns that somebody chose; nothing where the folder cannot be written, since only a view is lost."""
    path = settings.runs_folder() / _COLUMNS_FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stored = {}
    try:
        write_json(path, {**(stored if isinstance(stored, dict) else {}), person: columns})
    except OSError:
        return
