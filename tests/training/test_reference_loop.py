"""The loop that the workbench's speed is measured against learns the same from the same batches."""

import pandas as pd
import pytest

from benchmarks import reference_loop
from benchmarks.training_speed import initial_weights
from kidney_core.training import trainer
from tests.conftest import tiny_run


@pytest.mark.parametrize("trainable", ["all", "last-block", "head"])
def test_both_loops_answer_alike_after_the_same_batches_and_flips(small_dataset, tmp_path, trainable):
    init = initial_weights("paper", "test_resnet", {}, tmp_path) if trainable != "all" else "scratch"
    run = tiny_run(small_dataset, f"same-{trainable}", n_epochs=2, trainable=trainable, init=init)
    trainer.train(run)
    theirs = reference_loop.train(run.config(), run.folder / "split.csv", same_draws=True)
    ours = pd.read_csv(run.folder / "predictions.csv")
    assert len(theirs["y_pred"]) == len(ours) > 10
    labels = run.data()["labels"]
    other = [
        label for answer, label in zip(theirs["y_pred"], ours["predicted"], strict=True) if labels[answer] != label
    ]
    assert len(other) <= 1  # rounding may turn one that is undecided
    assert theirs["accuracy"] == pytest.approx(run.report()["figures"]["accuracy"], abs=1.01 / len(ours))
