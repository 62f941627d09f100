"""Search in the table of runs, by words and by states."""

from collections.abc import Iterable
from typing import Any

from kidney_core.engines.run_table import COLUMNS


def search(rows: Iterable[dict[str, Any]], text: str, *, states: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The rows in which every word of a text occurs somewhere, upper or lower case, and that are in one of the states.

    A word such as `learning_rate=0.001` or `split=unseen` asks one column, by its key or its title without blanks.
    """
    states = set(states)
    words = text.lower().split()
    return [each for each in rows if (not states or each["state"] in states) and all(_has(each, w) for w in words)]


def _has(row: dict[str, Any], word: str) -> bool:
    name, equals, wanted = word.partition("=")
    if equals:
        titles = {column.title.lower().replace(" ", ""): key for key, column in COLUMNS.items()}
        value = row.get(titles.get(name, name))
        if isinstance(value, int | float):
            try:
                return value == float(wanted)
            except ValueError:
                return False
        return wanted in str("" if value is None else value).lower()
    return any(word in str(value).lower() for value in row.values() if value is not None)
