"""What a training writes about itself: state, metrics and use of the machine into the run's folder, progress to the screen."""

import math
import sys
import time
from collections.abc import Callable

import psutil
import torch
from tqdm import tqdm

from kidney_core.runs.run_folder import RUNNING, Run
from kidney_core.runs.training_state import Position
from kidney_core.training import optimization
from kidney_core.training.schedule import Schedule
from kidney_core.training.validation import Validation

STEPS_BETWEEN_MEASUREMENTS = 10
_SECONDS_BETWEEN_STATES = 0.25  # nobody reads it more often
# Of the log by time: dense while somebody watches its beginning, then about 700 lines for each tenfold of time.
SECONDS_BETWEEN_USAGE, _SHARE_BETWEEN_USAGE = 2.0, 1 / 300


class TrainingLog:
    """What a run is doing before and after its steps.

    Args:
        show_progress: show it on standard error as well.
    """

    def __init__(self, run: Run, *, show_progress: bool = False) -> None:
        self.run, self.show_progress = run, show_progress

    def note(self, message: str) -> None:
        """Write a message into the run's state, which keeps how far the run has come."""
        self.run.write_state(RUNNING, **{**self.run.standing(), "message": message})

    def progress_of(self, title: str) -> Callable[[int, int], None]:
        """A progress callback that updates the run's state at most once a second."""
        updated_at = 0.0

        def show(done: int, total: int) -> None:
            nonlocal updated_at
            if done == total or time.monotonic() - updated_at > 1:
                updated_at = time.monotonic()
                self.note(f"{title}: {done:,} of {total:,}")
                if self.show_progress:
                    end = "\n" if done == total else "\r"
                    print(f"{title}: {done:,} of {total:,}", end=end, file=sys.stderr, flush=True)

        return show

    def start_steps(self, schedule: Schedule, position: Position) -> "StepLog":
        """The log of the steps from `position` on; close it after the last."""
        bar = tqdm(
            total=schedule.n_steps,
            initial=position.step,
            unit="step",
            disable=not self.show_progress,
            file=sys.stderr,
        )
        self.run.append_usage({"kind": "start", "step": position.step})
        return StepLog(self.run, schedule, bar)


class StepLog:
    """What the steps and epochs of a run measure. As a context manager it closes its progress bar."""

    def __init__(self, run: Run, schedule: Schedule, bar: "tqdm[None]") -> None:
        self.run, self.schedule, self.bar = run, schedule, bar
        self._config = run.config()
        self._state_written_at = self._usage_written_at = -math.inf
        self._started_at, self._process = time.monotonic(), psutil.Process()
        self._process.cpu_percent()  # the first call begins the measurement

    def __enter__(self) -> "StepLog":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.bar.close()

    def step(self, position: Position, loss: float, *, epoch_seconds: float) -> None:
        """Log a finished step: its loss at every tenth one, and every few seconds; the state where that is old."""
        self.bar.update()
        now = time.monotonic()
        is_tenth = position.step % STEPS_BETWEEN_MEASUREMENTS == 0
        if is_tenth:
            self.run.append_metrics({"kind": "step", **self._of_step(position, loss)})
        if now - self._usage_written_at > max(SECONDS_BETWEEN_USAGE, _SHARE_BETWEEN_USAGE * (now - self._started_at)):
            self._usage_written_at = now
            self._usage(position, loss, epoch_seconds=epoch_seconds)
            self.state(position, epoch_seconds=epoch_seconds)
        elif is_tenth and now - self._state_written_at > _SECONDS_BETWEEN_STATES:
            self.state(position, epoch_seconds=epoch_seconds)

    def _of_step(self, position: Position, loss: float) -> dict[str, float]:
        return {
            "step": position.step,
            "epoch": self.schedule.epoch_of(position.step - 1) + 1,
            "steps_per_epoch": self.schedule.steps_per_epoch,
            "train_loss": round(loss, 6),
            "learning_rate": optimization.learning_rate_at(position.step - 1, self.schedule.n_steps, self._config),
        }

    def _usage(self, position: Position, loss: float, *, epoch_seconds: float) -> None:
        """Log a step with the use of the machine at that time."""
        self.run.append_usage(
            {
                "kind": "usage",
                **self._of_step(position, loss),
                "images_per_s": round(position.n_seen / max(epoch_seconds, 1e-9), 1),
                **_memory(),
                "cpu_percent": round(self._process.cpu_percent() / (psutil.cpu_count() or 1), 1),
                **_gpu_use(),
            }
        )

    def epoch(
        self, position: Position, result: Validation, *, learning_rate: float, trained_s: float, lasted_s: float
    ) -> str:
        """Log a finished epoch.

        Args:
            trained_s: seconds that its steps took.
            lasted_s: seconds that it took with its validation.

        Returns: one line for the screen.
        """
        train_loss = position.loss_sum / position.n_seen
        epoch = self.schedule.epoch_of(position.step)
        part = "validation" if self._config.validation_fraction else "test"  # which the paper's recipe watches
        self.run.append_metrics(
            {
                "kind": "epoch",
                "step": position.step,
                "epoch": epoch,
                "train_loss": round(train_loss, 6),
                "train_accuracy": round(position.n_correct / position.n_seen, 6),
                "validation_loss": round(result.loss, 6),
                "validation_accuracy": round(result.accuracy, 6),
                "calibrated_validation_loss": round(result.calibrated_loss, 6),
                "validation_balanced_accuracy": round(result.balanced_accuracy, 6),
                **{f"validation_recall_{label}": round(value, 6) for label, value in result.recall.items()},
                "validation_confusion": result.confusion.tolist(),
                "learning_rate": learning_rate,
                "images_per_s": round(position.n_seen / trained_s, 1),
                "duration_s": round(lasted_s, 2),
            }
        )
        # Without a validation part the loop watches the test part, as in the paper.
        part = "validation" if self._config.validation_fraction else "test"
        line = (
            f"epoch {epoch}: loss {train_loss:.4f} in training, {result.loss:.4f} in {part}; accuracy "
            f"{100 * position.n_correct / position.n_seen:.1f} % in training, {100 * result.accuracy:.1f} % in {part}"
        )
        self.bar.set_description(line, refresh=False)
        return line

    def state(self, position: Position, *, epoch_seconds: float) -> None:
        """Write how far the run has come, `epoch_seconds` after its epoch began."""
        self._state_written_at = time.monotonic()
        epoch = self.schedule.epoch_of(max(0, position.step - 1)) + 1
        steps_done = max(1, position.step - (epoch - 1) * self.schedule.steps_per_epoch)
        self.run.write_state(
            RUNNING,
            step=position.step,
            n_steps=self.schedule.n_steps,
            epoch=epoch,
            n_epochs=self.schedule.n_epochs,
            seconds_left=round(epoch_seconds / steps_done * (self.schedule.n_steps - position.step)),
            images_per_s=round(position.n_seen / max(epoch_seconds, 1e-9), 1),
            **_memory(),
        )


def _memory() -> dict[str, int]:
    """Memory of this process in MiB: resident, and of its GPU where it uses one."""
    memory = {"memory_mib": round(psutil.Process().memory_info().rss / 2**20)}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        memory["gpu_memory_mib"] = round(torch.cuda.memory_reserved() / 2**20)
    return memory


def _gpu_use() -> dict[str, int]:
    """How busy the GPU of this process is in percent, where it uses one and NVIDIA's management library is there."""
    if not (torch.cuda.is_available() and torch.cuda.is_initialized()):
        return {}
    try:
        return {"gpu_percent": torch.cuda.utilization()}
    except (ImportError, RuntimeError, AttributeError):  # without nvidia-ml-py, or where the driver does not tell
        return {}
