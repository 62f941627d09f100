"""No cell of an export becomes a formula, and no number changes."""

import csv
import io
import re

import pandas as pd
import pytest

from kidney_core.common import spreadsheet
from tests.conftest import ROOT
from tests.hardness.names import FORMULAS

HOSTILE = ["=HYPERLINK(1)", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1"]


@pytest.mark.parametrize("cell", HOSTILE)
def test_what_would_be_computed_is_text(cell):
    content = spreadsheet.to_csv(pd.DataFrame({"path": [cell], cell: [1]}))
    read = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    assert read.loc[0, "path"] == "'" + cell
    assert list(read.columns) == ["path", "'" + cell]


def test_a_table_that_comes_back_has_its_texts_again():
    assert [spreadsheet.unescape(spreadsheet.escape(cell)) for cell in [*HOSTILE, "a", "-1", "'a"]] == [
        *HOSTILE,
        "a",
        "-1",
        "'a",
    ]


def test_numbers_and_plain_texts_are_left_alone():
    table = pd.DataFrame({"a": [-1.5, 2e-7, float("nan")], "b": ["Cyst- (1).jpg", 'a,b\n"c"', ""], "c": [-3, 4, 5]})
    read = pd.read_csv(io.BytesIO(spreadsheet.to_csv(table)), keep_default_na=True)
    pd.testing.assert_frame_equal(read[["a", "c"]], table[["a", "c"]])
    assert read["b"].fillna("").tolist() == table["b"].tolist()
    assert b"-1.5" in spreadsheet.to_csv(table)


def test_a_stored_file_keeps_its_digits():
    content = b"path,p_Cyst\n=a.png,0.10000000000001\nb.png,-0.50\n"
    assert spreadsheet.escape_csv(content) == b"path,p_Cyst\r\n'=a.png,0.10000000000001\r\nb.png,-0.50\r\n"


@pytest.mark.parametrize("cell", [*FORMULAS, *("'" + cell for cell in FORMULAS), "a", "-1", "'a", "", 'a;b"c'])
def test_a_file_that_comes_back_has_its_texts_again(cell):
    content = f'path,p\r\n"{cell.replace(chr(34), chr(34) * 2)}",-0.5\r\n'.encode()
    returned = spreadsheet.unescape_csv(spreadsheet.escape_csv(content))
    rows = list(csv.reader(io.StringIO(returned.decode(), newline="")))
    assert rows == [["path", "p"], [cell, "-0.5"]]


def test_a_semicolon_does_not_end_a_cell_where_the_decimal_sign_is_a_comma():
    assert spreadsheet.escape_csv(b"path\r\na;=1.png\r\n") == b'path\r\n"a;=1.png"\r\n'


def test_every_table_that_leaves_the_product_is_escaped():
    """Only files that the product itself reads back, in its own folders, are written as they are."""
    own = {
        "training_data.py",
        "run_report.py",
        "labelling.py",
        "evaluation_records.py",
        "export.py",  # which escapes all that it puts into the zip
        "checkpoint.py",
        "predictions.py",
        "phantom.py",
        "spreadsheet.py",
    }
    past = []
    for path in sorted((ROOT / "kidney_core").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        for found in re.finditer(r"(\w+)\.(to_csv|writer|DictWriter|csv_bytes)\(", source):
            is_escaped = found[0] in ("spreadsheet.to_csv(", "tables.csv_bytes(")
            is_escaped |= source[: found.start()].endswith("spreadsheet.escape_csv(")
            if not is_escaped and path.name not in own:
                past.append(f"{path.name}: {found[0]}")
    assert not past, "these tables are written past kidney_core/common/spreadsheet.py"
