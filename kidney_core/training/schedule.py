"""How the steps of a run fall into epochs."""

from dataclasses import dataclass

from kidney_core.runs.training_state import Position


@dataclass(frozen=True)
class Schedule:
    """The steps and epochs of a run.

    Attributes:
        n_images: images that an epoch visits.
        patience: epochs without a better one after which training ends early; 0 trains them all.
    """

    n_images: int
    batch_size: int
    n_epochs: int
    patience: int = 0

    @property
    def steps_per_epoch(self) -> int:
        """A last batch of one image is left out: it has no variance for batch norm."""
        return max(1, self.n_images // self.batch_size + (self.n_images % self.batch_size > 1))

    @property
    def n_steps(self) -> int:
        """Steps of all epochs."""
        return self.steps_per_epoch * self.n_epochs

    def epoch_of(self, step: int) -> int:
        """The epoch, from 0, that the step belongs to; `step` counts from 0."""
        return step // self.steps_per_epoch

    def batch_of(self, step: int) -> slice:
        """Which images of its epoch's order a step sees; `step` counts from 0."""
        within = step % self.steps_per_epoch
        return slice(within * self.batch_size, (within + 1) * self.batch_size)

    def is_epoch_end(self, n_steps_done: int) -> bool:
        """True where a whole number of epochs is done."""
        return n_steps_done % self.steps_per_epoch == 0

    def is_done(self, position: Position) -> bool:
        """True after the last epoch, or after `patience` epochs without a better one (early stopping)."""
        if position.step >= self.n_steps:
            return True
        n_epochs_without_better = self.epoch_of(position.step) - position.best_epoch
        return self.patience > 0 and self.is_epoch_end(position.step) and n_epochs_without_better >= self.patience
