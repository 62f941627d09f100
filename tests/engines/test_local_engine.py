"""Several processes as one job of this machine: they are one tree, which stops, dies and goes on as a whole."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from kidney_core.common import settings
from kidney_core.common.errors import RunError
from kidney_core.engines import jobs, local_engine
from kidney_core.runs import launch, run_folder, run_lock
from tests.conftest import ROOT, tiny_run
from tests.engines.test_jobs import wait_for


@pytest.fixture(autouse=True)
def no_orphans():
    yield
    for run in run_folder.list_runs():
        local_engine.kill_tree(local_engine.process_of(run))


def two_processes(data, name="two", **changes):
    return tiny_run(data, name, **{"n_processes": 2, "n_epochs": 500, **changes})


def workers_of(run):
    """Rank -> process of the workers of a run."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if launch.TRAIN_MODULE in command and str(run.folder.resolve()) in command and "--standalone" not in command:
            found[int(process.environ()["RANK"])] = process
    return found


def started(run):
    """Submit a run and wait until both its processes train."""
    jobs.submit(run, "local")
    wait_for(lambda: run.state().get("step", 0) > 0)
    assert sorted(workers_of(run)) == [0, 1]
    return workers_of(run)


@pytest.mark.slow
def test_two_processes_stop_together_with_a_checkpoint_and_resume(small_dataset):
    run = two_processes(small_dataset)
    workers = started(run)
    assert len({os.getsid(process.pid) for process in workers.values()}) == 2, "torchrun's workers have own sessions"
    jobs.cancel(run)
    wait_for(lambda: jobs.status(run) == "stopped" and not run_lock.is_alive(run))
    assert not workers_of(run)
    stopped_at = run.state()["step"]
    jobs.submit(run)
    wait_for(lambda: run.state().get("step", 0) > stopped_at)
    jobs.cancel(run)
    wait_for(lambda: jobs.status(run) == "stopped")


@pytest.mark.slow
def test_workers_die_with_a_killed_launcher(small_dataset):
    """kill -9 leaves nobody time to clean up: the system does it."""
    run = two_processes(small_dataset)
    workers = started(run)
    local_engine.process_of(run).kill()
    wait_for(lambda: jobs.status(run) == "crashed", 5)
    assert psutil.wait_procs(list(workers.values()), timeout=5)[1] == []


@pytest.mark.slow
def test_a_worker_whose_launcher_died_before_it_could_notice_ends(small_dataset):
    """Also where the run was resumed meanwhile, so that somebody holds it: the launcher is another one."""
    run = two_processes(small_dataset)
    told = {"RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x", launch.HELD_RUN: str(run.folder.resolve())}
    with run_lock.hold(run):
        done = subprocess.run(
            [sys.executable, "train.py", "--resume", str(run.folder)],
            cwd=ROOT,
            env={**os.environ, **told},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1
    assert "The process that started this one of “two” is gone" in done.stderr


@pytest.mark.slow
def test_a_killed_worker_is_a_crash_of_the_whole_job(small_dataset):
    run = two_processes(small_dataset)
    workers = started(run)
    workers[1].kill()
    wait_for(lambda: jobs.status(run) == "crashed", 60)
    wait_for(lambda: not workers_of(run), 5)


@pytest.mark.slow
def test_a_job_that_does_not_listen_is_killed_with_its_whole_tree(small_dataset, monkeypatch):
    """Stopped processes (SIGSTOP) see neither a cancel file nor SIGTERM."""
    run = two_processes(small_dataset)
    workers = started(run)
    for process in workers.values():
        process.suspend()
    jobs.cancel(run)
    time.sleep(0.5)
    assert jobs.status(run) == "running"
    monkeypatch.setattr(local_engine, "_STOP_TIMEOUT_S", 0.1)
    jobs.cancel(run)
    assert jobs.status(run) == "stopped"
    assert psutil.wait_procs(list(workers.values()), timeout=5)[1] == []


def test_a_zombie_and_a_reused_number_are_no_job(tmp_path):
    run = tiny_run(tmp_path, "over")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    born = psutil.Process(ended.pid).create_time() - psutil.boot_time()
    wait_for(lambda: psutil.Process(ended.pid).status() == psutil.STATUS_ZOMBIE, 10)
    run.write_job("local", str(ended.pid), born=born)
    assert psutil.pid_exists(ended.pid)
    assert local_engine.process_of(run) is None
    ended.wait()
    run.write_job("local", str(os.getpid()), born=born - 1000)  # the number is this process's now
    assert local_engine.process_of(run) is None
    run.write_job("local", str(os.getpid()), born=psutil.Process().create_time() - psutil.boot_time())
    assert local_engine.process_of(run).pid == os.getpid()
    run.write_job("local")  # or what follows this test would kill it


def test_a_dead_run_is_crashed_or_what_it_was_asked_to_be(tmp_path):
    run = tiny_run(tmp_path, "dead")
    run.write_state("running")
    assert jobs.status(run) == "crashed"
    (run.folder / "cancel").touch()
    assert jobs.status(run) == "stopped"


@pytest.mark.slow
def test_the_command_line_trains_in_two_processes(small_dataset):
    options = ["--data", str(small_dataset), "--architecture", "test_resnet", "--init", "scratch", "--trainable", "all"]
    options += ["--image-size", "32", "--epochs", "1", "--n-processes", "2", "--name", "cli"]
    done = subprocess.run([sys.executable, "train.py", *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run = run_folder.Run(settings.runs_folder() / "cli")
    assert run.state()["state"] == "finished"
    assert done.stdout.count("epoch 1: loss") == 1
    assert run.log_tail().count("epoch 1: loss") == 1


@pytest.mark.slow
def test_sigterm_to_the_command_line_stops_its_workers(small_dataset):
    run = two_processes(small_dataset)
    shell = subprocess.Popen(
        [sys.executable, "train.py", "--resume", str(run.folder)], cwd=ROOT, stderr=subprocess.PIPE
    )
    wait_for(lambda: run.state().get("step", 0) > 0)
    shell.send_signal(signal.SIGTERM)
    shell.communicate(timeout=60)
    assert run.state()["state"] == "stopped"
    assert not workers_of(run)


def test_a_run_of_two_processes_takes_two_gpus(small_dataset, monkeypatch):
    monkeypatch.setattr(local_engine, "usable_gpus", lambda: ["4", "7"])
    assert local_engine._n_slots_of(two_processes(small_dataset, "gpu")) == 2
    assert local_engine._n_slots_of(two_processes(small_dataset, "cpu", device="cpu")) == 1
    with pytest.raises(RunError, match="asks for 3 processes, one per GPU, and this machine has 2"):
        jobs.submit(tiny_run(small_dataset, "many", n_processes=3), "local")


def test_the_engine_of_new_jobs_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("KIDNEY_ENGINE", raising=False)
    assert jobs.default_engine() == "local"
    monkeypatch.setenv("KIDNEY_ENGINE", "slurm")
    assert jobs.default_engine() == "slurm"
    monkeypatch.setenv("KIDNEY_ENGINE", "pbs")
    with pytest.raises(RunError, match="no engine “pbs”. Set KIDNEY_ENGINE to one of local, ray, slurm"):
        jobs.default_engine()
