"""Measurements in a JSON file: one row per key; a new row replaces an earlier one with the same key."""

import json
from pathlib import Path
from typing import Any

from kidney_core.common.files import write_json


def store_row(file: Path, row: dict[str, Any], key: tuple[str, ...]) -> None:
    """Write a row into a file of rows, in the order of their keys."""

    def value(each: dict[str, Any]) -> list[Any]:
        return [each.get(name, "") for name in key]

    rows = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    rows = [old for old in rows if value(old) != value(row)] + [row]
    write_json(file, sorted(rows, key=lambda each: [str(part) for part in value(each)]))
