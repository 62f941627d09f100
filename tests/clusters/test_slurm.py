"""A real Slurm cluster of two virtual nodes on this machine: munge, slurmctld, slurmd, sbatch, srun torchrun."""

import os
import shutil
import subprocess
import sys
import time

import psutil
import pytest

from kidney_core.common.errors import RunError
from kidney_core.engines import jobs
from tests.clusters.cluster import slurm_cluster, up_or_skip, wait_for
from tests.clusters.conftest import compare, ended_as, two_process_run
from tests.conftest import ROOT

_MISSING = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]  # fmt: skip
pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(bool(_MISSING), reason=f"Slurm is not installed ({', '.join(_MISSING)}); see make test-engines"),
    pytest.mark.skipif(os.geteuid() != 0, reason="slurmd wants to be root, to start jobs as their users"),
]


@pytest.fixture(scope="module")
def cluster():
    with up_or_skip(slurm_cluster(), "Slurm") as configuration:
        yield configuration


@pytest.fixture
def slurm(cluster, monkeypatch):
    """The engine, set up for a process on each of two nodes."""
    monkeypatch.setenv("SLURM_CONF", str(cluster))
    monkeypatch.setenv("KIDNEY_SLURM_NODES", "2")
    yield
    _command("scancel", "--me")
    wait_for(lambda: not _command("squeue", "--noheader").stdout.strip(), what="an empty queue")


def _command(*words):
    return subprocess.run(words, capture_output=True, text=True, check=False)


def workers_of(run):
    """The processes of a run's training, without their launchers."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "--resume" in command and str(run.folder.resolve()) in command and "torch.distributed.run" not in command:
            found[int(process.environ()["RANK"])] = process
    return found


def test_two_nodes_give_the_curve_of_one_machine(slurm, local_run, dataset):
    run = two_process_run(dataset, "slurm")
    jobs.submit(run, "slurm")
    ended_as(run, "finished")
    assert run.job()["engine"] == "slurm"
    assert compare(local_run, run) == (0.0, 0.0)
    assert "epoch 6" in run.log_tail()


def test_a_job_survives_the_app_waits_its_turn_and_stops_with_a_checkpoint(slurm, dataset):
    first, second, third = (two_process_run(dataset, name, n_epochs=400) for name in ("first", "second", "third"))
    code = f"from kidney_core.engines import jobs; from kidney_core.runs.run_folder import Run; from pathlib import Path; jobs.submit(Run(Path({str(first.folder)!r})), 'slurm')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    for run in (second, third):
        jobs.submit(run, "slurm")
    wait_for(lambda: first.state().get("step", 0) > 0, what="the first step")
    assert [jobs.status(run) for run in (first, second, third)] == ["running", "queued", "queued"]
    wait_for(lambda: [jobs.queue_place(run) for run in (first, second, third)] == [None, 1, 2], 20, "places")
    with pytest.raises(RunError, match="is queued or running already"):
        jobs.submit(second, "slurm")
    jobs.cancel(second)
    jobs.cancel(third)
    assert [jobs.status(run) for run in (second, third)] == ["stopped"] * 2
    jobs.cancel(first)
    ended_as(first, "stopped")
    stopped_at = first.state()["step"]
    wait_for(lambda: not workers_of(first), 40, "the end of all processes")
    jobs.submit(first)  # on the engine that worked on it before
    wait_for(lambda: first.state().get("step", 0) > stopped_at, what="a step after the resumption")
    assert first.job()["engine"] == "slurm"
    jobs.cancel(first)
    ended_as(first, "stopped")


def test_a_killed_worker_is_a_crash_and_the_resumed_run_is_the_whole_one(slurm, local_run, dataset):
    run = two_process_run(dataset, "killed")
    jobs.submit(run, "slurm")
    wait_for(lambda: (run.folder / "last.safetensors").exists() and len(workers_of(run)) == 2, what="a checkpoint")
    workers_of(run)[1].kill()
    ended_as(run, "crashed")
    wait_for(lambda: not workers_of(run), 40, "the end of the other worker")
    jobs.submit(run)
    ended_as(run, "finished")
    assert compare(local_run, run) == (0.0, 0.0)


def test_a_job_that_gets_sigterm_saves_goes_back_into_the_queue_and_goes_on(slurm, dataset):
    """As two minutes ahead of a time limit; scancel sends the same signal to the same processes."""
    run = two_process_run(dataset, "limited", n_epochs=400)
    jobs.submit(run, "slurm")
    wait_for(lambda: run.state().get("step", 0) > 0, what="the first step")
    job_id = run.job()["job_id"]
    subprocess.run(["scancel", "--signal=TERM", job_id], check=True)
    wait_for(lambda: "back into the queue" in run.log_tail(), 60, "the requeue")
    wait_for(lambda: jobs.status(run) == "queued", 20, "queued")
    saved_at = run.state()["step"]
    # Slurm keeps a requeued job back for two minutes, since a node that starts it within the second in which it killed it
    # says "already killed, do not launch batch job": a few seconds are enough.
    time.sleep(5)
    wait_for(lambda: not _command("scontrol", "update", f"JobId={job_id}", "StartTime=now").returncode, 30, "a start")
    wait_for(lambda: run.state().get("step", 0) > saved_at, 240, "a step after the requeue")
    assert jobs.status(run) == "running"
    steps = [row["step"] for row in run.read_metrics()[0] if row["kind"] == "step"]
    assert steps == sorted(set(steps))
    jobs.cancel(run)
    ended_as(run, "stopped")
    wait_for(lambda: not _command("squeue", "--noheader").stdout.strip(), 60, "an empty queue")
    assert jobs.status(run) == "stopped"  # cancelled by a person: it stays out of the queue


def test_submit__error_processes_over_nodes_and_options_that_slurm_refuses(slurm, dataset, monkeypatch):
    run = two_process_run(dataset, "refused")
    monkeypatch.setenv("KIDNEY_SLURM_NODES", "3")
    with pytest.raises(RunError, match="2 processes cannot be spread evenly over “3” nodes"):
        jobs.submit(run, "slurm")
    monkeypatch.setenv("KIDNEY_SLURM_NODES", "2")
    monkeypatch.setenv("KIDNEY_SLURM_OPTIONS", "--partition=nowhere")
    with pytest.raises(
        RunError, match="sbatch refused: .*Invalid partition name specified. Check KIDNEY_SLURM_OPTIONS"
    ):
        jobs.submit(run, "slurm")
    assert jobs.status(run) == "failed"
    assert "partition" in run.state()["message"]
