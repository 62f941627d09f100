"""What a training tells its run's folder, and the screen, while it works."""

import math
import sys
import time
from collections.abc import Callable

import psutil
import torch

from kidney_core.runs import RUNNING, Run
from kidney_core.training_state import Position
from kidney_core.validation import Validation

_SECONDS_BETWEEN_STATES = 0.25


class TrainingLog:
    """The state and the measurements of a run in training.

    Args:
        show_progress: tell the screen as well, on standard error.
    """

    def __init__(self, run: Run, *, show_progress: bool = False) -> None:
        self.run, self.show_progress = run, show_progress
        self.n_epochs = run.config().n_epochs
        self.stood_at = -math.inf

    def note(self, message: str) -> None:
        """Say what is going on, and leave how far the run has come."""
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

    def step(self, position: Position, loss: float, steps_per_epoch: int) -> None:
        """Measure a step, whose batch had that loss."""
        self.run.append_metrics(
            {
                "kind": "step",
                "step": position.step,
                "epoch": (position.step - 1) // steps_per_epoch + 1,
                "steps_per_epoch": steps_per_epoch,
                "train_loss": round(loss, 6),
            }
        )

    def epoch(
        self,
        position: Position,
        epoch: int,
        found: Validation,
        *,
        learning_rate: float,
        trained_s: float,
        lasted_s: float,
    ) -> str:
        """Measure an epoch, numbered from 1; the line that says how it went."""
        train_loss = position.loss_sum / position.n_seen
        self.run.append_metrics(
            {
                "kind": "epoch",
                "step": position.step,
                "epoch": epoch,
                "train_loss": round(train_loss, 6),
                "train_accuracy": round(position.n_correct / position.n_seen, 6),
                "validation_loss": round(found.loss, 6),
                "validation_accuracy": round(found.accuracy, 6),
                "calibrated_validation_loss": round(found.calibrated_loss, 6),
                "validation_balanced_accuracy": round(found.balanced_accuracy, 6),
                **{f"validation_recall_{label}": round(value, 6) for label, value in found.recall.items()},
                "learning_rate": learning_rate,
                "images_per_s": round(position.n_seen / trained_s, 1),
                "duration_s": round(lasted_s, 2),
            }
        )
        return (
            f"epoch {epoch}: loss {train_loss:.4f}, validation loss {found.loss:.4f}, "
            f"accuracy {100 * found.accuracy:.1f} %"
        )

    def is_due(self) -> bool:
        """Whether it is time to say again how far the run has come: nobody reads it more often."""
        return time.monotonic() - self.stood_at > _SECONDS_BETWEEN_STATES

    def stand(self, position: Position, seconds: float, steps_per_epoch: int, n_steps: int) -> None:
        """Say how far the run has come, `seconds` after its epoch began."""
        self.stood_at = time.monotonic()
        epoch = max(0, position.step - 1) // steps_per_epoch + 1
        steps_done = max(1, position.step - (epoch - 1) * steps_per_epoch)
        self.run.write_state(
            RUNNING,
            step=position.step,
            n_steps=n_steps,
            epoch=epoch,
            n_epochs=self.n_epochs,
            seconds_left=round(seconds / steps_done * (n_steps - position.step)),
            images_per_s=round(position.n_seen / max(seconds, 1e-9), 1),
            **_memory(),
        )


def _memory() -> dict[str, int]:
    """What this process takes: resident memory, and memory of its GPU where it uses one, in MiB."""
    found = {"memory_mib": round(psutil.Process().memory_info().rss / 2**20)}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["gpu_memory_mib"] = round(torch.cuda.memory_reserved() / 2**20)
    return found
