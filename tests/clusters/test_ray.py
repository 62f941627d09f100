"""A real Ray cluster on this machine, with a token; the app side of it is plain HTTP."""

import importlib.util
import subprocess
import sys

import psutil
import pytest

from kidney_core.common.errors import RunError
from kidney_core.engines import jobs
from tests.clusters.cluster import RAY_VENV, ray_cluster, up_or_skip, wait_for
from tests.clusters.conftest import compare, ended_as, two_process_run
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(
        not (RAY_VENV / "bin" / "ray").exists(), reason=f"Ray is not installed in {RAY_VENV}; see make test-engines"
    ),
]
TOKEN = "a-token-of-thirty-two-letters-xx"


@pytest.fixture(scope="module")
def cluster():
    with up_or_skip(ray_cluster(token=TOKEN), "Ray") as address:
        yield address


@pytest.fixture
def ray(cluster, monkeypatch):
    """The engine, set up for the cluster."""
    monkeypatch.setenv("KIDNEY_RAY_ADDRESS", cluster)
    monkeypatch.setenv("KIDNEY_RAY_TOKEN", TOKEN)
    monkeypatch.setenv("KIDNEY_RAY_PYTHON", str(RAY_VENV / "bin" / "python"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def workers():
    """The processes of Ray Train's workers."""
    return [process for process in psutil.process_iter(["cmdline"]) if _is_worker(process.info["cmdline"])]


def _is_worker(command):
    return bool(command) and command[0].startswith("ray::") and "TrainWorker" in command[0]


def test_the_app_needs_no_ray():
    assert importlib.util.find_spec("ray") is None


def test_two_workers_give_the_curve_of_one_machine(ray, local_run, dataset):
    run = two_process_run(dataset, "ray")
    jobs.submit(run, "ray")
    ended_as(run, "finished")
    assert run.job()["engine"] == "ray"
    assert compare(local_run, run) == (0.0, 0.0)
    assert "epoch 6" in run.log_tail()


def test_a_job_survives_the_app_waits_its_turn_and_stops_with_a_checkpoint(ray, dataset):
    first, second = (two_process_run(dataset, name, n_epochs=400) for name in ("first", "second"))
    code = f"from kidney_core.engines import jobs; from kidney_core.runs.run_folder import Run; from pathlib import Path; jobs.submit(Run(Path({str(first.folder)!r})), 'ray')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    wait_for(lambda: first.state().get("step", 0) > 0, what="the first step")
    jobs.submit(second, "ray")  # both processors are taken
    assert [jobs.status(run) for run in (first, second)] == ["running", "queued"]
    assert [jobs.queue_place(run) for run in (first, second)] == [None, 1]
    with pytest.raises(RunError, match="is queued or running already"):
        jobs.submit(second)
    jobs.cancel(second)
    assert jobs.status(second) == "stopped"
    jobs.cancel(first)
    ended_as(first, "stopped")
    stopped_at = first.state()["step"]
    wait_for(lambda: not workers(), 60, "the end of all workers")
    jobs.submit(first)  # on the engine that worked on it before
    wait_for(lambda: first.state().get("step", 0) > stopped_at, what="a step after the resumption")
    jobs.cancel(first)
    ended_as(first, "stopped")


def test_a_killed_worker_is_started_again_and_the_run_is_the_whole_one(ray, local_run, dataset):
    run = two_process_run(dataset, "killed")
    jobs.submit(run, "ray")
    wait_for(lambda: (run.folder / "last.safetensors").exists() and len(workers()) == 2, what="a checkpoint")
    workers()[1].kill()
    ended_as(run, "finished")
    assert compare(local_run, run) == (0.0, 0.0)


def test_a_killed_driver_is_a_crash_that_resumes(ray, dataset):
    run = two_process_run(dataset, "crashed", n_epochs=400)
    jobs.submit(run, "ray")
    wait_for(lambda: run.state().get("step", 0) > 0, what="the first step")
    for process in psutil.process_iter(["cmdline"]):
        if (
            "kidney_core.engines.ray_entry" in (process.info["cmdline"] or [])
            and str(run.folder.resolve()) in process.cmdline()
        ):
            process.kill()
    ended_as(run, "crashed")
    wait_for(lambda: not workers(), 60, "the end of all workers")
    seen = run.state()["step"]
    jobs.submit(run)
    wait_for(lambda: run.state().get("step", 0) > seen, what="a step after the resumption")
    jobs.cancel(run)
    ended_as(run, "stopped")


def test_a_failure_in_words_is_not_tried_again(ray, tmp_path):
    run = two_process_run(tmp_path / "nowhere", "failing")
    jobs.submit(run, "ray")
    ended_as(run, "failed")
    assert "There is no folder" in run.state()["message"]


def test_submit__error_wrong_token_and_no_cluster(ray, dataset, monkeypatch):
    run = two_process_run(dataset, "refused")
    monkeypatch.setenv("KIDNEY_RAY_TOKEN", "x" * 32)
    with pytest.raises(RunError, match="refused .40[13].*Set KIDNEY_RAY_TOKEN"):
        jobs.submit(run, "ray")
    assert jobs.status(run) == "failed"
    monkeypatch.setenv("KIDNEY_RAY_ADDRESS", "http://127.0.0.1:9")
    with pytest.raises(RunError, match="cannot be reached"):
        jobs.submit(run, "ray")
    assert "cannot be reached" in run.state()["message"]
    monkeypatch.setenv("KIDNEY_RAY_ADDRESS", "file:///etc/passwd")
    with pytest.raises(RunError, match="must be the address of a Ray dashboard"):
        jobs.submit(run, "ray")
