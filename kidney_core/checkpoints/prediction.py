"""A network over many squares, or a checkpoint over a dataset -> probabilities."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import nn

from kidney_core import calibration, evaluation, models, preprocessing
from kidney_core import checkpoint as checkpoints
from kidney_core.dataset import Dataset
from kidney_core.errors import DatasetError
from kidney_core.pixel_cache import dataset_pixels
from kidney_core.series import scan_table

# On a CPU the activations of few images stay in its cache, and in memory that is used again.
_BATCH_ON_CPU, _BATCH = 8, 64


@torch.inference_mode()
def predict_probabilities(
    model: nn.Module, pixels: np.ndarray, *, progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Uncalibrated probabilities of grey squares: (N, S, S) uint8 -> (N, n_labels) float64."""
    model.eval()
    device = next(model.parameters()).device
    batch = _BATCH_ON_CPU if device.type == "cpu" else _BATCH
    found = []
    for start in range(0, len(pixels), batch):
        grey = torch.from_numpy(np.array(pixels[start : start + batch])).to(device)
        logits = model(preprocessing.to_input(grey))
        found.append(logits.cpu().double().softmax(dim=1).numpy())  # Apple's MPS has no double
        if progress:
            progress(min(start + batch, len(pixels)), len(pixels))
    return np.concatenate(found) if found else np.empty((0, 0))


def predict_dataset(
    checkpoint: checkpoints.Checkpoint,
    dataset: Dataset,
    *,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """The prediction table of a checkpoint on a folder, with calibrated probabilities.

    Labels of the folder that the checkpoint does not know cannot be right: their slices are refused.

    Raises: DatasetError when the folder and the checkpoint have no label in common or one unknown to it.
    """
    unknown = sorted(set(dataset.labels) - set(checkpoint.labels))
    if unknown:
        raise DatasetError(
            f"The folder has the class “{unknown[0]}”, which the checkpoint “{checkpoint.name}” does not know "
            f"(it knows {', '.join(checkpoint.labels)}). Leave that class out, or choose another checkpoint."
        )
    model = checkpoints.load_model(checkpoint, device=str(models.pick_device(device)))
    pixels = dataset_pixels(dataset, checkpoint.view)
    probabilities = predict_probabilities(model, pixels, progress=progress)
    calibrated = calibration.calibrate(probabilities, checkpoint.temperature)
    rows = scan_table(dataset)[["path", "label", "series", "plane"]].assign(temperature=checkpoint.temperature)
    return evaluation.prediction_table(rows, calibrated, checkpoint.labels)
