"""Train a network as a run's configuration says, into the run's folder; a resumed run continues bit by bit.

How far a run has come is one integer, its step. The order of an epoch and the augmentation of an image depend on
(seed, epoch, image) alone, dropout on (seed, step), so a resumed run computes what an uninterrupted one would have.
Several processes share every batch and decide everything together; the first of them writes the folder.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from tqdm import tqdm

from kidney_core.common import os_errors
from kidney_core.common.errors import KidneyError, RunError
from kidney_core.metrics import splits
from kidney_core.networks import models
from kidney_core.runs import launch, parallel, training_state
from kidney_core.runs.run_folder import BEST_FILE, CANCEL_FILE, FINISHED, LAST_FILE, STOPPED, ReadOnlyRun, Run
from kidney_core.runs.training_state import Position
from kidney_core.training import optimization, run_report, setup, validation
from kidney_core.training.batches import Visits, epoch_visits
from kidney_core.training.ema import averaged_weights
from kidney_core.training.setup import Learner, Task
from kidney_core.training.step import train_step
from kidney_core.training.training_log import StepLog, TrainingLog

SECONDS_BETWEEN_CHECKPOINTS = 60.0


def train(run: Run, *, should_stop: Callable[[], bool] = lambda: False, show_progress: bool = False) -> str:
    """Train a run from its last checkpoint to its end.

    Args:
        should_stop: asked at every step; True ends the run with a checkpoint, in state "stopped". A cancel file in
            the run's folder does the same.
        show_progress: draw a progress bar on standard error.

    Returns:
        The state the run ended in, "finished" or "stopped".

    Raises:
        KidneyError: what a user can mend; the run's state is then "failed" with the message.
    """
    leads = launch.rank() == 0
    log = TrainingLog(run if leads else ReadOnlyRun(run.folder), show_progress=show_progress and leads)
    try:
        return _train(log, lambda: should_stop() or (run.folder / CANCEL_FILE).exists())
    except KidneyError as error:
        run.fail(str(error))
        raise
    except Exception as error:
        message = os_errors.describe(error, run.folder)
        if message:
            run.fail(message)
            raise RunError(message) from error
        if isinstance(error, RuntimeError) and launch.size() > 1 and parallel.is_lost_peer(error):
            # The other process wrote why it failed; where it was killed, "running" stays and is shown as crashed.
            raise RunError("Another process of this run ended. The log has the details; resume the run.") from error
        run.fail(f"Unexpected error: {type(error).__name__}: {error}. The log has the details.")
        raise


def _train(log: TrainingLog, should_stop: Callable[[], bool]) -> str:
    """The training from start to end, in the order in which it happens; the state it ended in."""
    run = log.run
    config = run.config().validated()
    run.remove_leftovers()
    log.note("Preparing")
    try:
        task = setup.prepare_task(run, config, _stoppable(log.progress_of, should_stop))
    except _StopAskedError:
        return _stopped(run)
    if task.group.any(should_stop()):
        return _stopped(run)
    progress = log.progress_of("Computing frozen layers")
    learner, position = setup.prepare_learner(run, task, progress=progress, should_stop=should_stop)
    if task.group.any(should_stop()):
        return _stopped(run)
    with log.start_steps(task.schedule, position) as step_log:
        position = _run_steps(run, task, learner, position, step_log, should_stop)
    if not task.schedule.is_done(position):
        return _stopped(run)
    task.group.leave()
    if task.group.leads:
        _write_report(task, learner, position, log)
    return FINISHED


class _StopAskedError(Exception):
    """The run was asked to stop while its data were read."""


def _stoppable(
    progress_of: Callable[[str], Callable[[int, int], None]], should_stop: Callable[[], bool]
) -> Callable[[str], Callable[[int, int], None]]:
    """The same, but a report of progress ends the work when the run is asked to stop.

    One of several processes goes on reading: the others wait for it, and all stop together afterwards.
    """
    if launch.size() > 1:
        return progress_of

    def of(title: str) -> Callable[[int, int], None]:
        report = progress_of(title)

        def report_or_stop(done: int, total: int) -> None:
            if should_stop():
                raise _StopAskedError
            report(done, total)

        return report_or_stop

    return of


def _stopped(run: Run) -> str:
    run.write_state(STOPPED, **run.standing())
    return STOPPED


def _run_steps(
    run: Run, task: Task, learner: Learner, position: Position, log: StepLog, should_stop: Callable[[], bool]
) -> Position:
    """Train from `position` on; where it ended, which is before the schedule's end if it was asked to stop."""
    schedule = task.schedule
    clock, saved_at = _EpochClock(position.epoch_seconds), time.monotonic()
    batches = batches_from(task, learner, position.step)
    while not schedule.is_done(position):
        step = train_step(task, learner, next(batches), position.step, stop_asked=should_stop())
        position = position.after_step(loss=step.loss, n_images=step.n_images, n_correct=step.n_correct)
        log.step(position, step.loss, epoch_seconds=clock.seconds())
        epoch_line = ""
        if schedule.is_epoch_end(position.step):
            position, epoch_line = _end_epoch(run, task, learner, position, log, clock)
            clock = _EpochClock()
        if epoch_line or step.stop_asked or time.monotonic() - saved_at > SECONDS_BETWEEN_CHECKPOINTS:
            saved_at = time.monotonic()
            _save_checkpoint(run, task, learner, position, clock)
        if epoch_line and task.group.leads:
            tqdm.write(epoch_line, file=sys.stdout)
        if step.stop_asked and not schedule.is_done(position):
            log.state(position, epoch_seconds=clock.seconds())
            break
    return position


def batches_from(task: Task, learner: Learner, step: int) -> Iterator[Visits]:
    """The batches from a step on; before the first of an epoch the model is put into training mode."""
    while True:
        epoch = task.schedule.epoch_of(step)
        visits = epoch_visits(task.data, seed=task.config.seed, epoch=epoch)
        models.train_mode(learner.model)
        while task.schedule.epoch_of(step) == epoch:
            yield visits[task.schedule.batch_of(step)]
            step += 1


class _EpochClock:
    """Seconds spent on an epoch, those before an interruption included."""

    def __init__(self, seconds_before: float = 0.0) -> None:
        self._start = time.monotonic() - seconds_before

    def seconds(self) -> float:
        return time.monotonic() - self._start


def _end_epoch(
    run: Run, task: Task, learner: Learner, position: Position, log: StepLog, clock: _EpochClock
) -> tuple[Position, str]:
    """Validate, log, and keep the weights of the best epoch; the position of the next epoch's start, and a line to show."""
    epoch, trained_s = task.schedule.epoch_of(position.step), clock.seconds()
    with averaged_weights(learner.model, learner.ema):
        task.group.share_buffers(learner.model)
        result = validation.validate(
            learner.model,
            learner.batches,
            task.data.validation,
            task.y,
            labels=task.data.dataset.labels,
            class_weights=task.class_weights,
            group=task.group,
        )
        cost = result.cost(task.config.best_by)
        # Without a validation part the last epoch is reported, as in the paper: choosing by the test part would make the
        # test accuracy too good.
        if cost < position.best_loss or task.config.reported_epoch == "last":
            position = replace(position, best_loss=cost, best_epoch=epoch)
            if task.group.leads:
                training_state.save_weights(run.folder / BEST_FILE, learner.model)
    learning_rate = optimization.learning_rate_at(position.step - 1, task.schedule.n_steps, task.config)
    # Logged before the checkpoint: after a kill in between, resuming drops the line and measures the epoch again.
    line = log.epoch(position, result, learning_rate=learning_rate, trained_s=trained_s, lasted_s=clock.seconds())
    return position.at_epoch_start(), line


def _save_checkpoint(run: Run, task: Task, learner: Learner, position: Position, clock: _EpochClock) -> None:
    if task.group.leads:
        position = replace(position, epoch_seconds=clock.seconds() if position.n_seen else 0.0)
        path = run.folder / LAST_FILE
        training_state.save(path, learner.stored_networks(), learner.optimizer, position)


def _write_report(task: Task, learner: Learner, position: Position, log: TrainingLog) -> None:
    """Test the weights of the best epoch, and write the run's report."""
    run = log.run
    log.note("Testing")
    training_state.load_weights(run.folder / BEST_FILE, learner.model)
    metrics = run_report.write_report(
        run, learner.model, task.data, best_epoch=position.best_epoch, progress=log.progress_of("Testing")
    )
    # Early stopping ends a run before its n_epochs.
    n_epochs, step = task.schedule.epoch_of(position.step), position.step
    run.write_state(FINISHED, epoch=n_epochs, n_epochs=n_epochs, step=step, n_steps=step)
    if not metrics:
        line = "no slice was tested: cross-validate the same recipe to measure its accuracy"
    else:
        line = (
            f"test, {splits.PROTOCOL_TITLES[task.config.protocol]}: accuracy {100 * metrics['accuracy']:.2f} %, "
            f"balanced accuracy {100 * metrics['balanced_accuracy']:.2f} %"
        )
    tqdm.write(line, file=sys.stdout)
