"""Cross-validation: every slice is tested once, by a network that never saw its scan."""

import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kidney_core.common import settings
from kidney_core.common.errors import RunError
from kidney_core.metrics import calibration, evaluation
from kidney_core.metrics.predictions import Predictions
from kidney_core.runs import cross_validation, recipes, run_folder
from kidney_core.training import trainer
from tests.conftest import ROOT, tiny_run


def tiny_folds(data, n_folds=3, **changes):
    made = [
        tiny_run(data, f"fold-{fold}", n_epochs=1, protocol="grouped", n_folds=n_folds, fold=fold, **changes)
        for fold in range(n_folds)
    ]
    for run in made:
        trainer.train(run)
    return made


def test_pooled_predictions_hold_every_slice_once_from_the_fold_that_tested_it(small_dataset):
    made = tiny_folds(small_dataset)
    predictions = cross_validation.pooled_predictions(made[1])
    pooled = predictions.table
    split = pd.read_csv(made[0].folder / "split.csv")
    assert pooled["path"].tolist() == split["path"].tolist()
    assert pooled.groupby("series")["fold"].nunique().max() == 1
    for fold, run in enumerate(made):
        stored = Predictions.read_csv(run.folder / "predictions.csv")
        own = stored.table.set_index("path")
        there = pooled[pooled["fold"] == fold].set_index("path")
        assert set(there.index) == set(own.index)
        others = predictions.subset(pooled["fold"] != fold)
        assert there["temperature"].unique() == pytest.approx(others.best_temperature(), rel=1e-3)
        uncalibrated = predictions.subset(pooled["fold"] == fold).in_order(own.index).uncalibrated()
        at_run = calibration.calibrate(uncalibrated, run.report()["temperature"])
        np.testing.assert_allclose(at_run, stored.probabilities, rtol=1e-4)
        assert there.loc[own.index, "predicted"].tolist() == own["predicted"].tolist()
    assert evaluation.metrics(predictions)["n"] == 60
    assert predictions.labels == ("Cyst", "Normal", "Stone", "Tumor")


def test_pooled_predictions__error_names_the_missing_fold(small_dataset):
    run = tiny_run(small_dataset, "only", n_epochs=1, protocol="grouped", n_folds=3, fold=0)
    trainer.train(run)
    with pytest.raises(RunError, match="lacks fold 2, 3 of 3"):
        cross_validation.pooled_predictions(run)


def test_folds_of_another_recipe_or_seed_are_not_mixed_in(small_dataset):
    made = tiny_folds(small_dataset)
    stranger = tiny_run(small_dataset, "other", n_epochs=1, protocol="grouped", n_folds=3, fold=0, seed=1)
    trainer.train(stranger)
    assert [run.name for run in cross_validation.find_folds(made[0]).values()] == ["fold-0", "fold-1", "fold-2"]
    assert list(cross_validation.find_folds(stranger)) == [0]


def test_config__error_impossible_fold():
    with pytest.raises(RunError, match="n_folds is 1, which is not a cross-validation. Give 2 folds or more"):
        recipes.config_from_recipe("paper", data="x", n_folds=1)
    with pytest.raises(RunError, match="fold 5 of 5 folds is impossible"):
        recipes.config_from_recipe("paper", data="x", n_folds=5, fold=5)


@pytest.mark.slow
def test_command_line_trains_all_folds_and_prints_the_pooled_figure(small_dataset):
    words = f"--data {small_dataset} --architecture test_resnet --init scratch --trainable all --image-size 32"
    words += " --epochs 1 --folds 3 --name cv"
    done = subprocess.run([sys.executable, "train.py", *words.split()], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    title, slices, scans = done.stdout.splitlines()[-3:]
    assert title == "pooled over 3 folds, scan-level split (unseen scans)"
    pooled = cross_validation.pooled_predictions(run_folder.Run(settings.runs_folder() / "cv-fold-1"))
    by_scan = evaluation.metrics(pooled.per_series())
    for line, n, found in ((slices, len(pooled), evaluation.metrics(pooled)), (scans, by_scan["n"], by_scan)):
        assert line.startswith(
            f"{n} {'slices' if line is slices else 'scans'}: accuracy {100 * found['accuracy']:.2f} %"
        )
        assert f"balanced accuracy {100 * found['balanced_accuracy']:.2f} %" in line
    assert sorted(run.name for run in run_folder.list_runs()) == ["cv-fold-1", "cv-fold-2", "cv-fold-3"]
    for run in run_folder.list_runs():
        assert "test, scan-level split (unseen scans)" in run.log_tail()
    # Interrupted before its last fold, the same command does that fold alone.
    last = run_folder.Run(settings.runs_folder() / "cv-fold-3")
    shutil.rmtree(last.folder)
    again = subprocess.run([sys.executable, "train.py", *words.split()], cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("epoch 1: loss") == 1
    assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]
    refused = subprocess.run(
        [sys.executable, "train.py", "--resume", str(last.folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert refused.returncode == 1
    assert "is finished" in refused.stderr
    assert last.state()["state"] == "finished"


def test_open_fold__error_name_of_another_configuration(small_dataset):
    run = tiny_run(small_dataset, "taken", n_folds=3)
    with pytest.raises(RunError, match="has another configuration"):
        cross_validation.open_fold(replace(run.config(), seed=5), name="taken")
