"""The learning-rate range test: a fresh network learns while the rate rises, and the loss tells which rate suits it.

Source: Smith 2017, Cyclical Learning Rates for Training Neural Networks, arXiv:1506.01186, section 3.3.
"""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kidney_core.common.errors import RunError
from kidney_core.runs.curves import smoothed
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.runs.run_folder import Run
from kidney_core.training import setup
from kidney_core.training.setup import Learner, Task
from kidney_core.training.step import train_step
from kidney_core.training.trainer import batches_from

LOWEST, HIGHEST, N_STEPS = 1e-7, 1.0, 100
SMOOTHING = 0.9  # weight of what came before
_DIVERGED = 4.0  # times the lowest smoothed loss
_MIN_STEPS = 10  # before it may diverge, and that the first fall needs


@dataclass(frozen=True)
class RangeTest:
    """What a range test measured.

    Attributes:
        learning_rates, losses: of each step, in order.
        smoothed_losses: their exponential moving average.
        suggestion: the rate at which the smoothed loss falls fastest; None where it never falls.
        diverged: whether the loss rose so much that the test ended early.
    """

    learning_rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed_losses: tuple[float, ...]
    suggestion: float | None
    diverged: bool


def rates(n_steps: int, lowest: float, highest: float) -> np.ndarray:
    """(n_steps,) learning rates that rise by the same factor each step."""
    return np.geomspace(lowest, highest, n_steps)


def measure(
    config: TrainingConfig,
    *,
    n_steps: int = N_STEPS,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    on_step: Callable[[int, float, float], None] = lambda _step, _rate, _loss: None,
    note: Callable[[str, int, int], None] = lambda _title, _done, _total: None,
) -> RangeTest:
    """Train a fresh network of a configuration for some steps while the learning rate rises; nothing of it is kept.

    Args:
        on_step: called after each step with its number from 1, its learning rate and its loss.
        note: called while data are prepared, with a title and how far it is.

    Raises: KidneyError as a run of this configuration would; RunError for impossible limits.
    """
    if not 0 < lowest < highest or n_steps < 2 * _MIN_STEPS:
        raise RunError(
            f"A range test needs rates from above 0 to a higher one, and {2 * _MIN_STEPS} steps or more; these are {lowest} to "
            f"{highest} in {n_steps} steps."
        )
    config = replace(config, n_processes=1, schedule="constant", learning_rate=lowest)
    with tempfile.TemporaryDirectory(prefix="kidney-ct-") as folder:
        run = Run.create(config, folder=Path(folder), name="range-test")
        task = setup.prepare_task(run, config, lambda title: lambda done, total: note(title, done, total))
        learner, _ = setup.prepare_learner(
            run,
            task,
            progress=lambda done, total: note("Computing frozen layers", done, total),
            should_stop=lambda: False,
        )
        return _steps(task, learner, rates(n_steps, lowest, highest), on_step)


def _steps(
    task: Task, learner: Learner, learning_rates: np.ndarray, on_step: Callable[[int, float, float], None]
) -> RangeTest:
    batches, losses, diverged = batches_from(task, learner, 0), [], False
    for step, rate in enumerate(learning_rates.tolist()):
        at_rate = replace(task, config=replace(task.config, learning_rate=rate))
        try:
            loss = train_step(at_rate, learner, next(batches), step, stop_asked=False).loss
        except RunError:  # the loss is not finite any more
            diverged = True
            break
        losses.append(loss)
        on_step(step + 1, rate, loss)
        if has_diverged(losses):
            diverged = True
            break
    done = tuple(learning_rates[: len(losses)].tolist())
    curve = _smooth(losses)
    return RangeTest(done, tuple(losses), tuple(curve), suggest(done, curve), diverged)


def _smooth(losses: list[float]) -> list[float]:
    return [value for _, value in smoothed(list(enumerate(losses)), SMOOTHING)]


def has_diverged(losses: list[float]) -> bool:
    """Whether the smoothed loss has risen to several times its lowest value."""
    curve = _smooth(losses)
    return len(curve) > _MIN_STEPS and curve[-1] > _DIVERGED * min(curve)


def suggest(learning_rates: tuple[float, ...], curve: list[float]) -> float | None:
    """The rate at which the smoothed loss falls fastest over the logarithm of the rate, before its lowest point.

    None where it does not fall after the first steps, whose average is of few values.
    """
    if len(curve) < 2 * _MIN_STEPS:
        return None
    slope = np.gradient(np.asarray(curve), np.log(np.asarray(learning_rates)))
    end = int(np.argmin(curve)) + 1
    if end <= _MIN_STEPS:
        return None
    place = _MIN_STEPS + int(np.argmin(slope[_MIN_STEPS:end]))
    return float(learning_rates[place]) if slope[place] < 0 and math.isfinite(slope[place]) else None
