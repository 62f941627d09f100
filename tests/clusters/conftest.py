"""What the tests of all engines share: two processes on a tiny network, and the curve that one machine gives."""

import numpy as np
import pytest
from safetensors.torch import load_file

from kidney_core.engines import jobs
from tests.clusters.cluster import wait_for
from tests.conftest import tiny_run, write_series_dataset

CLOCKED = ("time", "images_per_s", "duration_s")


@pytest.fixture(autouse=True)
def same_arithmetic(monkeypatch):
    """One thread a process everywhere: sums of several threads are rounded otherwise."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def dataset(tmp_path):
    return write_series_dataset(tmp_path / "dataset")


def two_process_run(data, name, **changes):
    return tiny_run(data, name, **{"n_processes": 2, "n_epochs": 6, **changes})


def curve(run):
    """Every measurement without its clock."""
    return [{k: v for k, v in row.items() if k not in CLOCKED} for row in run.read_metrics()[0]]


def ended_as(run, status, seconds=180.0):
    def ended():
        found = jobs.status(run)
        if found not in ("queued", "running", status):
            raise AssertionError(f"{run.name} is {found}: {run.state()}\n{run.log_tail(60)}")
        return found == status

    wait_for(ended, seconds, f"“{status}” of {run.name} (it is {jobs.status(run)}: {run.state()})")


def compare(one, other):
    """Print and return the largest differences of two runs: of their curves and of their weights."""
    mine, theirs = curve(one), curve(other)
    assert [row["step"] for row in mine] == [row["step"] for row in theirs]
    losses = [
        [row[name] for row in rows for name in ("train_loss", "validation_loss") if name in row]
        for rows in (mine, theirs)
    ]
    loss = float(np.abs(np.subtract(*losses)).max())
    weights = [load_file(run.folder / "last.safetensors") for run in (one, other)]
    apart = max(float((weights[0][name].double() - weights[1][name].double()).abs().max()) for name in weights[0])
    print(f"{one.name} and {other.name}: {len(losses[0])} losses {loss} apart, weights {apart} apart")
    return loss, apart


@pytest.fixture
def local_run(dataset):
    """The same training on this machine, in two processes."""
    run = two_process_run(dataset, "local")
    jobs.submit(run, "local")
    ended_as(run, "finished")
    return run
