"""Jobs are real processes: they queue, survive their parent, stop, crash and go on."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from kidney_core.common.errors import RunError
from kidney_core.engines import jobs, local_engine
from kidney_core.runs import run_folder, run_lock
from tests.conftest import ROOT, tiny_run


def wait_for(condition, seconds=90.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("the condition did not come true in time")


def process_of(run):
    """The process that works on a run, found by its command line."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "kidney_core.engines.local_engine" in command and str(run.folder.resolve()) in command:
            return process
    return None


@pytest.fixture(autouse=True)
def no_orphans():
    yield
    for run in run_folder.list_runs():
        process = process_of(run)
        if process:
            process.kill()


@pytest.mark.slow
def test_jobs_run_one_after_the_other_and_finish(small_dataset):
    made = [tiny_run(small_dataset, f"run-{i}", n_epochs=1) for i in range(3)]
    for run in made:
        jobs.submit(run)
        assert run_lock.status(run) in ("queued", "running")
    wait_for(lambda: any(run_lock.status(run) == "running" for run in made))
    assert [run_lock.status(run) for run in made] == ["running", "queued", "queued"]
    assert [jobs.queue_place(run) for run in made] == [None, 1, 2]
    local_engine.move_to_front(made[2])
    assert [jobs.queue_place(run) for run in made] == [None, 2, 1]
    with pytest.raises(RunError, match="does not wait in the queue"):
        local_engine.move_to_front(made[0])
    # A waiting job is a bare interpreter; torch would take ten times as much.
    assert process_of(made[2]).memory_info().rss < 30 * 1024**2
    wait_for(lambda: all(run_lock.status(run) == "finished" for run in made))
    ended = [made[i].state()["updated_at"] for i in (0, 2, 1)]
    assert ended == sorted(ended)


@pytest.mark.slow
def test_a_job_survives_the_process_that_submitted_it(small_dataset):
    run = tiny_run(small_dataset, n_epochs=1)
    code = f"from kidney_core.engines import jobs; from kidney_core.runs.run_folder import Run; from pathlib import Path; jobs.submit(Run(Path({str(run.folder)!r})))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    wait_for(lambda: run_lock.status(run) == "finished")


@pytest.mark.slow
def test_a_killed_job_is_crashed_the_next_goes_on_and_it_resumes(small_dataset):
    first, second = tiny_run(small_dataset, "first", n_epochs=400), tiny_run(small_dataset, "second", n_epochs=1)
    jobs.submit(first)
    jobs.submit(second)
    wait_for(lambda: first.state().get("step", 0) > 0)
    os.kill(process_of(first).pid, signal.SIGKILL)
    wait_for(lambda: run_lock.status(first) == "crashed")
    wait_for(lambda: run_lock.status(second) == "finished")
    jobs.submit(first)
    wait_for(lambda: run_lock.status(first) == "running")
    jobs.cancel(first)
    wait_for(lambda: run_lock.status(first) == "stopped")


@pytest.mark.slow
def test_stop_writes_a_checkpoint_and_resume_goes_on_from_it(small_dataset):
    run = tiny_run(small_dataset, n_epochs=500)
    jobs.submit(run)
    wait_for(lambda: run.state().get("step", 0) > 20)
    jobs.cancel(run)
    wait_for(lambda: run_lock.status(run) == "stopped")
    stopped_at = run.state()["step"]
    assert (run.folder / "last.safetensors").is_file()
    jobs.submit(run)
    wait_for(lambda: run_lock.status(run) == "running" and run.state().get("step", 0) > stopped_at)
    jobs.cancel(run)
    wait_for(lambda: run_lock.status(run) == "stopped")
    steps = [row["step"] for row in run.read_metrics()[0] if row["kind"] == "step"]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_job_that_was_asked_to_stop_says_so(small_dataset, monkeypatch, state):
    run = tiny_run(small_dataset)
    monkeypatch.setattr(jobs, "status", lambda _: state)
    (run.folder / run_folder.CANCEL_FILE).touch()
    assert jobs.message(run).startswith("stopping")


@pytest.mark.slow
def test_a_waiting_job_can_be_dropped_from_the_queue(small_dataset):
    first, second = tiny_run(small_dataset, "first", n_epochs=500), tiny_run(small_dataset, "second")
    jobs.submit(first)
    jobs.submit(second)
    wait_for(lambda: run_lock.status(first) == "running")
    jobs.cancel(second)
    wait_for(lambda: run_lock.status(second) == "stopped")
    assert run_lock.status(first) == "running"
    jobs.cancel(first)
    wait_for(lambda: run_lock.status(first) == "stopped")


def test_a_failed_job_says_why_in_words(tmp_path):
    run = tiny_run(tmp_path / "nowhere")
    jobs.submit(run)
    wait_for(lambda: run_lock.status(run) == "failed" and not run_lock.is_alive(run))
    assert "There is no folder" in run.state()["message"]
    assert "error: There is no folder" in run.log_tail()


def test_looking_at_a_crashed_run_from_many_threads_never_calls_it_alive(tmp_path):
    run = tiny_run(tmp_path, "crashed")
    run.write_state("running")
    os.close(run_lock.try_lock(run.folder / run_lock.LOCK_FILE))
    with ThreadPoolExecutor(4) as pool:
        seen = set(pool.map(lambda _: run_lock.status(run), range(4000)))
    assert seen == {"crashed"}


@pytest.mark.slow
def test_lookers_do_not_keep_anybody_from_a_run(tmp_path):
    run = tiny_run(tmp_path, "crashed")
    os.close(run_lock.try_lock(run.folder / run_lock.LOCK_FILE))
    done = threading.Event()

    def look():
        while not done.is_set():
            run_lock.is_alive(run)

    with ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            pool.submit(look)
        try:
            for _ in range(200):
                with run_lock.hold(run):
                    assert run_lock.is_alive(run)
        finally:
            done.set()


@pytest.mark.slow
def test_a_look_may_last_but_another_worker_is_told_at_once(tmp_path):
    """A thread that looks can be held up between taking and leaving the lock, while another one imports."""
    run = tiny_run(tmp_path, "crashed")
    look = os.open(run.folder / run_lock.LOCK_FILE, os.O_RDONLY | os.O_CREAT, 0o644)
    fcntl.flock(look, fcntl.LOCK_SH)
    left = threading.Event()

    def leave():
        left.set()  # before the lock is free, so that whoever gets it finds it set
        os.close(look)

    threading.Timer(1.0, leave).start()
    with run_lock.hold(run):
        assert left.is_set()
        with pytest.raises(RunError, match="Another process is working"), run_lock.hold(run):
            pass


def test_jobs_share_the_gpus_that_the_user_left_visible(monkeypatch):
    monkeypatch.setattr(
        local_engine.Path, "glob", lambda self, pattern: [local_engine.Path(f"/dev/nvidia{i}") for i in (0, 1)]
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert local_engine.usable_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert local_engine.usable_gpus() == ["1"]
    assert jobs.n_slots() == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert jobs.device_in_words() in ("the processor (no NVIDIA or Apple GPU in use)", "the Apple GPU (MPS)")


@pytest.mark.slow
def test_submit__error_while_running_and_when_finished(small_dataset):
    run = tiny_run(small_dataset, n_epochs=500)
    jobs.submit(run)
    with pytest.raises(RunError, match="is queued or running already"):
        jobs.submit(run)
    jobs.cancel(run)
    wait_for(lambda: run_lock.status(run) == "stopped")
    run.write_state("finished")
    with pytest.raises(RunError, match="is finished"):
        jobs.submit(run)


@pytest.mark.slow
def test_the_command_line_refuses_a_run_that_a_job_works_on(small_dataset):
    run = tiny_run(small_dataset, n_epochs=500)
    jobs.submit(run)
    done = subprocess.run(
        [sys.executable, "train.py", "--resume", str(run.folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Another process is working on the run" in done.stderr
    jobs.cancel(run)
    wait_for(lambda: run_lock.status(run) == "stopped")


def test_n_slots_can_be_set(monkeypatch):
    monkeypatch.setenv("KIDNEY_SLOTS", "3")
    assert jobs.n_slots() == 3
    monkeypatch.setenv("KIDNEY_SLOTS", "")
    assert jobs.n_slots() >= 1


@pytest.mark.parametrize("slots", ["abc", "0", "-1", "1.5"])
def test_submit__error_slots_that_are_no_number(tmp_path, monkeypatch, slots):
    monkeypatch.setenv("KIDNEY_SLOTS", slots)
    with pytest.raises(RunError, match=f"KIDNEY_SLOTS is “{slots}”, which is not a whole number above 0"):
        jobs.submit(tiny_run(tmp_path))


def test_the_device_in_words_is_the_one_that_torch_will_take(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(local_engine, "usable_gpus", list)
    monkeypatch.setattr(local_engine, "_WSL_GPU", tmp_path)
    assert jobs.device_in_words() == "an NVIDIA GPU"
    monkeypatch.setattr(local_engine, "_WSL_GPU", tmp_path / "none")
    monkeypatch.setattr(local_engine.sys, "platform", "darwin")
    monkeypatch.setattr(local_engine.platform, "machine", lambda: "arm64")
    assert jobs.device_in_words() == "the Apple GPU (MPS)"
