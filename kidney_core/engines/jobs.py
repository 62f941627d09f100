"""Training jobs on one of three engines: this machine, a Ray cluster, or a Slurm cluster.

The state of a run is in its folder; an engine only starts, stops and reports jobs. The run's job.json names its engine.
$KIDNEY_ENGINE names the engine of new jobs ("local" by default).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from kidney_core.common import os_errors, settings
from kidney_core.common.errors import RunError
from kidney_core.engines.local_engine import LocalEngine, device_in_words, n_slots
from kidney_core.engines.ray_engine import RayEngine
from kidney_core.engines.slurm_engine import SlurmEngine
from kidney_core.engines.worker import require_unfinished
from kidney_core.runs import run_lock
from kidney_core.runs.run_folder import CANCEL_FILE, CRASHED, FAILED, QUEUED, RUNNING, STOPPED, Run

__all__ = [
    "ENGINES",
    "Engine",
    "available_engines",
    "cancel",
    "default_engine",
    "device_in_words",
    "message",
    "n_slots",
    "queue_place",
    "status",
    "submit",
]

_END_TIMEOUT_S = 10.0


class Engine(Protocol):
    """Starts, stops and reports jobs."""

    name: str
    title: str

    def is_available(self) -> bool:
        """Whether this machine is set up for it."""

    def submit(self, run: Run, lock: int) -> None:
        """Start a job for a run whose lock this process holds; a process of this machine inherits it. Raises RunError."""

    def status(self, run: Run) -> str:
        """queued, running, stopped, finished, failed or crashed; never raises."""

    def cancel(self, run: Run) -> None:
        """End the job of a run, with a checkpoint if possible. Raises RunError."""

    def queue_place(self, run: Run) -> int | None:
        """1 for the next to start; None for a run that does not wait, or where the place is not known."""


ENGINES: dict[str, Engine] = {engine.name: engine for engine in (LocalEngine(), RayEngine(), SlurmEngine())}


def available_engines() -> list[Engine]:
    """The engines that this machine is set up for."""
    return [engine for engine in ENGINES.values() if engine.is_available()]


def default_engine() -> str:
    """The engine of new jobs.

    Raises: RunError for a name that no engine has.
    """
    return _engine(settings.ENGINE.value() or settings.ENGINE.default).name


def submit(run: Run, engine: str | None = None) -> None:
    """Start a job for a new, stopped, failed or crashed run.

    Args:
        engine: "local", "ray" or "slurm"; by default the one that worked on the run before, or `default_engine`.

    Raises: RunError when the run is finished, a process works on it, or the engine refuses it.
    """
    chosen = _engine(engine or run.job().get("engine") or default_engine())
    require_unfinished(run)
    before = run.job()
    if before and status(run) in (QUEUED, RUNNING):
        raise _busy(run)
    with os_errors.reraise_as(RunError, run.folder), _hold_idle(run, job=before) as lock:
        chosen.submit(run, lock)


@contextmanager
def _hold_idle(run: Run, *, job: dict[str, Any]) -> Iterator[int]:
    """The descriptor of the run's lock, held during the block: of two apps that start a run at once, one is refused.

    Args:
        job: the run's last job; another one means that another app has started the run meanwhile.
    """
    # A process that has just stopped or failed may need a moment to end.
    patience_s = _END_TIMEOUT_S if run.state()["state"] in (STOPPED, FAILED) else run_lock.PATIENCE_S
    lock = run_lock.try_lock(run.folder / run_lock.LOCK_FILE, patience_s=patience_s)
    if lock is None:
        raise _busy(run)
    try:
        require_unfinished(run)
        if run.job() != job:
            raise _busy(run)
        yield lock
    finally:
        os.close(lock)


def _busy(run: Run) -> RunError:
    return RunError(f"The run “{run.name}” is queued or running already. Wait for it, or stop it first.")


def status(run: Run) -> str:
    """The state of a run; "crashed" when its folder says queued or running but no process works on it."""
    return _engine_of(run).status(run)


def cancel(run: Run) -> None:
    """Ask a queued or running job to stop; it writes a checkpoint first and can be resumed.

    A second request, ten seconds later or more, kills the job.
    """
    with os_errors.reraise_as(RunError, run.folder):
        _engine_of(run).cancel(run)


def message(run: Run) -> str:
    """A sentence on the state of a run: its place in the queue, its last message, or why it crashed."""
    state = status(run)
    if state == CRASHED:
        return os_errors.describe_disk(run.folder) or (
            "The process ended or was killed, for example because memory ran out. Resume continues from the last checkpoint."
        )
    if state in (QUEUED, RUNNING) and (run.folder / CANCEL_FILE).exists():
        return "stopping; after ten seconds, a second Stop kills it, and it can be resumed from its last checkpoint"
    place = queue_place(run) if state == QUEUED else None
    return f"place {place} in the queue" if place else run.state().get("message", "")


def queue_place(run: Run) -> int | None:
    """1 for the next run to start, 2 for the one after it; None for a run that does not wait."""
    return _engine_of(run).queue_place(run)


def _engine(name: str) -> Engine:
    if name not in ENGINES:
        raise RunError(f"There is no engine “{name}”. Set KIDNEY_ENGINE to one of {', '.join(ENGINES)}.")
    return ENGINES[name]


def _engine_of(run: Run) -> Engine:
    """The engine of a run; a run that was started by hand counts as this machine's."""
    return ENGINES.get(run.job().get("engine", ""), ENGINES["local"])
