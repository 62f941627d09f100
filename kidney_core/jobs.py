"""Training jobs on whichever engine is chosen: this machine, a Ray cluster, or a Slurm cluster.

The run's folder is the truth; an engine only starts, stops and reports. Which one works on a run is written in the
run's job.json. $KIDNEY_ENGINE names the engine of new jobs, "local" without it.
"""

import os
from typing import Protocol

from kidney_core import shortage
from kidney_core.errors import RunError
from kidney_core.local_engine import LocalEngine, has_gpu, n_slots
from kidney_core.ray_engine import RayEngine
from kidney_core.runs import CANCEL_FILE, CRASHED, QUEUED, RUNNING, Run
from kidney_core.slurm_engine import SlurmEngine
from kidney_core.work import check_unfinished

__all__ = [
    "ENGINES",
    "Engine",
    "available_engines",
    "cancel",
    "default_engine",
    "has_gpu",
    "message",
    "n_slots",
    "queue_place",
    "status",
    "submit",
]


class Engine(Protocol):
    """What starts, stops and reports jobs."""

    name: str
    title: str

    def is_available(self) -> bool:
        """Whether this machine is set up to use it."""

    def submit(self, run: Run) -> None:
        """Start a job for a run. Raises RunError."""

    def status(self, run: Run) -> str:
        """queued, running, stopped, finished, failed or crashed; never raises."""

    def cancel(self, run: Run) -> None:
        """End a run's job, with a checkpoint where it still can. Raises RunError."""

    def queue_place(self, run: Run) -> int | None:
        """1 for the next to start; None for a run that does not wait, or where that is not known."""


ENGINES: dict[str, Engine] = {engine.name: engine for engine in (LocalEngine(), RayEngine(), SlurmEngine())}


def available_engines() -> list[Engine]:
    """The engines that this machine is set up to use."""
    return [engine for engine in ENGINES.values() if engine.is_available()]


def default_engine() -> str:
    """The engine of new jobs.

    Raises: RunError for a name that is none.
    """
    return _engine(os.environ.get("KIDNEY_ENGINE") or "local").name


def submit(run: Run, engine: str | None = None) -> None:
    """Start a job for a new, stopped, failed or crashed run.

    Args:
        engine: "local", "ray" or "slurm"; without it the engine that worked on the run before, or the default.

    Raises: RunError when the run is finished, somebody works on it, or the engine does not take it.
    """
    chosen = _engine(engine or run.job().get("engine") or default_engine())
    check_unfinished(run)
    if run.job() and status(run) in (QUEUED, RUNNING):
        raise RunError(f"The run “{run.name}” is queued or running already. Wait for it, or stop it first.")
    with shortage.told_as(RunError, run.folder):
        chosen.submit(run)


def status(run: Run) -> str:
    """Where a run stands: its state, or "crashed" when its folder says queued or running and nobody works on it."""
    return _engine_of(run).status(run)


def cancel(run: Run) -> None:
    """Ask a queued or running job to stop; it writes a checkpoint first and can be resumed.

    Asked again ten seconds later, the job is ended by force.
    """
    with shortage.told_as(RunError, run.folder):
        _engine_of(run).cancel(run)


def message(run: Run) -> str:
    """What there is to say of a run: its place in the queue, its own last word, or why it could not say one."""
    found = status(run)
    if found == CRASHED:
        return shortage.of_disk(run.folder) or (
            "The process died, or was killed as happens where memory is short; resume goes on from the last checkpoint."
        )
    if found in (QUEUED, RUNNING) and (run.folder / CANCEL_FILE).exists():
        return "stopping; Stop once more, after ten seconds, ends it at once, back at its last checkpoint"
    place = queue_place(run) if found == QUEUED else None
    return f"place {place} in the queue" if place else run.state().get("message", "")


def queue_place(run: Run) -> int | None:
    """1 for the next run to start, 2 for the one after it; None for a run that does not wait."""
    return _engine_of(run).queue_place(run)


def _engine(name: str) -> Engine:
    if name not in ENGINES:
        raise RunError(f"There is no engine “{name}”. Set KIDNEY_ENGINE to one of {', '.join(ENGINES)}.")
    return ENGINES[name]


def _engine_of(run: Run) -> Engine:
    """Who works on a run; the lock of this machine tells of one that was started by hand."""
    return ENGINES.get(run.job().get("engine", ""), ENGINES["local"])
