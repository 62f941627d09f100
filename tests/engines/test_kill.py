"""kill -9 at twenty instants: in a step, in the writing of a checkpoint, of a line of metrics, of the state."""

import json
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from tests.conftest import ROOT, tiny_run
from tests.killing import INSTANTS

N_KILLS = 20
CLOCKED = ("time", "images_per_s", "duration_s")


def resume(run):
    done = subprocess.run(
        [sys.executable, "-c", _EVERY_STEP, "--resume", str(run.folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


_EVERY_STEP = """
import sys, train
from kidney_core.training import training_log
training_log.STEPS_BETWEEN_MEASUREMENTS = 1
sys.exit(train.main(sys.argv[1:]))
"""


def measured(run):
    return [{k: v for k, v in row.items() if k not in CLOCKED} for row in run.read_metrics()[0]]


def show(lives):
    print(
        f"\n{'kill':>4}  {'instant':32} {'resumed from':>12} {'measured to':>12} {'checkpoint at':>14}  partial files"
    )
    for life in lives:
        print(
            f"{life['kill']:4}  {life['instant']:32} {life['resumed_from']:12} {life['measured_to']:12} "
            f"{life['saved_at']:14}  {life['partial_files']}"
        )


@pytest.mark.slow
def test_twenty_kills_leave_the_weights_of_the_uninterrupted_run(small_dataset):
    """Bit by bit the same weights, moments, metrics and figures, whenever the process died."""
    options = {"n_epochs": 12, "augmentation": "strong", "schedule": "one-cycle"}
    whole, killed = (tiny_run(small_dataset, name, **options) for name in ("whole", "killed"))
    resume(whole)
    driven = subprocess.run(
        [sys.executable, "-m", "tests.killing", str(killed.folder), str(N_KILLS), "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    lives = [json.loads(line) for line in driven.stdout.splitlines() if line.startswith("{")]
    show(lives)
    assert driven.returncode == 0, driven.stderr
    assert len(lives) == N_KILLS
    assert {life["instant"] for life in lives} > set(INSTANTS)
    assert all(life["killed"] for life in lives), "a run ended before its kill: make it longer"
    assert lives[-1]["measured_to"] > 20, "the run hardly moved: the kills come too early to prove anything"

    resume(killed)
    one, other = (load_file(run.folder / "last.safetensors") for run in (whole, killed))
    assert one.keys() == other.keys()
    difference = max(float((one[name].double() - other[name].double()).abs().max()) for name in one)
    print(f"max_diff={difference}")
    assert difference == 0.0
    assert measured(whole) == measured(killed)
    assert whole.report() == killed.report()
    stored = sorted(path.name for path in killed.folder.glob("*.safetensors"))
    assert stored == ["best.safetensors", "last.safetensors"], "disk space is bounded, however long a run trains"
    left_over = [path.name for path in killed.folder.glob(".*.tmp") if not path.name.startswith(".state.json")]
    assert not left_over, "what a killed writer left takes disk space for ever"
