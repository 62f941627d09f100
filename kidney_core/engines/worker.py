"""What a process does that trains a run whose lock it holds, whichever engine started it."""

import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

from kidney_core import allocator, launch, limits, shortage
from kidney_core.errors import RunError
from kidney_core.runs import FINISHED, Run


def check_unfinished(run: Run) -> None:
    """Raise RunError for a finished run: going on with it would put its results at risk."""
    if run.state()["state"] == FINISHED:
        raise RunError(f"The run “{run.name}” is finished. Start a new run to train longer.")


def work(run: Run, *, show_progress: bool = False) -> int:
    """Train a run in this process; the exit status, 0 also when stopped on request."""
    asked: list[int] = []
    if threading.current_thread() is threading.main_thread():  # Ray Train trains in another, and sends no signal
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _frame: asked.append(received))
    allocator.keep_freed_memory()
    try:
        from kidney_core import training  # only now: torch takes seconds and 300 MB
    except (ImportError, MemoryError, OSError) as error:
        message = shortage.told(error, run.folder)
        if message is None:
            raise
        run.fail(message)
        raise RunError(message) from error

    if launch.rank() == 0:
        print(f"run {run.folder}", flush=True)
    state = training.train(run, should_stop=lambda: bool(asked), show_progress=show_progress)
    if launch.rank() == 0:
        print(f"{state}: {run.folder}", flush=True)
    return 0


def work_in_processes(run: Run, n_processes: int) -> int:
    """Train a run in several processes of this machine; a request to stop is passed on to all, and so is this one's end."""
    workers = subprocess.Popen(
        launch.torchrun(run, n_processes),
        env=launch.environment(run, n_processes),
        preexec_fn=limits.die_with_parent,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: workers.send_signal(received))
    return workers.wait()


@contextmanager
def logged(run: Run) -> Iterator[None]:
    """Write what the block prints, and the traceback that ends it, to the run's log as well as to the screen."""
    if launch.LOGGED in os.environ:
        yield
        return
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
