"""How long a training takes here, by what finished runs took."""

import json
from dataclasses import replace

import pytest

from kidney_core.runs import durations
from kidney_core.runs.run_folder import FINISHED
from tests.conftest import tiny_run


def finished(data, name, *, seconds, n_slices=50, n_epochs=2, **changes):
    """A run that trained so many seconds, as its files tell it."""
    run = tiny_run(data, name, n_epochs=n_epochs, **changes)
    (run.folder / "data.json").write_text(json.dumps({"parts": {"train": n_slices}}), encoding="utf-8")
    rows = [
        {"kind": "epoch", "epoch": epoch, "step": 7 * epoch, "time": 100.0 + seconds * epoch / n_epochs}
        for epoch in range(1, n_epochs + 1)
    ]
    starts = json.dumps({"kind": "start", "time": 100.0, "step": 0})
    (run.folder / "usage.jsonl").write_text(starts + "\n", encoding="utf-8")
    (run.folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    run.write_state(FINISHED)
    return run


def test_a_run_of_the_same_work_tells_the_duration(tmp_path):
    run = finished(tmp_path, "one", seconds=40.0)
    known = durations.slice_seconds([run])
    assert known == {durations.work(run.config()): pytest.approx(0.4)}  # 40 s / (50 slices x 2 epochs)
    other = replace(run.config(), n_epochs=5, learning_rate=0.5, test_fraction=0.25)
    assert durations.training_seconds(other, 1000, known) == pytest.approx(0.4 * 750 * 5)
    assert durations.training_seconds(replace(other, image_size_px=64), 1000, known) is None


def test_the_first_finished_run_counts_and_others_do_not(tmp_path):
    newest, older = finished(tmp_path, "new", seconds=10.0), finished(tmp_path, "old", seconds=99.0)
    queued, broken = tiny_run(tmp_path, "queued"), tiny_run(tmp_path, "broken", image_size_px=64)
    (broken.folder / "config.json").write_text("[torn", encoding="utf-8")
    known = durations.slice_seconds([queued, broken, newest, older])
    assert list(known.values()) == [pytest.approx(0.1)]


@pytest.mark.parametrize(("seconds", "words"), [(20, "below 1 min"), (100, "about 2 min"), (7300, "about 2 h")])
def test_rough_durations(seconds, words):
    assert durations.in_words(seconds) == words
