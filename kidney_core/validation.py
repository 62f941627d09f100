"""How a network in training stands on its validation part."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from kidney_core import calibration
from kidney_core.material import FromFeatures, FromPixels

_BATCH = 64


@dataclass(frozen=True)
class Validation:
    """Where a network stands after an epoch.

    Attributes:
        loss: mean cross-entropy, weighted as in training.
        accuracy: share of right answers, 0 to 1.
        calibrated_loss: mean cross-entropy after temperature scaling, unweighted. The best epoch is chosen by it:
            a network that still learns to tell classes apart also grows overconfident, which raises the plain loss
            and costs nothing, since its temperature is fitted afterwards.
    """

    loss: float
    accuracy: float
    calibrated_loss: float


@torch.inference_mode()
def validate(
    model: nn.Module,
    source: FromPixels | FromFeatures,
    positions: np.ndarray,
    y: torch.Tensor,
    *,
    class_weights: torch.Tensor | None,
) -> Validation:
    """Measure `model`, whose batches `source` makes, on the slices at `positions`; `y` is (N,) of all slices."""
    model.eval()
    logits = torch.cat(
        [source.logits(source.batch(positions[i : i + _BATCH])).float() for i in range(0, len(positions), _BATCH)]
    )
    y_there = y[torch.from_numpy(positions)].to(logits.device)
    probabilities, y_index = logits.cpu().double().softmax(dim=1).numpy(), y_there.cpu().numpy()
    temperature = calibration.fit_temperature(probabilities, y_index)
    return Validation(
        loss=F.cross_entropy(logits, y_there, class_weights).item(),
        accuracy=float((probabilities.argmax(axis=1) == y_index).mean()),
        calibrated_loss=calibration.negative_log_likelihood(calibration.calibrate(probabilities, temperature), y_index),
    )
