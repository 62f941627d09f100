"""Locks of runs: every process that works on a run holds an operating-system lock on its folder.

The lock vanishes with the process, however it ends, so no process number has to be trusted: a
reused number or a zombie holds no lock. `fcntl.flock` survives exec and is inherited.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kidney_core.common import os_errors
from kidney_core.common.errors import RunError
from kidney_core.runs import launch
from kidney_core.runs.run_folder import CANCEL_FILE, CRASHED, QUEUED, RUNNING, STOPPED, Run

LOCK_FILE = "lock"


PATIENCE_S = 0.2  # for a process that has just finished with a run
_CHECK_TIMEOUT_S = (
    30.0  # of `is_alive` elsewhere: on a busy machine, or while an importing thread holds the interpreter
)


def try_lock(path: Path, *, patience_s: float = PATIENCE_S) -> int | None:
    """An inheritable descriptor that holds the lock of a file, or None where another process holds it.

    Processes that only check whether a run is alive share the lock for an instant; these are waited for in any case.

    Args:
        patience_s: how long to wait for another process that holds it.

    Raises: RunError where the file cannot be opened or its file system has no locks.
    """
    with os_errors.reraise_as(RunError, path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    start = time.monotonic()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            patience = max(patience_s, _CHECK_TIMEOUT_S) if _is_only_checked(descriptor) else patience_s
            if time.monotonic() - start >= patience:
                os.close(descriptor)
                return None
            time.sleep(0.005)
        except OSError as error:
            os.close(descriptor)
            raise RunError(
                f"The file system of “{path.parent}” cannot lock files ({error.strerror}). Keep runs on one that can: a "
                "local disk, NFS 4, or Lustre mounted with -o flock."
            ) from error
        else:
            os.set_inheritable(descriptor, True)
            return descriptor


def _is_only_checked(descriptor: int) -> bool:
    """Whether no process holds the lock exclusively."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


@contextmanager
def hold(run: Run, *, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the lock of a run during the block; where a launcher holds it for its workers, do nothing.

    Args:
        patience_s: how long to wait for a process that may be about to end.

    Raises: RunError when another process works on it, or its file system has no locks.
    """
    if launch.is_held_by_launcher(run):
        yield
        return
    descriptor = try_lock(run.folder / LOCK_FILE, patience_s=patience_s)
    if descriptor is None:
        raise RunError(f"Another process is working on the run “{run.name}”. Wait for it, or stop it first.")
    try:
        yield
    finally:
        os.close(descriptor)


def is_alive(run: Run) -> bool:
    """True while some process works on the run or waits in the queue with it."""
    return is_held(run.folder / LOCK_FILE)


def is_held(path: Path) -> bool:
    """True while some process holds the lock of a file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared: any number of processes may check at once; they block only who wants to hold the run, for an instant.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def status(run: Run, *, is_alive_elsewhere: Callable[[], bool] = lambda: False) -> str:
    """The run's state; "crashed" when its folder says queued or running and nobody works on it.

    A run that was asked to stop and ended before it could write so counts as stopped.

    Args:
        is_alive_elsewhere: asked where no process of this machine holds the run.
    """
    state = run.state()["state"]
    if state in (QUEUED, RUNNING) and not is_alive(run) and not is_alive_elsewhere():
        # It may have ended between the two checks: its last state counts.
        state = run.state()["state"]
        if state in (QUEUED, RUNNING):
            return STOPPED if (run.folder / CANCEL_FILE).exists() else CRASHED
    return state
