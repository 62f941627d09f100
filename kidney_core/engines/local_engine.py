"""Training jobs as detached processes of this machine, in order of submission; nothing to install.

The state of a run is in its folder. A job holds the lock of its run from submission on, and the locks of its slots while it
trains. The operating system frees all of them however the process ends, so there is no daemon, and the app may be restarted
or killed at any time. A waiting job has not imported torch yet. With several processes the job becomes torchrun (exec),
which keeps the locks and whose workers end with it.
"""

import os
import platform
import re
import sys
import time
from pathlib import Path

import psutil

from kidney_core.common import child_process, os_errors, settings
from kidney_core.common.errors import KidneyError, RunError
from kidney_core.engines.worker import train_here
from kidney_core.runs import launch, run_lock
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.runs.run_folder import CANCEL_FILE, QUEUED, STOPPED, Run, list_runs

_POLL_S = 0.5
# Lower priority than the app on the same processor: a diagnosis during training waits 0.01 s, not 1 s.
_NICENESS = 10
_STOP_TIMEOUT_S = 10.0
_KILL_TIMEOUT_S = 10.0
_START_TIME_TOLERANCE_S = 1.0  # of the start time that the system reports for a process
_WSL_GPU = Path("/usr/lib/wsl/lib/libcuda.so.1")  # in WSL2, where no GPU is a file in /dev


class LocalEngine:
    """Jobs on this machine."""

    name, title = "local", "this machine"

    def is_available(self) -> bool:
        """Always: it needs nothing."""
        return True

    def submit(self, run: Run, lock: int) -> None:
        """Start a job for a run; the job waits for its turn.

        Raises: RunError when the run asks for more processes than this machine has GPUs.
        """
        require_gpus(run.config())
        (run.folder / CANCEL_FILE).unlink(missing_ok=True)
        run.write_job(self.name, submitted_at=(submitted_at := _last_place(run.folder.parent)))
        run.write_state(QUEUED, **run.standing())
        with (run.folder / "log.txt").open("ab") as log:
            started = child_process.start_detached(
                "kidney_core.engines.local_engine",
                str(run.folder.resolve()),
                output=log,
                keeps=(lock,),
                variables={launch.LOGGED: "1"},
            )
        born = _start_time(psutil.Process(started.pid))
        run.write_job(self.name, str(started.pid), submitted_at=submitted_at, born=born)

    def status(self, run: Run) -> str:
        """The state of a run; "crashed" when its folder says queued or running and no process holds its lock."""
        return run_lock.status(run)

    def cancel(self, run: Run) -> None:
        """Ask a job to stop with a checkpoint; a second request, after ten seconds, kills its whole tree of processes."""
        cancel = run.folder / CANCEL_FILE
        # A request from the future was written before the clock was set back.
        if cancel.exists() and not 0 <= time.time() - cancel.stat().st_mtime <= _STOP_TIMEOUT_S:
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
    """Move a waiting run to the front of the queue.

    Raises: RunError when it does not wait.
    """
    waiting = _waiting(run.folder.parent)
    if run.name not in [other.name for _, other in waiting]:
        raise RunError(f"The run “{run.name}” does not wait in the queue.")
    with os_errors.reraise_as(RunError, run.folder):
        run.write_job(**{**run.job(), "submitted_at": waiting[0][0] - 1})


def process_of(run: Run) -> psutil.Process | None:
    """The living process of a run's job; None for a zombie, or for another process under a reused number."""
    job = run.job()
    try:
        process = psutil.Process(int(job["job_id"]))
        is_same = abs(_start_time(process) - job["born"]) < _START_TIME_TOLERANCE_S
        return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
    except (KeyError, TypeError, ValueError, psutil.Error):
        return None


def _start_time(process: psutil.Process) -> float:
    """When a process started, in seconds since the machine did, which no change of the clock affects."""
    return process.create_time() - psutil.boot_time()


def kill_tree(process: psutil.Process | None) -> None:
    """Kill a process and all its descendants, of any session, and wait until they are gone."""
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
    psutil.wait_procs(tree, timeout=_KILL_TIMEOUT_S)


def device_in_words() -> str:
    """What new jobs of this machine train on, without importing torch, which decides it: see `models.pick_device`."""
    if usable_gpus() or (_WSL_GPU.exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != ""):
        return "an NVIDIA GPU"
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "the Apple GPU (MPS)"
    return "the processor (no NVIDIA or Apple GPU in use)"


def usable_gpus() -> list[str]:
    """GPUs for CUDA_VISIBLE_DEVICES, one per process: the user's choice, otherwise every GPU of the machine."""
    present = sorted(path.name[6:] for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return present if chosen is None else [name for name in chosen.split(",") if name.strip() and present]


def n_slots() -> int:
    """How many runs of one process train at the same time: $KIDNEY_SLOTS, or one per GPU, or one.

    Raises: RunError where the variable is not a whole number above 0.
    """
    slots = settings.SLOTS.value()
    if not slots:
        return max(1, len(usable_gpus()))
    if not slots.isdecimal() or int(slots) < 1:
        raise RunError(f"KIDNEY_SLOTS is “{slots}”, which is not a whole number above 0. Set it to one, such as 2.")
    return int(slots)


def require_gpus(config: TrainingConfig) -> None:
    """Raise RunError for a configuration that needs more GPUs than there are: its run would wait forever."""
    n_gpus = min(len(usable_gpus()), n_slots())
    if n_gpus and config.n_processes > n_gpus and config.device != "cpu":
        raise RunError(
            f"The configuration asks for {config.n_processes} processes, one per GPU, and this machine has {n_gpus}. "
            "Lower n_processes, or choose a cluster."
        )


def _n_slots_of(run: Run) -> int:
    """How many slots a run takes: one per process where each has a GPU; the processor is one slot."""
    return run.config().n_processes if usable_gpus() and run.config().device != "cpu" else 1


def _waiting(folder: Path) -> list[tuple[int, Run]]:
    """(place, run) of the waiting runs of a folder, in order of submission."""
    queued = [run for run in list_runs(folder) if run.state()["state"] == QUEUED and run_lock.is_alive(run)]
    return sorted(((run.job().get("submitted_at", 0), run) for run in queued), key=lambda item: (item[0], item[1].name))


def _last_place(folder: Path) -> int:
    """A place behind all waiting runs, even if the clock was set back since they came: nanoseconds since 1970."""
    return max([time.time_ns(), *(place + 1 for place, _ in _waiting(folder))])


def _wait_for_slots(run: Run) -> list[int] | None:
    """Wait until this run is first in the queue and its slots are free; the slots, or None when cancelled."""
    n_needed = _n_slots_of(run)
    # With more slots than GPUs, two slots may share a GPU, which two processes of one training must not.
    usable = n_slots() if n_needed == 1 else min(n_slots(), len(usable_gpus()))
    while not (run.folder / CANCEL_FILE).exists():
        # This run's own lock is held by this process, so it is in the list as well.
        waiting = _waiting(run.folder.parent)
        if waiting and waiting[0][1].name == run.name:
            held: dict[int, int] = {}
            for slot in range(usable):
                descriptor = run_lock.try_lock(run.folder.parent / f".slot-{slot}.lock", patience_s=0)
                if descriptor is not None:
                    held[slot] = descriptor
                if len(held) == n_needed:
                    return list(held)
            for descriptor in held.values():
                os.close(descriptor)
        time.sleep(_POLL_S)
    return None


def main(arguments: list[str]) -> int:
    """The job's own process: wait for slots, then train."""
    run = Run(Path(arguments[0]))
    os.nice(_NICENESS)
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
        return train_here(run)
    except KidneyError as error:
        if run.state()["state"] == QUEUED:  # the error came before training, which would have written it
            run.fail(str(error))
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
