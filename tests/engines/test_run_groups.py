"""Groups of runs: figures of a random split never meet those of unseen scans."""

import statistics

import pytest

from kidney_core.engines import run_groups
from tests.engines.made_rows import plain

UNSEEN, RANDOM = "unseen scans", "random split (paper)"


def test_groups_have_means_spread_and_best_by_hand():
    rows = [
        plain("a", architecture="x", test_accuracy=80.0, test_balanced_accuracy=70.0, best_validation_loss=0.5),
        plain("b", architecture="y", test_accuracy=50.0, test_balanced_accuracy=40.0),
        plain("c", architecture="x", test_accuracy=90.0, test_balanced_accuracy=80.0, best_validation_loss=0.4),
        plain("d", architecture="x", state="running"),
    ]
    table, members = run_groups.groups(rows, "architecture")
    assert members == [("a", "c", "d"), ("b",)]
    first = table.iloc[0]
    assert (first["Architecture"], first["Runs"], first["Finished"]) == ("x", 3, 2)
    assert (first["Mean test accuracy"], first["Best test balanced accuracy"]) == (85.0, 80.0)
    assert first["SD of test balanced accuracy"] == pytest.approx(statistics.stdev([70.0, 80.0]))
    assert first["Best validation loss"] == 0.4


def test_runs_without_a_value_are_a_group_of_their_own():
    table, members = run_groups.groups([plain("a", tags="x"), plain("b"), plain("c", tags="")], "tags")
    assert table["Tags"].tolist() == ["x", "–"]
    assert members == [("a",), ("b", "c")]


def test_a_group_with_both_splits_is_two_rows_of_their_own_figures():
    rows = [
        plain("a", architecture="x", protocol=UNSEEN, test_accuracy=60.0, test_balanced_accuracy=50.0),
        plain("b", architecture="x", protocol=RANDOM, test_accuracy=99.0, test_balanced_accuracy=98.0),
        plain("c", architecture="x", protocol=UNSEEN, test_accuracy=70.0, test_balanced_accuracy=60.0),
        plain("d", architecture="y", protocol=RANDOM, test_accuracy=97.0, test_balanced_accuracy=96.0),
    ]
    table, members = run_groups.groups(rows, "architecture")
    assert members == [("a", "c"), ("b",), ("d",)]
    assert list(table)[:3] == ["Architecture", "Split", "Runs"]
    assert table[["Architecture", "Split", "Mean test accuracy", "Best test balanced accuracy"]].values.tolist() == [
        ["x", UNSEEN, 65.0, 60.0],
        ["x", RANDOM, 99.0, 98.0],
        ["y", RANDOM, 97.0, 96.0],
    ]


def test_grouped_by_split_there_is_one_column_of_it():
    rows = [plain("a", protocol=UNSEEN), plain("b", protocol=RANDOM), plain("c", protocol=UNSEEN)]
    table, members = run_groups.groups(rows, "protocol")
    assert list(table)[:2] == ["Split", "Runs"]
    assert (table["Split"].tolist(), members) == ([UNSEEN, RANDOM], [("a", "c"), ("b",)])
