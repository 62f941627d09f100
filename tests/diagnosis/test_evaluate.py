"""Evaluating a folder from the command line gives the metrics of its predictions."""

import re

from kidney_core.diagnosis import evaluate
from kidney_core.metrics import evaluation
from kidney_core.metrics.predictions import Predictions
from tests.conftest import write_series_dataset


def test_a_new_folder_is_evaluated_and_its_predictions_written(published, tmp_path, capsys):
    folder = write_series_dataset(tmp_path / "hospital", n_series=6, n_slices=2, seed=9)
    assert evaluate.main([str(folder), str(published.folder), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    predictions = Predictions.read_csv(tmp_path / "out" / "tiny.csv")
    assert len(predictions) == 48
    accuracy = 100 * evaluation.metrics(predictions)["accuracy"]
    assert re.search(rf"48 slices: accuracy {accuracy:.2f} % \(95 % interval [\d.]+ to [\d.]+ %\)", printed)
    assert "24 scans" in printed
    assert "training data" not in printed


def test_slices_of_the_training_data_are_named(published, small_dataset, capsys):
    assert evaluate.main([str(small_dataset), str(published.folder), "--device", "cpu"]) == 0
    assert re.search(
        r"tiny on \S+; [1-9]\d* of its slices are files of the training data: no test", capsys.readouterr().out
    )


def test_a_class_that_the_checkpoint_does_not_know_is_a_sentence(published, small_dataset, capsys):
    (small_dataset / "Cyst").rename(small_dataset / "Abscess")
    assert evaluate.main([str(small_dataset), str(published.folder)]) == 1
    assert "error: The folder has the class “Abscess”" in capsys.readouterr().err


def test_an_unusable_checkpoint_is_left_out_with_a_warning(published, small_dataset, capsys):
    broken = published.folder.parent / "broken"
    broken.mkdir()
    assert evaluate.main([str(small_dataset), "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert "warning: The checkpoint “broken” has no readable card.json" in printed.err
    assert "tiny on " in printed.out
