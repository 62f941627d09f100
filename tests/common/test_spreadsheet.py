"""No cell of an export becomes a formula, and no number changes."""

import io

import pandas as pd
import pytest

from kidney_core.common import spreadsheet

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
