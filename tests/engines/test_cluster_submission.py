"""A run is submitted to a cluster once, by whichever app comes first; sbatch and the dashboard are stand-ins."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from kidney_core.common.errors import RunError
from kidney_core.engines import jobs
from tests.conftest import tiny_run


@pytest.fixture
def run(tmp_path):
    return tiny_run(tmp_path, "twice")


@pytest.fixture
def slurm_calls(run, tmp_path, monkeypatch):
    """The file to which a slow sbatch copies the job.json that it finds; squeue then lists job 4711."""
    folder = tmp_path / "programs"
    folder.mkdir()
    calls = folder / "calls"
    programs = {
        "sbatch": f"cat {run.folder}/job.json >> {calls}; sleep 0.5; echo 4711",
        "squeue": f"[ ! -e {calls} ] || echo 4711 PENDING",
    }
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (folder / name).chmod(0o700)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return calls


@pytest.fixture
def ray_calls(run, monkeypatch):
    """A list to which a slow dashboard copies the job.json that it finds."""
    calls = []

    class Dashboard(BaseHTTPRequestHandler):
        def do_POST(self):
            calls.append((run.folder / "job.json").read_text(encoding="utf-8"))
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(0.5)
            self._answer({})

        def do_GET(self):
            self._answer({"status": "PENDING"})

        def _answer(self, content):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Dashboard) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("KIDNEY_RAY_ADDRESS", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield calls
        server.shutdown()


def submit_at_once(run, *engines):
    """What each of several submissions at the same time says; None for one that is taken."""

    def submit(engine):
        try:
            jobs.submit(run, engine)
        except RunError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(len(engines)) as pool:
        return list(pool.map(submit, engines))


def check_one_taken(said):
    assert said.count(None) == 1
    assert all("is queued or running already" in each for each in said if each)


def test_slurm_gets_a_run_once_and_job_json_is_there_before(run, slurm_calls):
    check_one_taken(submit_at_once(run, "slurm", "slurm", "slurm"))
    assert json.loads(slurm_calls.read_text(encoding="utf-8"))["engine"] == "slurm"  # one object: sbatch ran once
    assert run.job()["job_id"] == "4711"
    assert jobs.status(run) == "queued"
    with pytest.raises(RunError, match="is queued or running already"):
        jobs.submit(run, "slurm")


def test_ray_gets_a_run_once_and_job_json_is_there_before(run, ray_calls):
    check_one_taken(submit_at_once(run, "ray", "ray", "ray"))
    (job,) = ray_calls
    assert json.loads(job) == run.job()
    assert jobs.status(run) == "queued"
    with pytest.raises(RunError, match="is queued or running already"):
        jobs.submit(run, "ray")


def test_two_clusters_do_not_get_the_same_run(run, slurm_calls, ray_calls):
    check_one_taken(submit_at_once(run, "slurm", "ray"))
    assert slurm_calls.exists() + len(ray_calls) == 1


def test_a_job_that_another_app_submitted_is_not_crashed(run, slurm_calls):
    run.write_job("slurm", "4711", submitted_at=time.time_ns())
    assert jobs.status(run) == "crashed"  # the empty queue is now remembered for two seconds
    slurm_calls.touch()
    run.write_job("slurm", "4711", submitted_at=time.time_ns())
    assert jobs.status(run) == "queued"


def test_submit__error_of_the_cluster_is_the_state_of_the_run(run, ray_calls, monkeypatch):
    monkeypatch.setenv("KIDNEY_RAY_ADDRESS", "http://127.0.0.1:9")
    with pytest.raises(RunError, match="cannot be reached"):
        jobs.submit(run, "ray")
    assert jobs.status(run) == "failed"
    assert "cannot be reached" in jobs.message(run)
