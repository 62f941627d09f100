"""The table of runs: its columns and rows."""

import pytest

from kidney_core.engines import housekeeping, run_table
from kidney_core.runs.curves import Curves
from kidney_core.training import trainer
from tests.conftest import tiny_run
from tests.engines.made_rows import plain


def row_of(run):
    return run_table.row(run, Curves().read(run))


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


def test_a_table_of_runs_has_numbers_in_its_columns_of_numbers():
    table = run_table.table([plain("a"), plain("b", seed=3)], ["run", "seed"])
    assert table["Seed"].tolist()[1] == 3.0
    assert table["Seed"].isna().tolist() == [True, False]
