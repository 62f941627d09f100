"""A slice and a checkpoint -> calibrated probabilities and an explanation."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from kidney_core import calibration, explanation, familiarity, preprocessing
from kidney_core import checkpoint as checkpoints
from kidney_core.checkpoint import Checkpoint
from kidney_core.errors import ModelError
from kidney_core.familiarity import Reference
from kidney_core.slices import Slice


@dataclass(frozen=True)
class Reader:
    """A checkpoint ready to read slices; safe to share between threads."""

    checkpoint: Checkpoint
    model: nn.Module
    reference: Reference | None = None  # the training slices in the network's features, where it ships them


@dataclass(frozen=True)
class Diagnosis:
    """What a model says of one slice.

    Attributes:
        probabilities: label -> calibrated probability, in the checkpoint's order; they sum to 1.
        predicted_label: the most probable label.
        explained_label: the label that `heatmap` explains.
        heatmap: (H, W) float32 in 0..1 over the slice's own pixels; None where the network cannot be
            explained or nothing speaks for the label, with the reason in `no_heatmap_because`.
    """

    checkpoint_name: str
    probabilities: dict[str, float]
    predicted_label: str
    explained_label: str
    heatmap: np.ndarray | None
    no_heatmap_because: str = ""


def open_reader(checkpoint: Checkpoint, *, device: str = "cpu") -> Reader:
    """Load a checkpoint's network for reading. Raises CheckpointError."""
    model = checkpoints.load_model(checkpoint, device=device)
    model.requires_grad_(False)
    return Reader(checkpoint, model, familiarity.open_reference(checkpoint))


def diagnose(reader: Reader, image: Slice, *, explain: str | None = None) -> Diagnosis:
    """Classify a slice as a network sees it, whatever window is shown, and explain one label.

    Args:
        explain: the label to explain; the predicted one by default.
    """
    labels = reader.checkpoint.labels
    if explain is not None and explain not in labels:
        raise ValueError(f"explain must be one of {labels}, got {explain!r}")
    square = preprocessing.square(image.network_grey8(), reader.checkpoint.size_px)
    device = next(reader.model.parameters()).device
    batch = preprocessing.to_input(torch.from_numpy(np.array(square)).unsqueeze(0).to(device))  # (1, 3, S, S)
    heatmap, reason = None, ""
    try:
        found = explanation.grad_cam(reader.model, batch, labels.index(explain) if explain else None)
        logits, explained = found.logits, labels[found.target]
        if found.is_empty:
            reason = f"Nothing in this image speaks for {explained}: the map is zero everywhere."
        else:
            heatmap = explanation.over_slice(
                found.scaled(), image.height_px, image.width_px, size_px=reader.checkpoint.size_px
            )
    except ModelError as error:
        with torch.inference_mode():
            logits = reader.model(batch)[0].double().cpu().numpy()
        explained, reason = explain or labels[int(logits.argmax())], str(error)
    exponent = np.exp(logits - logits.max())
    probabilities = calibration.calibrate((exponent / exponent.sum())[None], reader.checkpoint.temperature)[0]
    return Diagnosis(
        checkpoint_name=reader.checkpoint.name,
        probabilities={label: float(p) for label, p in zip(labels, probabilities, strict=True)},
        predicted_label=labels[int(probabilities.argmax())],
        explained_label=explained,
        heatmap=heatmap,
        no_heatmap_because=reason,
    )
