"""Fine-tune one network as a run's configuration says, into the run's folder, resumable to the bit.

The position of a run is one integer, its step. The order of an epoch, the augmentation of an image
and the dropout of a step are functions of (seed, epoch, image) and (seed, step), so a resumed run
computes what the uninterrupted one would have.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from kidney_core import (
    final_test,
    material,
    models,
    optimization,
    preprocessing,
    splits,
    training_state,
    validation,
)
from kidney_core.errors import KidneyError, RunError
from kidney_core.runs import CANCEL_FILE, FAILED, FINISHED, RUNNING, STOPPED, Run

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
        run.write_state(STOPPED, **run.standing())
        return STOPPED
    except KidneyError as error:
        run.write_state(FAILED, **{**run.standing(), "message": str(error)})
        raise
    except torch.OutOfMemoryError as error:
        message = "The device ran out of memory. Lower the batch size or the image size, then resume."
        run.write_state(FAILED, **{**run.standing(), "message": message})
        raise RunError(message) from error
    except Exception as error:
        message = f"Unexpected error: {type(error).__name__}: {error}. The log has the details."
        run.write_state(FAILED, **{**run.standing(), "message": message})
        raise


class _Training:
    """The state of one call of `train`."""

    def __init__(self, run: Run, should_stop: Callable[[], bool], show_progress: bool) -> None:
        self.run, self.config = run, run.config().validated()
        self.show_progress = show_progress
        self.asked_to_stop = should_stop
        self.cancel_file = run.folder / CANCEL_FILE
        self.position = training_state.Position()

    def should_stop(self) -> bool:
        return self.asked_to_stop() or self.cancel_file.exists()

    def go(self) -> None:
        config = self.config
        self.run.remove_left_over()
        self.note("Preparing")
        torch.manual_seed(config.seed)
        self.device = models.pick_device(config.device)
        self.mixed_precision = config.precision == "bf16" or (config.precision == "auto" and self.device.type == "cuda")
        self.material = material.prepare(self.run, self.progress_of)
        self.stop_if_asked()
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
        n_train = len(self.material.train)
        # A last batch of one image has no variance for batch norm: it is left out.
        self.steps_per_epoch = max(1, n_train // config.batch_size + (n_train % config.batch_size > 1))
        self.n_steps = self.steps_per_epoch * config.n_epochs
        self.optimizer = optimization.make_optimizer(self.model, self.config)
        last = self.run.folder / LAST_FILE
        if last.is_file():
            self.position = training_state.load(last, self.model, self.optimizer)
        elif config.init not in (models.IMAGENET, models.SCRATCH):
            self.calibrate_folded_norms()
        self.run.drop_metrics_after(self.position.step)
        self.source = material.open_source(
            self.run,
            self.model,
            self.material,
            self.device,
            progress=self.progress_of("Computing frozen layers"),
            should_stop=self.should_stop,
        )
        self.stop_if_asked()
        self.loop()
        self.finish()

    # --- setting up -------------------------------------------------------------------------

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
            total=self.n_steps, initial=position.step, unit="step", disable=not self.show_progress, file=sys.stderr
        ) as bar:
            epoch_drawn = -1
            while position.step < self.n_steps:
                epoch, within = divmod(position.step, self.steps_per_epoch)
                if epoch != epoch_drawn:
                    order = preprocessing.epoch_order(len(self.material.train), seed=config.seed, epoch=epoch)
                    numbers = preprocessing.random_numbers(len(order), seed=config.seed, epoch=epoch)
                    epoch_drawn = epoch
                drawn = order[within * config.batch_size : (within + 1) * config.batch_size]
                self.step(self.material.train[drawn], numbers[drawn])
                bar.update()
                if position.step % self.steps_per_epoch == 0:
                    self.end_epoch(epoch)
                    bar.set_description(self.last_line, refresh=False)
                self.save_and_stop_when_due()

    def step(self, positions: np.ndarray, numbers: np.ndarray) -> None:
        position = self.position
        models.train_mode(self.model)
        torch.manual_seed(self.config.seed * 1_000_003 + position.step)  # dropout is a function of the step
        for group in self.optimizer.param_groups:
            group["lr"] = optimization.learning_rate_at(position.step, self.n_steps, self.config)
        y = self.y[torch.from_numpy(positions)].to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision):
            logits = self.source.logits(self.source.batch(positions, numbers))
            loss = F.cross_entropy(logits, y, self.class_weights, label_smoothing=self.config.label_smoothing)
        if not torch.isfinite(loss):
            raise RunError(f"The training loss became {loss.item()} at step {position.step}. Lower the learning rate.")
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        position.step += 1
        position.n_seen += len(y)
        position.loss_sum += loss.item() * len(y)
        position.n_correct += int((logits.argmax(1) == y).sum())
        if position.step % STEPS_BETWEEN_MEASUREMENTS == 0:
            self.measure_step(loss.item())

    def measure_step(self, loss: float) -> None:
        position = self.position
        seconds = position.epoch_seconds + time.monotonic() - self.clock
        per_step = seconds / max(1, position.n_seen / self.config.batch_size)
        epoch = (position.step - 1) // self.steps_per_epoch + 1
        self.run.append_metrics(
            {
                "kind": "step",
                "step": position.step,
                "epoch": epoch,
                "steps_per_epoch": self.steps_per_epoch,
                "train_loss": round(loss, 6),
            }
        )
        self.run.write_state(
            RUNNING,
            step=position.step,
            n_steps=self.n_steps,
            epoch=epoch,
            n_epochs=self.config.n_epochs,
            seconds_left=round(per_step * (self.n_steps - position.step)),
            images_per_s=round(position.n_seen / max(seconds, 1e-9), 1),
        )

    def end_epoch(self, epoch: int) -> None:
        position = self.position
        trained_s = position.epoch_seconds + time.monotonic() - self.clock
        found = validation.validate(
            self.model, self.source, self.material.validation, self.y, class_weights=self.class_weights
        )
        measurement = {
            "kind": "epoch",
            "step": position.step,
            "epoch": epoch + 1,
            "train_loss": round(position.loss_sum / position.n_seen, 6),
            "train_accuracy": round(position.n_correct / position.n_seen, 6),
            "validation_loss": round(found.loss, 6),
            "validation_accuracy": round(found.accuracy, 6),
            "calibrated_validation_loss": round(found.calibrated_loss, 6),
            "learning_rate": optimization.learning_rate_at(position.step - 1, self.n_steps, self.config),
            "images_per_s": round(position.n_seen / trained_s, 1),
            "duration_s": round(position.epoch_seconds + time.monotonic() - self.clock, 2),
        }
        # Without a validation part it is the last epoch, as in the paper: choosing by the test part would make the
        # test figure too good.
        if found.calibrated_loss < position.best_loss or self.config.reported_epoch == "last":
            position.best_loss, position.best_epoch = found.calibrated_loss, epoch + 1
            training_state.save_weights(self.run.folder / BEST_FILE, self.model)
        position.loss_sum, position.n_correct, position.n_seen, position.epoch_seconds = 0.0, 0, 0, 0.0
        self.clock = time.monotonic()
        # The line comes first: after a kill in between, resuming drops it and measures the epoch again.
        self.run.append_metrics(measurement)
        self.save_last()
        self.last_line = (
            f"epoch {epoch + 1}: loss {measurement['train_loss']:.4f}, validation loss {found.loss:.4f}, "
            f"accuracy {100 * found.accuracy:.1f} %"
        )
        tqdm.write(self.last_line, file=sys.stdout)

    # --- checkpoints ------------------------------------------------------------------------

    def save_and_stop_when_due(self) -> None:
        stop = self.should_stop()
        if stop or time.monotonic() - self.saved_at > SECONDS_BETWEEN_CHECKPOINTS:
            self.save_last()
        if stop and self.position.step < self.n_steps:
            raise _Stopped

    def save_last(self) -> None:
        now = time.monotonic()
        self.position.epoch_seconds += (now - self.clock) if self.position.n_seen else 0.0
        self.clock = self.saved_at = now
        training_state.save(self.run.folder / LAST_FILE, self.model, self.optimizer, self.position)

    def finish(self) -> None:
        self.note("Testing")
        training_state.load_weights(self.run.folder / BEST_FILE, self.model)
        figures = final_test.write_report(
            self.run,
            self.model,
            self.material,
            best_epoch=self.position.best_epoch,
            progress=self.progress_of("Testing"),
        )
        self.run.write_state(
            FINISHED, epoch=self.config.n_epochs, n_epochs=self.config.n_epochs, step=self.n_steps, n_steps=self.n_steps
        )
        tqdm.write(
            f"test, {splits.PROTOCOL_TITLES[self.config.protocol]}: accuracy {100 * figures['accuracy']:.2f} %, "
            f"balanced accuracy {100 * figures['balanced_accuracy']:.2f} %",
            file=sys.stdout,
        )

    # --- telling ----------------------------------------------------------------------------

    def note(self, message: str) -> None:
        self.run.write_state(RUNNING, **{**self.run.standing(), "message": message})

    def progress_of(self, what: str) -> Callable[[int, int], None]:
        """A progress callback that tells the run's state at most once a second."""
        told = [0.0]

        def tell(done: int, total: int) -> None:
            if done == total or time.monotonic() - told[0] > 1:
                told[0] = time.monotonic()
                self.note(f"{what}: {done:,} of {total:,}")
                if self.show_progress:
                    end = "\n" if done == total else "\r"
                    print(f"{what}: {done:,} of {total:,}", end=end, file=sys.stderr, flush=True)

        return tell

    def stop_if_asked(self) -> None:
        if self.should_stop():
            raise _Stopped
