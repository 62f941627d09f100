"""The columns that somebody chose."""

from kidney_core.common import settings
from kidney_core.engines import remembered_columns, run_table


def test_columns_are_remembered_for_each_person():
    settings.runs_folder().mkdir(parents=True, exist_ok=True)
    assert remembered_columns.read_columns("ada") == list(run_table.SHOWN_AT_FIRST)
    remembered_columns.write_columns("ada", ["run", "seed"])
    remembered_columns.write_columns("bob", ["run", "fold"])
    assert remembered_columns.read_columns("ada") == ["run", "seed"]
    (settings.runs_folder() / ".columns.json").write_text("[torn", encoding="utf-8")
    assert remembered_columns.read_columns("ada") == list(run_table.SHOWN_AT_FIRST)
