"""The table of runs: rows, search, groups, two runs side by side, and the columns that somebody chose."""

import statistics

import pytest

from kidney_core.common import settings
from kidney_core.engines import housekeeping, run_table
from kidney_core.runs.curves import Curves
from kidney_core.training import trainer
from tests.conftest import tiny_run


def row_of(run):
    return run_table.row(run, Curves().read(run))


def plain(name, **values):
    return {**dict.fromkeys(run_table.COLUMNS), "run": name, "state": "finished", "tags": "", **values}


@pytest.mark.slow
def test_a_finished_run_is_described_in_full(small_dataset):
    run = tiny_run(small_dataset, "one", n_epochs=3, protocol="grouped", learning_rate=2e-3)
    housekeeping.write_note(run, "a first try", "phantoms, small")
    trainer.train(run)
    row, epochs, figures = row_of(run), run.epochs(), run.report()["figures"]
    assert set(row) == set(run_table.COLUMNS)
    losses = [each["validation_loss"] for each in epochs]
    assert (row["best_validation_loss"], row["last_validation_loss"]) == (min(losses), losses[-1])
    assert row["test_accuracy"] == pytest.approx(100 * figures["accuracy"])
    assert row["test_recall_Stone"] == pytest.approx(100 * figures["per_label"]["Stone"]["recall"])
    assert (row["dataset"], row["protocol"], row["learning_rate"]) == (small_dataset.name, "unseen scans", 2e-3)
    assert (row["tags"], row["note"], row["progress"]) == ("phantoms small", "a first try", 100)
    assert row["training_slices"] + row["test_slices"] == 60
    assert 0 < row["duration"] < 600
    assert row["tested_epoch"] == 3


def test_a_run_that_has_only_been_made_is_a_row_too(small_dataset):
    row = row_of(tiny_run(small_dataset, "young"))
    assert (row["run"], row["progress"], row["test_accuracy"], row["started"]) == ("young", 0, None, None)


def test_search_needs_every_word_and_can_ask_one_column():
    rows = [
        plain("one", learning_rate=0.001, seed=1, protocol="unseen scans", tags="first"),
        plain("two", learning_rate=0.01, seed=1, protocol="random split (paper)", state="failed"),
    ]

    def found(text, **options):
        return [row["run"] for row in run_table.search(rows, text, **options)]

    assert found("") == ["one", "two"]
    assert found("FIRST unseen") == ["one"]
    assert found("first random") == []
    assert found("seed=1 split=random") == ["two"]
    assert found("learning_rate=1e-3") == ["one"]
    assert found("learningrate=x") == []
    assert found("", states=["failed"]) == ["two"]


def test_groups_have_means_spread_and_best_by_hand():
    rows = [
        plain("a", architecture="x", test_accuracy=80.0, test_balanced_accuracy=70.0, best_validation_loss=0.5),
        plain("b", architecture="y", test_accuracy=50.0, test_balanced_accuracy=40.0),
        plain("c", architecture="x", test_accuracy=90.0, test_balanced_accuracy=80.0, best_validation_loss=0.4),
        plain("d", architecture="x", state="running"),
    ]
    table, members = run_table.groups(rows, "architecture")
    assert members == [("a", "c", "d"), ("b",)]
    first = table.iloc[0]
    assert (first["Architecture"], first["Runs"], first["Finished"]) == ("x", 3, 2)
    assert (first["Mean test accuracy"], first["Best test balanced accuracy"]) == (85.0, 80.0)
    assert first["SD of test balanced accuracy"] == pytest.approx(statistics.stdev([70.0, 80.0]))
    assert first["Best validation loss"] == 0.4


def test_runs_without_a_value_are_a_group_of_their_own():
    table, members = run_table.groups([plain("a", tags="x"), plain("b"), plain("c", tags="")], "tags")
    assert table["Tags"].tolist() == ["x", "–"]
    assert members == [("a",), ("b", "c")]


def test_side_by_side_says_what_differs():
    one, two = plain("a", learning_rate=0.001, seed=1), plain("b", learning_rate=0.01, seed=1)
    table = run_table.side_by_side([one, two], only_differences=True)
    assert table.to_dict("records") == [
        {run_table.WHAT: "Learning rate", "a": "0.001", "b": "0.01", run_table.DIFFERS: True}
    ]
    whole = run_table.side_by_side([one, two], only_differences=False)
    assert whole.loc[whole[run_table.WHAT] == "Seed", run_table.DIFFERS].tolist() == [False]


def test_columns_are_remembered_for_each_person():
    settings.runs_folder().mkdir(parents=True, exist_ok=True)
    assert run_table.read_columns("ada") == list(run_table.SHOWN_AT_FIRST)
    run_table.write_columns("ada", ["run", "seed"])
    run_table.write_columns("bob", ["run", "fold"])
    assert run_table.read_columns("ada") == ["run", "seed"]
    (settings.runs_folder() / ".columns.json").write_text("[torn", encoding="utf-8")
    assert run_table.read_columns("ada") == list(run_table.SHOWN_AT_FIRST)


def test_a_table_of_runs_has_numbers_in_its_columns_of_numbers():
    table = run_table.table([plain("a"), plain("b", seed=3)], ["run", "seed"])
    assert table["Seed"].tolist()[1] == 3.0
    assert table["Seed"].isna().tolist() == [True, False]
