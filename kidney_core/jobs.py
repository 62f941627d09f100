"""Training runs as detached processes of this machine, first come first served.

The run's folder is the truth. A job holds its run's lock from the moment it is submitted, and a
slot's lock while it trains; both are freed by the operating system however the process ends, so
there is no daemon, and the app may be restarted or killed at any time. A waiting job has not
imported torch yet.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TextIO

from kidney_core import allocator, run_lock
from kidney_core.errors import KidneyError, RunError
from kidney_core.files import write_json
from kidney_core.runs import CANCEL_FILE, CRASHED, FAILED, FINISHED, QUEUED, STOPPED, Run, list_runs

JOB_FILE = "job.json"
_POLL_S = 0.5
_YIELDS = (
    10  # how much a job stands back for the app on the same processor: a diagnosis beside it waits 0.01 s, not 1 s
)
_SECONDS_TO_LEAVE = 10.0
_started: list[subprocess.Popen] = []


def submit(run: Run) -> None:
    """Start a job for a new, stopped, failed or crashed run; it waits for its turn by itself.

    Raises: RunError when the run is finished or somebody works on it.
    """
    check_unfinished(run)
    descriptor = _lock_of(run)
    if descriptor is None:
        raise RunError(f"The run “{run.name}” is queued or running already.")
    try:
        (run.folder / CANCEL_FILE).unlink(missing_ok=True)
        run.write_state(QUEUED, **run.standing())
        write_json(run.folder / JOB_FILE, {"submitted_at": time.time_ns()})
        with (run.folder / "log.txt").open("ab") as log:
            # The job inherits the lock: there is no moment at which nobody holds it.
            started = subprocess.Popen(
                [sys.executable, "-m", "kidney_core.jobs", str(run.folder.resolve())],
                cwd=Path(__file__).resolve().parent.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(descriptor,),
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        # Asking after those that ended lets the system forget them: no zombies in a long-lived app.
        _started[:] = [process for process in _started if process.poll() is None] + [started]
    finally:
        os.close(descriptor)


def check_unfinished(run: Run) -> None:
    """Raise RunError for a finished run: going on with it would put its results at risk."""
    if run.state()["state"] == FINISHED:
        raise RunError(f"The run “{run.name}” is finished. Start a new run to train longer.")


def _lock_of(run: Run) -> int | None:
    """The run's lock; a process that has just stopped or failed is given a moment to leave."""
    path = run.folder / run_lock.LOCK_FILE
    if run.state()["state"] in (STOPPED, FAILED):
        return run_lock.try_lock(path, patience_s=_SECONDS_TO_LEAVE)
    return run_lock.try_lock(path)


def cancel(run: Run) -> None:
    """Ask a queued or running job to stop; it writes a checkpoint first and can be resumed."""
    (run.folder / CANCEL_FILE).touch()
    if run_lock.status(run) == CRASHED:
        run.write_state(STOPPED)


def queue_place(run: Run) -> int | None:
    """1 for the next run to start, 2 for the one after it; None for a run that does not wait."""
    waiting = _waiting(run.folder.parent)
    names = [other.name for _, other in waiting]
    return names.index(run.name) + 1 if run.name in names else None


def n_slots() -> int:
    """How many runs train at the same time: $KIDNEY_SLOTS, or one a GPU, or one."""
    asked = os.environ.get("KIDNEY_SLOTS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else max(1, len(_usable_gpus()))


@contextmanager
def logged(run: Run) -> Iterator[None]:
    """Write what the block prints, and the traceback that ends it, to the run's log as well as to the screen."""
    with (run.folder / "log.txt").open("a") as log, redirect_stdout(_Tee(sys.stdout, log)):
        try:
            yield
        except BaseException:
            traceback.print_exc(file=log)
            raise


class _Tee:
    """A text stream that writes to two."""

    def __init__(self, *streams: TextIO) -> None:
        self.streams = streams

    def write(self, text: str) -> int:
        for stream in self.streams:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self.streams:
            stream.flush()


def has_gpu() -> bool:
    """True where the machine has an NVIDIA GPU; asks the system, not torch."""
    return bool(_usable_gpus())


def work(run: Run, *, show_progress: bool = False) -> int:
    """Train a run whose lock this process holds; the exit status, 0 also when stopped on request."""
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: asked.append(received))
    allocator.keep_freed_memory()
    from kidney_core import training  # only now: torch takes seconds and 300 MB

    print(f"run {run.folder}", flush=True)
    state = training.train(run, should_stop=lambda: bool(asked), show_progress=show_progress)
    print(f"{state}: {run.folder}", flush=True)
    return 0


def _usable_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may name for one job each: the user's choice, else every GPU of the machine."""
    present = sorted(path.name[6:] for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    return present if asked is None else [name for name in asked.split(",") if name.strip() and present]


def _submitted_at(run: Run) -> int:
    try:
        return int(json.loads((run.folder / JOB_FILE).read_text())["submitted_at"])
    except (OSError, ValueError, KeyError):
        return 0


def _waiting(folder: Path) -> list[tuple[int, Run]]:
    """The live queued runs of a folder, in the order of submission."""
    queued = [run for run in list_runs(folder) if run.state()["state"] == QUEUED and run_lock.is_alive(run)]
    return sorted(((_submitted_at(run), run) for run in queued), key=lambda item: (item[0], item[1].name))


def _wait_for_slot(run: Run) -> int | None:
    """Wait until this run is first in the queue and a slot is free; the slot, or None when cancelled."""
    while not (run.folder / CANCEL_FILE).exists():
        # This run's own lock is held by this process, so it is in the list as well.
        waiting = _waiting(run.folder.parent)
        if waiting and waiting[0][1].name == run.name:
            for slot in range(n_slots()):
                if run_lock.try_lock(run.folder.parent / f".slot-{slot}.lock", patience_s=0) is not None:
                    return slot
        time.sleep(_POLL_S)
    return None


def main(arguments: list[str]) -> int:
    """The job's own process: wait for a slot, then train."""
    run = Run(Path(arguments[0]))
    os.nice(_YIELDS)
    try:
        slot = _wait_for_slot(run)
        if slot is None:
            run.write_state(STOPPED, **run.standing())
            return 0
        gpus = _usable_gpus()
        if gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
        return work(run)
    except KidneyError as error:  # the run's state says so already
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
