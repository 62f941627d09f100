"""Train a run whose lock this process holds, here or in several processes; the same for every engine."""

import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

from kidney_core.common import allocator, os_errors, rlimits
from kidney_core.common.errors import RunError
from kidney_core.runs import launch
from kidney_core.runs.run_folder import FINISHED, Run


def require_unfinished(run: Run) -> None:
    """Raise RunError for a finished run: training on would put its results at risk."""
    if run.state()["state"] == FINISHED:
        raise RunError(f"The run “{run.name}” is finished. Start a new run to train longer.")


def train_here(run: Run, *, show_progress: bool = False) -> int:
    """Train a run in this process; the exit status, 0 also when stopped by SIGTERM or SIGINT."""
    stop_signals: list[int] = []
    if threading.current_thread() is threading.main_thread():  # Ray Train trains in another, and sends no signal
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _frame: stop_signals.append(received))
    allocator.keep_freed_memory()
    try:
        from kidney_core.training import trainer  # only now: torch takes seconds and 300 MB
    except (ImportError, MemoryError, OSError) as error:
        message = os_errors.describe(error, run.folder)
        if message is None:
            raise
        run.fail(message)
        raise RunError(message) from error

    if launch.rank() == 0:
        print(f"run {run.folder}", flush=True)
    state = trainer.train(run, should_stop=lambda: bool(stop_signals), show_progress=show_progress)
    if launch.rank() == 0:
        print(f"{state}: {run.folder}", flush=True)
    return 0


def train_in_processes(run: Run, n_processes: int) -> int:
    """Train a run in several processes of this machine, which stop when this one is asked to, and end when it ends."""
    workers = subprocess.Popen(
        launch.torchrun(run, n_processes),
        env=launch.environment(run, n_processes),
        preexec_fn=rlimits.die_with_parent,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: workers.send_signal(received))
    return workers.wait()


@contextmanager
def log_output(run: Run) -> Iterator[None]:
    """Copy what the block prints, and the traceback that ends it, into the run's log."""
    if launch.LOGGED in os.environ:
        yield
        return
    with (run.folder / "log.txt").open("a", encoding="utf-8") as log, redirect_stdout(_Tee(sys.stdout, log)):
        try:
            yield
        except BaseException:
            traceback.print_exc(file=log)
            raise


class _Tee:
    """A text stream that writes to several."""

    def __init__(self, *streams: TextIO) -> None:
        self.streams = streams

    def write(self, text: str) -> int:
        for stream in self.streams:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self.streams:
            stream.flush()
