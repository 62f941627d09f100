"""Training runs as detached processes of this machine, first come first served; nothing to install.

The run's folder is the truth. A job holds its run's lock from the moment it is submitted, and the locks of its slots
while it trains; all are freed by the operating system however the process ends, so there is no daemon, and the app may
be restarted or killed at any time. A waiting job has not imported torch yet. With several processes the job becomes
torchrun (exec), which keeps the locks and whose workers die with it.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil

from kidney_core import launch, run_lock, shortage
from kidney_core.errors import KidneyError, RunError
from kidney_core.runs import CANCEL_FILE, FAILED, QUEUED, STOPPED, Run, list_runs
from kidney_core.work import check_unfinished, work

_POLL_S = 0.5
# How much a job stands back for the app on the same processor: a diagnosis beside it waits 0.01 s, not 1 s.
_YIELDS = 10
_SECONDS_TO_LEAVE = 10.0
_SECONDS_TO_DIE = 10.0
_SAME_START_S = 1.0  # how exactly the system tells when a process started
_started: list[subprocess.Popen] = []


class LocalEngine:
    """Jobs of this machine."""

    name, title = "local", "this machine"

    def is_available(self) -> bool:
        """Always: it needs nothing."""
        return True

    def submit(self, run: Run) -> None:
        """Start a job for a run; it waits for its turn by itself.

        Raises: RunError when somebody works on the run, or it asks for more processes than this machine has GPUs.
        """
        _check_processes(run)
        descriptor = _lock_of(run)
        if descriptor is None:
            raise RunError(f"The run “{run.name}” is queued or running already. Wait for it, or stop it first.")
        try:
            check_unfinished(run)  # another app's job may have ended between its first look and the lock
            (run.folder / CANCEL_FILE).unlink(missing_ok=True)
            run.write_job(self.name, submitted_at=(submitted_at := _last_place(run.folder.parent)))
            run.write_state(QUEUED, **run.standing())
            with (run.folder / "log.txt").open("ab") as log:
                # The job inherits the lock: there is no moment at which nobody holds it.
                started = subprocess.Popen(
                    [sys.executable, "-m", "kidney_core.local_engine", str(run.folder.resolve())],
                    cwd=launch.ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(descriptor,),
                    env={**os.environ, "PYTHONUNBUFFERED": "1", launch.LOGGED: "1"},
                )
            born = _born(psutil.Process(started.pid))
            run.write_job(self.name, str(started.pid), submitted_at=submitted_at, born=born)
            # Asking after those that ended lets the system forget them: no zombies in a long-lived app.
            _started[:] = [process for process in _started if process.poll() is None] + [started]
        finally:
            os.close(descriptor)

    def status(self, run: Run) -> str:
        """The run's state; "crashed" when its folder says queued or running and no process holds its lock."""
        return run_lock.status(run)

    def cancel(self, run: Run) -> None:
        """Ask a job to stop with a checkpoint; asked again ten seconds later, its whole tree of processes is killed."""
        cancel = run.folder / CANCEL_FILE
        # A request from the future was written before the clock was set back.
        if cancel.exists() and not 0 <= time.time() - cancel.stat().st_mtime <= _SECONDS_TO_LEAVE:
            kill_tree(process_of(run))
        elif not cancel.exists():
            cancel.touch()
        if run_lock.status(run) == STOPPED:
            run.write_state(STOPPED, **run.standing())

    def queue_place(self, run: Run) -> int | None:
        """1 for the next run to start, 2 for the one after it; None for a run that does not wait."""
        names = [other.name for _, other in _waiting(run.folder.parent)]
        return names.index(run.name) + 1 if run.name in names else None


def move_to_front(run: Run) -> None:
    """Let a queued run start before all others that wait.

    Raises: RunError when it does not wait.
    """
    waiting = _waiting(run.folder.parent)
    if run.name not in [other.name for _, other in waiting]:
        raise RunError(f"The run “{run.name}” does not wait in the queue.")
    with shortage.told_as(RunError, run.folder):
        run.write_job(**{**run.job(), "submitted_at": waiting[0][0] - 1})


def process_of(run: Run) -> psutil.Process | None:
    """The living process of a run's job; a zombie, or another process under a reused number, is none."""
    job = run.job()
    try:
        process = psutil.Process(int(job["job_id"]))
        is_same = abs(_born(process) - job["born"]) < _SAME_START_S
        return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
    except (KeyError, TypeError, ValueError, psutil.Error):
        return None


def _born(process: psutil.Process) -> float:
    """When a process started, in seconds since the machine did: its time of day moves with the clock."""
    return process.create_time() - psutil.boot_time()


def kill_tree(process: psutil.Process | None) -> None:
    """End a process and all that descend from it, in whatever session they live; wait until they are gone."""
    if process is None:
        return
    try:
        tree = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for each in tree:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(tree, timeout=_SECONDS_TO_DIE)


def has_gpu() -> bool:
    """True where the machine has an NVIDIA GPU; asks the system, not torch."""
    return bool(usable_gpus())


def usable_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may name for one process each: the user's choice, else every GPU of the machine."""
    present = sorted(path.name[6:] for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    return present if asked is None else [name for name in asked.split(",") if name.strip() and present]


def n_slots() -> int:
    """How many runs of one process train at the same time: $KIDNEY_SLOTS, or one a GPU, or one."""
    asked = os.environ.get("KIDNEY_SLOTS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else max(1, len(usable_gpus()))


def _check_processes(run: Run) -> None:
    """Raise RunError for a run that would wait for ever: it needs more GPUs than there are."""
    n_processes, n_gpus = run.config().n_processes, min(len(usable_gpus()), n_slots())
    if n_gpus and n_processes > n_gpus and run.config().device != "cpu":
        raise RunError(
            f"The run “{run.name}” asks for {n_processes} processes, one a GPU, and this machine has {n_gpus}. "
            "Lower n_processes, or choose a cluster."
        )


def _n_slots_of(run: Run) -> int:
    """How many slots a run takes: one a process where processes have a GPU each; the processor is one slot."""
    return run.config().n_processes if usable_gpus() and run.config().device != "cpu" else 1


def _lock_of(run: Run) -> int | None:
    """The run's lock; a process that has just stopped or failed is given a moment to leave."""
    path = run.folder / run_lock.LOCK_FILE
    if run.state()["state"] in (STOPPED, FAILED):
        return run_lock.try_lock(path, patience_s=_SECONDS_TO_LEAVE)
    return run_lock.try_lock(path)


def _waiting(folder: Path) -> list[tuple[int, Run]]:
    """The live queued runs of a folder, in the order of submission."""
    queued = [run for run in list_runs(folder) if run.state()["state"] == QUEUED and run_lock.is_alive(run)]
    return sorted(((run.job().get("submitted_at", 0), run) for run in queued), key=lambda item: (item[0], item[1].name))


def _last_place(folder: Path) -> int:
    """A place behind all that wait, also where the clock was set back since they came: nanoseconds since 1970."""
    return max([time.time_ns(), *(place + 1 for place, _ in _waiting(folder))])


def _wait_for_slots(run: Run) -> list[int] | None:
    """Wait until this run is first in the queue and its slots are free; the slots, or None when cancelled."""
    n_wanted = _n_slots_of(run)
    # With more slots than GPUs, two slots may be one GPU's: that is no place for two processes of one training.
    usable = n_slots() if n_wanted == 1 else min(n_slots(), len(usable_gpus()))
    while not (run.folder / CANCEL_FILE).exists():
        # This run's own lock is held by this process, so it is in the list as well.
        waiting = _waiting(run.folder.parent)
        if waiting and waiting[0][1].name == run.name:
            held: dict[int, int] = {}
            for slot in range(usable):
                descriptor = run_lock.try_lock(run.folder.parent / f".slot-{slot}.lock", patience_s=0)
                if descriptor is not None:
                    held[slot] = descriptor
                if len(held) == n_wanted:
                    return list(held)
            for descriptor in held.values():
                os.close(descriptor)
        time.sleep(_POLL_S)
    return None


def main(arguments: list[str]) -> int:
    """The job's own process: wait for slots, then train."""
    run = Run(Path(arguments[0]))
    os.nice(_YIELDS)
    try:
        slots = _wait_for_slots(run)
        if slots is None:
            run.write_state(STOPPED, **run.standing())
            return 0
        gpus = usable_gpus()
        if gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[slot % len(gpus)] for slot in slots)
        n_processes = run.config().n_processes
        if n_processes > 1:
            command = launch.torchrun(run, n_processes)
            os.execve(command[0], command, launch.environment(run, n_processes))
        return work(run)
    except KidneyError as error:
        if run.state()["state"] == QUEUED:  # it did not come to train, which writes its own last word
            run.fail(str(error))
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
