"""Measurements kept in a JSON file: one row a key, a new one in the place of an earlier one."""

import json
from pathlib import Path
from typing import Any

from kidney_core.files import write_json


def keep(file: Path, row: dict[str, Any], key: tuple[str, ...]) -> None:
    """Write a row into a file of rows, in the order of their keys."""

    def value(each: dict[str, Any]) -> list[Any]:
        return [each.get(name, "") for name in key]

    rows = json.loads(file.read_text()) if file.is_file() else []
    rows = [old for old in rows if value(old) != value(row)] + [row]
    write_json(file, sorted(rows, key=lambda each: [str(part) for part in value(each)]))
