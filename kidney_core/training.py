"""Fine-tune one network as a run's configuration says, into the run's folder, resumable to the bit.

The position of a run is one integer, its step. The order of an epoch, the augmentation of an image
and the dropout of a step are functions of (seed, epoch, image) and (seed, step), so a resumed run
computes what the uninterrupted one would have. Several processes share every batch, and take every
decision together; the first of them writes the folder.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from kidney_core import (
    final_test,
    launch,
    material,
    models,
    optimization,
    parallel,
    preprocessing,
    sampling,
    shortage,
    splits,
    training_state,
    validation,
)
from kidney_core.errors import KidneyError, RunError
from kidney_core.runs import CANCEL_FILE, FINISHED, STOPPED, Run, WatchedRun
from kidney_core.training_log import TrainingLog

SECONDS_BETWEEN_CHECKPOINTS = 60.0
STEPS_BETWEEN_MEASUREMENTS = 10
LAST_FILE, BEST_FILE = "last.safetensors", "best.safetensors"


class _Stopped(Exception):
    """The run was asked to stop; its checkpoint is written."""


def train(run: Run, *, should_stop: Callable[[], bool] = lambda: False, show_progress: bool = False) -> str:
    """Train a run from where it stands to its end.

    Args:
        should_stop: asked after every step; True ends the run with a checkpoint, in state "stopped".
        show_progress: draw a progress bar on standard error.

    Returns:
        The state the run ended in, "finished" or "stopped".

    Raises:
        KidneyError: what a user can mend; the run's state is then "failed" with the message.
    """
    try:
        _Training(run, should_stop, show_progress).go()
        return FINISHED
    except _Stopped:
        if launch.rank() == 0:
            run.write_state(STOPPED, **run.standing())
        return STOPPED
    except KidneyError as error:
        run.fail(str(error))
        raise
    except Exception as error:
        message = shortage.told(error, run.folder)
        if message:
            run.fail(message)
            raise RunError(message) from error
        if isinstance(error, RuntimeError) and launch.size() > 1 and parallel.is_lost_peer(error):
            # Its last word stands: why it failed, or, where it was killed, "running", which is shown as crashed.
            raise RunError("Another process of this run ended. The log has the details; resume goes on.") from error
        message = f"Unexpected error: {type(error).__name__}: {error}. The log has the details."
        run.fail(message)
        raise


class _Training:
    """The state of one call of `train`."""

    def __init__(self, run: Run, should_stop: Callable[[], bool], show_progress: bool) -> None:
        self.run = run if launch.rank() == 0 else WatchedRun(run.folder)
        self.config = run.config().validated()
        self.log = TrainingLog(self.run, show_progress=show_progress and launch.rank() == 0)
        self.asked_to_stop = should_stop
        self.cancel_file = run.folder / CANCEL_FILE
        self.position = training_state.Position()

    def should_stop(self) -> bool:
        """What this process was asked; the processes of a run tell each other before they act on it."""
        return self.asked_to_stop() or self.cancel_file.exists()

    def go(self) -> None:
        self.run.remove_left_over()
        self.log.note("Preparing")
        self.prepare()
        self.stop_if_asked()
        self.restore()
        self.open_source()
        self.stop_if_asked()
        self.loop()
        self.group.leave()
        if self.group.leads:
            self.finish()

    # --- setting up -------------------------------------------------------------------------

    def prepare(self) -> None:
        """The material, and the network at its start."""
        config = self.config
        self.group, self.device = parallel.join(models.pick_device(config.device))
        self.mixed_precision = config.precision == "bf16" or (config.precision == "auto" and self.device.type == "cuda")
        with self.group.leader_first():
            self.material = material.prepare(self.run, self.log.progress_of, writes=self.group.leads)
            torch.manual_seed(config.seed)
            self.model = models.build_model(
                config.architecture,
                len(self.material.dataset.labels),
                init=config.init,
                image_size_px=config.image_size_px,
            )
        models.set_trainable(self.model, config.trainable)
        self.model.to(self.device, memory_format=torch.channels_last)
        self.y = torch.from_numpy(self.material.y)
        self.class_weights = optimization.class_weights(
            self.y[self.material.train], len(self.material.dataset.labels), config.class_weights
        )
        if self.class_weights is not None:
            self.class_weights = self.class_weights.to(self.device)
        n_train = self.material.n_draws
        # A last batch of one image has no variance for batch norm: it is left out.
        self.steps_per_epoch = max(1, n_train // config.batch_size + (n_train % config.batch_size > 1))
        self.n_steps = self.steps_per_epoch * config.n_epochs

    def restore(self) -> None:
        """Go to where the checkpoint stands, in all processes."""
        self.optimizer = optimization.make_optimizer(self.model, self.config)
        last = self.run.folder / LAST_FILE
        if not last.is_file() and self.config.init not in (models.IMAGENET, models.SCRATCH):
            self.calibrate_folded_norms()
        self.mean = optimization.running_mean(self.model, self.config)
        if last.is_file():
            mean = self.mean.module if self.mean else None
            self.position = training_state.load(last, self.model, self.optimizer, mean)
        if self.group.any(self.position.step != self.group.from_leader(self.position.step)):
            raise RunError(
                f"The processes of this run read different checkpoints from “{last}”. Put the runs on a folder that all "
                "machines share; where it is one, its cache was behind: resume."
            )
        self.run.drop_metrics_after(self.position.step)

    def open_source(self) -> None:
        """Batches, and what computes their logits and gradients."""
        self.model = parallel.synchronize_norms(self.model, self.group, self.device)
        self.source = material.open_source(
            self.run,
            self.model,
            self.material,
            self.device,
            progress=self.log.progress_of("Computing frozen layers"),
            should_stop=self.should_stop,
            group=self.group,
        )
        self.network = self.group.step_together(self.source.network)

    def calibrate_folded_norms(self) -> None:
        """Weights of a file may have folded norms; a fresh network's look alike, and must stay as they are."""
        if models.has_folded_batch_norm(self.model):
            chosen = self.material.train[:: max(1, len(self.material.train) // 64)][:64]
            images = preprocessing.to_input(torch.from_numpy(np.array(self.material.pixels[chosen])))
            models.recalibrate_batch_norm(self.model, images.to(self.device))

    # --- the loop ---------------------------------------------------------------------------

    def loop(self) -> None:
        position, config = self.position, self.config
        # The time an interrupted epoch took before is in epoch_seconds; the clock runs from here.
        self.clock = self.saved_at = time.monotonic()
        with tqdm(
            total=self.n_steps, initial=position.step, unit="step", disable=not self.log.show_progress, file=sys.stderr
        ) as bar:
            epoch_drawn = -1
            while position.step < self.n_steps and not self.is_out_of_patience():
                epoch, within = divmod(position.step, self.steps_per_epoch)
                if epoch != epoch_drawn:
                    order, numbers = self.visits(epoch)
                    epoch_drawn = epoch
                    models.train_mode(self.model)
                there = slice(within * config.batch_size, (within + 1) * config.batch_size)
                self.step(order[there], numbers[there])
                bar.update()
                if position.step % self.steps_per_epoch == 0:
                    self.end_epoch(epoch)
                    bar.set_description(self.last_line, refresh=False)
                self.save_and_stop_when_due()

    def visits(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The images of an epoch in their order, and the random numbers by which each is changed."""
        train, seed = self.material.train, self.config.seed
        if self.material.weights is None:
            order = sampling.epoch_order(len(train), seed=seed, epoch=epoch)
            return train[order], preprocessing.random_numbers(len(train), seed=seed, epoch=epoch)[order]
        draws = sampling.epoch_draws(self.material.weights, self.material.n_draws, seed=seed, epoch=epoch)
        return train[draws], preprocessing.random_numbers(len(draws), seed=seed, epoch=epoch)

    def is_out_of_patience(self) -> bool:
        """Whether as many epochs as the configuration allows went by without a better one."""
        n_epochs, within = divmod(self.position.step, self.steps_per_epoch)
        patience = self.config.patience
        return bool(patience) and not within and n_epochs - self.position.best_epoch >= patience

    def step(self, positions: np.ndarray, numbers: np.ndarray) -> None:
        """One update by the images at `positions`, of which this process computes its part."""
        position, config = self.position, self.config
        # Dropout is a function of the step, and of the process: two of them draw for different images.
        optimization.seed_device(self.device, config.seed * 1_000_003 + position.step + 2_000_000_011 * self.group.rank)
        for group in self.optimizer.param_groups:
            group["lr"] = optimization.learning_rate_at(position.step, self.n_steps, config)
        own, n_own = self.group.part(np.arange(len(positions)))
        y = self.y[torch.from_numpy(positions)].to(self.device)
        y_own = y[torch.from_numpy(own[:n_own]).to(self.device)]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision):
            logits = self.network(self.source.batch(positions[own], numbers[own]))
            if n_own < len(own):
                logits = logits[:n_own]
            loss = optimization.part_of_mean_loss(
                logits, y_own, y, self.class_weights, label_smoothing=config.label_smoothing
            )
        n_right = int((logits.argmax(1) == y_own).sum())
        batch_loss, n_correct, n_asked = self.group.sum(loss.item(), n_right, self.should_stop())
        if not math.isfinite(batch_loss):
            raise RunError(f"The training loss became {batch_loss} at step {position.step}. Lower the learning rate.")
        if self.group.size > 1:
            loss = loss * self.group.size  # the processes take the mean of their gradients, and need the sum
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.stop_wanted = n_asked > 0
        position.step += 1
        if self.mean:
            self.mean.update(self.model, position.step)
        position.n_seen += len(y)
        position.loss_sum += batch_loss * len(y)
        position.n_correct += int(n_correct)
        if position.step % STEPS_BETWEEN_MEASUREMENTS == 0:
            self.log.step(position, batch_loss, self.steps_per_epoch)
            if self.log.is_due():
                self.stand()

    def stand(self) -> None:
        self.log.stand(self.position, self.seconds_in_epoch(), self.steps_per_epoch, self.n_steps)

    def seconds_in_epoch(self) -> float:
        return self.position.epoch_seconds + time.monotonic() - self.clock

    def end_epoch(self, epoch: int) -> None:
        position = self.position
        trained_s = self.seconds_in_epoch()
        with self.reported_weights():
            self.group.share_buffers(self.model)
            found = validation.validate(
                self.model,
                self.source,
                self.material.validation,
                self.y,
                labels=self.material.dataset.labels,
                class_weights=self.class_weights,
                group=self.group,
            )
            # Without a validation part it is the last epoch, as in the paper: choosing by the test part would make the
            # test figure too good.
            cost = found.cost(self.config.best_by)
            if cost < position.best_loss or self.config.reported_epoch == "last":
                position.best_loss, position.best_epoch = cost, epoch + 1
                if self.group.leads:
                    training_state.save_weights(self.run.folder / BEST_FILE, self.model)
        learning_rate = optimization.learning_rate_at(position.step - 1, self.n_steps, self.config)
        # The line comes first: after a kill in between, resuming drops it and measures the epoch again.
        self.last_line = self.log.epoch(
            position,
            epoch + 1,
            found,
            learning_rate=learning_rate,
            trained_s=trained_s,
            lasted_s=self.seconds_in_epoch(),
        )
        position.loss_sum, position.n_correct, position.n_seen, position.epoch_seconds = 0.0, 0, 0, 0.0
        self.clock = time.monotonic()
        self.save_last()
        if self.group.leads:
            tqdm.write(self.last_line, file=sys.stdout)

    @contextmanager
    def reported_weights(self) -> Iterator[None]:
        """The network with the running mean of its weights, where one is kept, and afterwards with its own again."""
        if self.mean:
            _exchange(self.model, self.mean.module)
        try:
            yield
        finally:
            if self.mean:
                _exchange(self.model, self.mean.module)

    # --- checkpoints ------------------------------------------------------------------------

    def save_and_stop_when_due(self) -> None:
        stop = self.stop_wanted
        if stop or time.monotonic() - self.saved_at > SECONDS_BETWEEN_CHECKPOINTS:
            self.save_last()
        if stop and self.position.step < self.n_steps and not self.is_out_of_patience():
            self.stand()
            raise _Stopped

    def save_last(self) -> None:
        now = time.monotonic()
        self.position.epoch_seconds += (now - self.clock) if self.position.n_seen else 0.0
        self.clock = self.saved_at = now
        if self.group.leads:
            mean = self.mean.module if self.mean else None
            training_state.save(self.run.folder / LAST_FILE, self.model, self.optimizer, self.position, mean)

    def finish(self) -> None:
        self.log.note("Testing")
        training_state.load_weights(self.run.folder / BEST_FILE, self.model)
        figures = final_test.write_report(
            self.run,
            self.model,
            self.material,
            best_epoch=self.position.best_epoch,
            progress=self.log.progress_of("Testing"),
        )
        n_epochs, step = self.position.step // self.steps_per_epoch, self.position.step  # fewer when patience ended
        self.run.write_state(FINISHED, epoch=n_epochs, n_epochs=n_epochs, step=step, n_steps=step)
        if not figures:
            tqdm.write(
                "no slice was tested: a cross-validation of the same recipe says what it is worth", file=sys.stdout
            )
            return
        tqdm.write(
            f"test, {splits.PROTOCOL_TITLES[self.config.protocol]}: accuracy {100 * figures['accuracy']:.2f} %, "
            f"balanced accuracy {100 * figures['balanced_accuracy']:.2f} %",
            file=sys.stdout,
        )

    def stop_if_asked(self) -> None:
        if self.group.any(self.should_stop()):
            raise _Stopped


@torch.no_grad()
def _exchange(one: nn.Module, other: nn.Module) -> None:
    """Give each of two networks the weights of the other, in place, so that whoever holds a part of one sees it."""
    for mine, theirs in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        kept = mine.clone()
        mine.copy_(theirs)
        theirs.copy_(kept)
