"""The paper's table, and our metrics in its form."""

from kidney_core.common import paper


def test_cells_are_printed_as_the_paper_prints_them():
    assert paper.format_cell((0.994, 1.0, 0.98)) == ".99 / 1 / .98"
    assert paper.format_cell((0.996, 0.0, 0.5)) == "1 / .00 / .50"


def test_table_1_has_every_column_for_the_three_architectures():
    assert set(paper.TABLE_1) == set(paper.ARCHITECTURE_NAMES)
    for rows in paper.TABLE_1.values():
        assert set(rows) == {*paper.COLUMNS, "accuracy", "training_loss", "training_accuracy"}
