"""What cannot be trained is known before a run folder is made."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

from kidney_core.common.errors import DatasetError, ModelError, RunError
from kidney_core.runs.recipes import config_from_recipe
from kidney_core.runs.run_folder import Run
from kidney_core.training import readiness
from tests.conftest import write_series_dataset


def silent(title):
    return lambda done, total: None


def config(folder, **changes):
    options = {"init": "scratch", "trainable": "all", "architecture": "resnet18", "image_size_px": 64, **changes}
    return config_from_recipe("paper", data=str(folder), **options)


def test_a_configuration_that_can_be_trained_gives_its_dataset(small_dataset):
    dataset = readiness.require_trainable(config(small_dataset), silent)
    assert len(dataset) == 60
    assert readiness.require_trainable(config(small_dataset, protocol="grouped"), silent, checked=dataset) is dataset


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"architecture": "resnet18./../x"}, ModelError, "no architecture “resnet18./../x”"),
        ({"architecture": "resnet1"}, ModelError, "Did you mean"),
        ({"init": "/nowhere.safetensors"}, ModelError, "“/nowhere.safetensors” cannot be read"),
        ({"extra_data": "/nowhere"}, DatasetError, "no folder “/nowhere”"),
        ({"protocol": "folder"}, DatasetError, "no split of its own"),
        (
            {"protocol": "grouped", "n_folds": 8},
            DatasetError,
            "Cyst has 3 scans, Normal has 3 scans.*at least 8 of each",
        ),
    ],
)
def test_what_cannot_be_trained_is_a_sentence(small_dataset, changes, error, sentence):
    with pytest.raises(error, match=sentence):
        readiness.require_trainable(config(small_dataset, **changes), silent)


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"init": "imagenet", "architecture": "test_resnet"}, ModelError, "could not be downloaded"),
        ({"architecture": "efficientnet_b0", "image_size_px": 32, "trainable": "all"}, None, ""),
        ({"architecture": "inception_v3", "image_size_px": 32}, ModelError, "cannot see images of 32 px"),
        (
            {"best_by": "recall:Stones", "validation_fraction": 0.2},
            RunError,
            "recall of “Stones”, but the classes are Cyst",
        ),
        ({"device": "cuda:9"}, ModelError, "not available on this machine"),
    ],
)
def test_what_would_fail_at_its_first_step_is_known_before(small_dataset, monkeypatch, changes, error, sentence):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    if error is None:
        readiness.require_trainable(config(small_dataset, **changes), silent)
        return
    with pytest.raises(error, match=sentence):
        readiness.require_trainable(config(small_dataset, **changes), silent)


def test_extra_data_with_another_class_are_refused(small_dataset, tmp_path):
    extra = write_series_dataset(tmp_path / "extra")
    (extra / "Cyst").rename(extra / "Hydronephrosis")
    with pytest.raises(RunError, match="have the class “Hydronephrosis”"):
        readiness.require_trainable(config(small_dataset, extra_data=str(extra)), silent)


def test_a_disk_without_room_for_all_jobs_is_told_with_both_numbers(small_dataset, monkeypatch):
    """11.2 million parameters: Adam's checkpoint has three times as many, and is there twice while it is replaced."""
    free = SimpleNamespace(total=10**12, used=0, free=3 * 10**9)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: free)
    one = config(small_dataset)
    assert not readiness.check([one], silent).problems
    (problem,) = readiness.check([replace(one, seed=seed) for seed in range(12)], silent).problems
    assert "has 3.0 GB free, and these 12 jobs need about 4.0 GB" in problem


def test_every_problem_of_every_job_is_told(small_dataset):
    jobs = [
        config(small_dataset),
        config(small_dataset, protocol="grouped", n_folds=8),
        config(small_dataset, protocol="grouped", n_folds=8, fold=1),
        config(small_dataset, init="/nowhere.safetensors", protocol="folder"),
    ]
    found = readiness.check(jobs, silent)
    assert (len(found.dataset), found.table["series"].nunique()) == (60, 12)
    stopped = {sentence: [jobs.index(each) for each in configs] for sentence, configs in found.problems.items()}
    assert sorted(stopped.values()) == [[1, 2], [3], [3]]
    (folds,) = [sentence for sentence, places in stopped.items() if places == [1, 2]]
    assert "Cyst has 3 scans, Normal has 3 scans, Stone has 3 scans, Tumor has 3 scans; at least 8" in folds


def test_a_folder_that_is_not_there_is_one_problem_of_all_jobs():
    found = readiness.check([config("/nowhere"), config("/nowhere", protocol="grouped")], silent)
    assert [len(jobs) for jobs in found.problems.values()] == [2]
    assert found.dataset is None


def test_weights_are_looked_for_before_the_data_are_read():
    with pytest.raises(ModelError, match="nowhere.safetensors"):
        readiness.require_trainable(config("/no/such/folder", init="/nowhere.safetensors"), silent)


def test_a_recipe_of_kidneys_needs_kidneys(small_dataset):
    """The slices of this dataset are noise."""
    with pytest.raises(RunError, match=r"no kidney on \d+ slices of the class Cyst"):
        readiness.require_trainable(config(small_dataset, framing="each-kidney"), silent)


@pytest.mark.parametrize(
    "option", [("--data", "/nope"), ("--init", "/nope.safetensors"), ("--architecture", "resnet18./../x")]
)
def test_the_command_leaves_no_run_folder_and_no_traceback(small_dataset, tmp_path, option):
    options = {"--data": str(small_dataset), **dict([option])}
    command = [
        sys.executable,
        "-m",
        "kidney_core.engines.train_command",
        *(word for pair in options.items() for word in pair),
    ]
    environment = {**os.environ, "KIDNEY_RUNS": str(tmp_path / "runs")}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ")
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


@pytest.mark.slow
def test_a_run_that_is_asked_to_stop_while_it_reads_ends_within_seconds(tmp_path, monkeypatch):
    """20,000 small files take far longer to read than the five seconds that are allowed."""
    rng = np.random.default_rng(0)
    for label in ("Cyst", "Normal"):
        (tmp_path / "data" / label).mkdir(parents=True)
        first = tmp_path / "data" / label / "0.png"
        Image.fromarray(rng.integers(0, 255, (256, 256)).astype(np.uint8)).save(first)
        for number in range(1, 10_000):
            os.link(first, first.with_name(f"{number}.png"))
    monkeypatch.setenv("KIDNEY_RUNS", str(tmp_path / "runs"))
    run = Run.create(config(tmp_path / "data"), name="stopped")
    process = subprocess.Popen(
        [sys.executable, "-m", "kidney_core.engines.train_command", "--resume", str(run.folder)],
        stdout=subprocess.DEVNULL,
    )
    while "Reading images" not in str(run.state()):
        time.sleep(0.1)
        assert process.poll() is None
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    assert process.wait(timeout=60) == 0
    assert time.monotonic() - asked < 15  # 5 on a quiet machine
    assert run.state()["state"] == "stopped"
