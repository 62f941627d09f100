"""What a training writes about itself while it runs."""

import json

import pytest

from kidney_core.metrics.splits import TEST
from kidney_core.runs.curves import EPOCH, Curves
from kidney_core.runs.run_folder import USAGE_FILE
from kidney_core.runs.training_state import Position
from kidney_core.training import trainer, training_log
from kidney_core.training.schedule import Schedule
from kidney_core.training.training_log import TrainingLog
from tests.conftest import tiny_run


def usage(run):
    return run.read_lines(USAGE_FILE)[0]


@pytest.mark.slow
def test_an_epoch_has_its_confusion_matrix_and_a_step_its_learning_rate(small_dataset, capsys):
    run = tiny_run(small_dataset, n_epochs=4, schedule="one-cycle", learning_rate=1e-3)
    trainer.train(run)
    n_test = run.data()["parts"][TEST]
    for row in run.epochs():
        matrix = row["validation_confusion"]
        assert sum(map(sum, matrix)) == n_test
        assert sum(matrix[i][i] for i in range(4)) / n_test == pytest.approx(row["validation_accuracy"], abs=1e-6)
        assert matrix[2][2] / sum(matrix[2]) == pytest.approx(row["validation_recall_Stone"], abs=1e-6)
    rates = [rate for _, rate in Curves().read(run).of_steps("learning_rate", EPOCH)]
    assert 0 < min(rates) < max(rates) <= 1e-3
    first, second = usage(run)[:2]
    assert (first["kind"], first["step"]) == ("start", 0)
    assert (second["kind"], second["step"]) == ("usage", 1)  # a run shows something after its first step
    assert second["memory_mib"] > 50
    assert "cpu_percent" in second
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch 1: loss"))
    # The paper's recipe has no validation part: it watches the test part.
    assert " in training, " in line
    assert line.endswith(" % in test")


def test_steps_are_logged_by_time_however_slow_they_are(small_dataset, monkeypatch):
    """Seven steps an epoch of two and a half seconds each: every step is there, though none is a tenth one."""
    now = [100.0]
    monkeypatch.setattr(training_log.time, "monotonic", lambda: now[0])
    run, position = tiny_run(small_dataset), Position()
    with TrainingLog(run).start_steps(Schedule(7 * 8, 8, 2), position) as log:
        for _ in range(7):
            now[0] += 2.5
            position = position.after_step(loss=1.0, n_images=8, n_correct=4)
            log.step(position, 1.0, epoch_seconds=now[0] - 100)
    assert [row["step"] for row in usage(run) if row["kind"] == "usage"] == [1, 2, 3, 4, 5, 6, 7]
    assert run.read_metrics()[0] == []
    assert usage(run)[-1]["images_per_s"] == pytest.approx(8 / 2.5, abs=0.05)
    assert run.state()["step"] == 7


def test_what_is_logged_by_time_is_one_json_object_a_line(small_dataset):
    run = tiny_run(small_dataset)
    run.append_usage({"kind": "start", "step": 0})
    (line,) = (run.folder / USAGE_FILE).read_text(encoding="utf-8").splitlines()
    assert set(json.loads(line)) == {"kind", "step", "time"}
