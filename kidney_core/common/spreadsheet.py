"""Tables as CSV that a spreadsheet opens as text: no cell becomes a formula.

A file called `=HYPERLINK(…)` would otherwise run when somebody opens an export. Source: OWASP, "CSV Injection".
"""

import csv
import io

import pandas as pd

_LINE_END = "\r\n"  # RFC 4180, so that a cell with either character is quoted
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def escape(cell: str) -> str:
    """The text of a cell; an apostrophe goes before what a spreadsheet would compute, but not before a number."""
    return f"'{cell}" if cell.startswith(_FORMULA) and not _is_number(cell) else cell


def unescape(cell: str) -> str:
    """The text that `escape` was given; for tables that come back from a spreadsheet."""
    return cell[1:] if cell.startswith("'") and escape(cell[1:]) == cell else cell


def to_csv(table: pd.DataFrame, *, index: bool = False, float_format: str | None = None) -> bytes:
    """A table as CSV, with its texts and headings escaped."""
    return escape_csv(table.to_csv(index=index, float_format=float_format, lineterminator=_LINE_END).encode())


def escape_csv(content: bytes) -> bytes:
    """A CSV file with its texts escaped; numbers keep their digits."""
    file = io.StringIO(newline="")
    rows = csv.reader(io.StringIO(content.decode(), newline=""))
    csv.writer(file, lineterminator=_LINE_END).writerows([escape(cell) for cell in row] for row in rows)
    return file.getvalue().encode()


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell == cell.strip()
