"""A network over many squares, or a checkpoint over a dataset -> probabilities."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from kidney_core.checkpoints import checkpoint as checkpoints
from kidney_core.common.errors import DatasetError
from kidney_core.data import dataset_kidneys
from kidney_core.data.dataset import Dataset, short_hash
from kidney_core.data.pixel_cache import dataset_pixels
from kidney_core.data.series import scan_table
from kidney_core.kidneys import finder
from kidney_core.metrics import calibration
from kidney_core.metrics.predictions import Predictions
from kidney_core.networks import models, preprocessing

# On a CPU the activations of few images stay in its cache, and in memory that is used again.
_BATCH_ON_CPU, _BATCH = 8, 64


@torch.inference_mode()
def predict_probabilities(
    model: nn.Module, pixels: np.ndarray, *, progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Uncalibrated probabilities of grey squares: (N, S, S), or (N, 2, S, S) of each kidney, uint8 -> (N, n_labels) float64."""
    model.eval()
    device = next(model.parameters()).device
    batch = _BATCH_ON_CPU if device.type == "cpu" else _BATCH
    batches = []
    for start in range(0, len(pixels), batch):
        grey = torch.from_numpy(np.array(pixels[start : start + batch])).to(device)
        logits = model(preprocessing.to_input(grey))
        batches.append(logits.cpu().double().softmax(dim=1).numpy())  # Apple's MPS has no double
        if progress:
            progress(min(start + batch, len(pixels)), len(pixels))
    return np.concatenate(batches) if batches else np.empty((0, 0))


def require_known_labels(checkpoint: checkpoints.Checkpoint, dataset: Dataset) -> None:
    """Raise DatasetError where a folder has a class that a checkpoint cannot predict."""
    unknown = sorted(set(dataset.labels) - set(checkpoint.labels))
    if unknown:
        raise DatasetError(
            f"The folder has the class “{unknown[0]}”, which the checkpoint “{checkpoint.name}” does not know "
            f"(it knows {', '.join(checkpoint.labels)}). Leave that class out, or choose another checkpoint."
        )


def n_trained_on(checkpoint: checkpoints.Checkpoint, dataset: Dataset) -> int:
    """How many slices of a folder are files that the checkpoint was trained on."""
    trained_on = checkpoint.trained_on()
    return sum(short_hash(sha256) in trained_on for sha256 in dataset.table["sha256"])


def predict_dataset(
    checkpoint: checkpoints.Checkpoint,
    dataset: Dataset,
    *,
    device: str = "auto",
    only_kidneys: bool = False,
    progress_of: Callable[[str], Callable[[int, int], None] | None] = lambda _title: None,
) -> Predictions:
    """The predictions of a checkpoint on a folder, with calibrated probabilities.

    Labels of the folder that the checkpoint does not know cannot be right: their slices are refused.

    Args:
        only_kidneys: leave out slices on which the kidney finder sees no kidney; they are always left out where the network
            looks at kidneys alone.
        progress_of: title of a task -> its progress callback.

    Raises: DatasetError when the folder and the checkpoint have no label in common or one unknown to it, or no slice is
        left; CheckpointError where a finder is needed and none is installed.
    """
    require_known_labels(checkpoint, dataset)
    if only_kidneys or checkpoint.view.needs_kidneys:
        dataset = dataset_kidneys.only_with_kidneys(dataset, finder.open_installed(), progress_of=progress_of)
    model = checkpoints.load_slice_model(checkpoint, device=str(models.pick_device(device)))
    pixels = dataset_pixels(dataset, checkpoint.view, progress_of=progress_of)
    probabilities = predict_probabilities(model, pixels, progress=progress_of(f"Predicting with {checkpoint.name}"))
    calibrated = calibration.calibrate(probabilities, checkpoint.temperature)
    rows = scan_table(dataset)[["path", "label", "series", "plane"]].assign(temperature=checkpoint.temperature)
    return Predictions.from_probabilities(rows, calibrated, checkpoint.labels)
