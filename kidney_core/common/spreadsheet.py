"""Tables as CSV that a spreadsheet opens as text: no cell becomes a formula.

A file called `=HYPERLINK(…)` would otherwise run when somebody opens an export. Source: OWASP, "CSV Injection".
"""

import csv
import io
from collections.abc import Callable

import pandas as pd

_LINE_END = "\r\n"  # RFC 4180
_FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "＝",
    "＋",
    "－",
    "＠",
)  # the wide ones too, in East Asian spreadsheets
_QUOTED = (",", ";", "\t", '"', "\r", "\n")  # where the decimal sign is a comma, a semicolon ends a cell


def escape(cell: str) -> str:
    """The text of a cell; an apostrophe goes before what a spreadsheet would compute, but not before a number."""
    return f"'{cell}" if cell.lstrip("'").startswith(_FORMULA) and not _is_number(cell) else cell


def unescape(cell: str) -> str:
    """The text that `escape` was given; for tables that come back from a spreadsheet."""
    return cell[1:] if cell.startswith("'") and escape(cell[1:]) == cell else cell


def to_csv(table: pd.DataFrame, *, index: bool = False, float_format: str | None = None) -> bytes:
    """A table as CSV, with its texts and headings escaped."""
    return escape_csv(table.to_csv(index=index, float_format=float_format, lineterminator=_LINE_END).encode())


def escape_csv(content: bytes) -> bytes:
    """A CSV file with its texts escaped; numbers keep their digits."""
    return _rewritten(content, escape)


def unescape_csv(content: bytes) -> bytes:
    """The CSV file that `escape_csv` was given, but for quotes and ends of lines."""
    return _rewritten(content, unescape)


def _rewritten(content: bytes, change: Callable[[str], str]) -> bytes:
    rows = csv.reader(io.StringIO(content.decode(), newline=""))
    lines = (",".join(_quoted(change(cell)) for cell in row) + _LINE_END for row in rows)
    return "".join(lines).encode()


def _quoted(cell: str) -> str:
    return '"{}"'.format(cell.replace('"', '""')) if any(sign in cell for sign in _QUOTED) else cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell == cell.strip()
