"""How a network in training stands on its validation part."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from kidney_core import calibration, parallel
from kidney_core.errors import RunError
from kidney_core.material import FromFeatures, FromPixels
from kidney_core.recipes import RECALL_OF

_BATCH = 64
_TIE = 1e-6


@dataclass(frozen=True)
class Validation:
    """Where a network stands after an epoch.

    Attributes:
        loss: mean cross-entropy, weighted as in training.
        accuracy: share of right answers, 0 to 1.
        calibrated_loss: mean cross-entropy after temperature scaling, unweighted. The best epoch is chosen by it:
            a network that still learns to tell classes apart also grows overconfident, which raises the plain loss
            and costs nothing, since its temperature is fitted afterwards.
        recall: label -> share of its slices that were found, 0 to 1; labels without a slice are left out.
    """

    loss: float
    accuracy: float
    calibrated_loss: float
    recall: dict[str, float]

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall over the labels."""
        return float(np.mean(list(self.recall.values())))

    def cost(self, best_by: str) -> float:
        """What is lowest at the best epoch, by the figure of a configuration's `best_by`.

        Raises: RunError for the recall of a label that the validation part does not have.
        """
        if best_by == "loss":
            return self.calibrated_loss
        if best_by.startswith(RECALL_OF):
            label = best_by.removeprefix(RECALL_OF)
            if label not in self.recall:
                raise RunError(
                    f"best_by asks for the recall of “{label}”, of which the validation part has no slice (it has "
                    f"{', '.join(self.recall)}). Choose another figure."
                )
            # Equal recalls are common with few slices: the loss decides among them.
            return 1 - self.recall[label] + _TIE * self.calibrated_loss
        return (
            1
            - {"accuracy": self.accuracy, "balanced_accuracy": self.balanced_accuracy}[best_by]
            + _TIE * self.calibrated_loss
        )


@torch.inference_mode()
def validate(
    model: nn.Module,
    source: FromPixels | FromFeatures,
    positions: np.ndarray,
    y: torch.Tensor,
    *,
    labels: tuple[str, ...],
    class_weights: torch.Tensor | None,
    group: parallel.Group | None = None,
) -> Validation:
    """Measure `model`, whose batches `source` makes, on the slices at `positions`; `y` is (N,) of all slices.

    The processes of `group` share the batches, and all come to the same figures.
    """
    group = group or parallel.Group()
    model.eval()
    n_labels = source.network(source.batch(positions[:1])).shape[1]
    logits = torch.zeros(len(positions), n_labels)
    for start in range(group.rank * _BATCH, len(positions), group.size * _BATCH):
        there = slice(start, start + _BATCH)
        logits[there] = source.network(source.batch(positions[there])).float().cpu()
    logits = group.sum_of(logits)
    y_there = y[torch.from_numpy(positions)]
    probabilities, y_index = logits.double().softmax(dim=1).numpy(), y_there.numpy()
    temperature = calibration.fit_temperature(probabilities, y_index)
    return Validation(
        loss=F.cross_entropy(logits, y_there, None if class_weights is None else class_weights.cpu()).item(),
        accuracy=float((probabilities.argmax(axis=1) == y_index).mean()),
        calibrated_loss=calibration.negative_log_likelihood(calibration.calibrate(probabilities, temperature), y_index),
        recall={
            label: float((probabilities.argmax(axis=1) == index)[y_index == index].mean())
            for index, label in enumerate(labels)
            if (y_index == index).any()
        },
    )
