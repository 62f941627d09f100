"""Loss, accuracy and recall of a network on the validation part, after each epoch."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from kidney_core.common.errors import RunError
from kidney_core.metrics import calibration, evaluation
from kidney_core.runs import parallel
from kidney_core.runs.recipes import RECALL_OF
from kidney_core.training.batches import Batches

_BATCH = 64
_TIE = 1e-6


@dataclass(frozen=True)
class Validation:
    """Metrics of the validation part.

    Attributes:
        loss: mean cross-entropy, weighted as in training.
        accuracy: fraction of correct predictions, 0 to 1.
        calibrated_loss: mean cross-entropy after temperature scaling, unweighted. The best epoch is chosen by it:
            a network whose accuracy still improves also becomes overconfident, which raises the plain loss and does
            no harm, since its temperature is fitted afterwards.
        labels: of the rows and columns of `confusion`.
        confusion: (n_labels, n_labels) counts, rows true, columns predicted.
    """

    loss: float
    accuracy: float
    calibrated_loss: float
    labels: tuple[str, ...]
    confusion: np.ndarray

    @property
    def recall(self) -> dict[str, float]:
        """Label -> fraction of its slices that were predicted correctly, 0 to 1; labels without a slice are left out."""
        return {
            label: float(row[index] / row.sum())
            for index, (label, row) in enumerate(zip(self.labels, self.confusion, strict=True))
            if row.sum()
        }

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall over the labels."""
        return float(np.mean(list(self.recall.values())))

    def cost(self, best_by: str) -> float:
        """A number that is lowest at the best epoch, by the metric that a configuration's `best_by` names.

        Raises: RunError for the recall of a label that the validation part does not have.
        """
        if best_by == "loss":
            return self.calibrated_loss
        if best_by.startswith(RECALL_OF):
            label = best_by.removeprefix(RECALL_OF)
            if label not in self.recall:
                raise RunError(
                    f"best_by asks for the recall of “{label}”, but the validation part has no slice of it (it has "
                    f"{', '.join(self.recall)}). Choose another metric."
                )
            # Equal recalls are common with few slices: the loss decides between them.
            return 1 - self.recall[label] + _TIE * self.calibrated_loss
        return (
            1
            - {"accuracy": self.accuracy, "balanced_accuracy": self.balanced_accuracy}[best_by]
            + _TIE * self.calibrated_loss
        )


@torch.inference_mode()
def validate(
    model: nn.Module,
    batches: Batches,
    positions: np.ndarray,
    y: torch.Tensor,
    *,
    labels: tuple[str, ...],
    class_weights: torch.Tensor | None,
    group: parallel.Group | None = None,
) -> Validation:
    """Measure `model` on the slices at `positions`.

    Args:
        batches: of the model.
        positions: (V,) in the training data.
        y: (N,) int64 labels of all slices.
        group: the processes that share the batches; all of them return the same metrics.
    """
    group = group or parallel.Group()
    model.eval()
    n_labels = batches.network(batches.batch(positions[:1])).shape[1]
    logits = torch.zeros(len(positions), n_labels)
    for start in range(group.rank * _BATCH, len(positions), group.size * _BATCH):
        rows = slice(start, start + _BATCH)
        logits[rows] = batches.network(batches.batch(positions[rows])).float().cpu()
    logits = group.sum_of(logits)
    y_true = y[torch.from_numpy(positions)]
    probabilities, y_index = logits.double().softmax(dim=1).numpy(), y_true.numpy()
    temperature = calibration.fit_temperature(probabilities, y_index)
    y_pred = probabilities.argmax(axis=1)
    return Validation(
        loss=F.cross_entropy(logits, y_true, None if class_weights is None else class_weights.cpu()).item(),
        accuracy=float((y_pred == y_index).mean()),
        calibrated_loss=calibration.negative_log_likelihood(calibration.calibrate(probabilities, temperature), y_index),
        labels=labels,
        confusion=evaluation.confusion_matrix(y_index, y_pred, len(labels)),
    )
