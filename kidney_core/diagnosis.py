"""A slice and a checkpoint -> calibrated probabilities and an explanation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from kidney_core import calibration, explanation, familiarity, preprocessing
from kidney_core import checkpoint as checkpoints
from kidney_core.checkpoint import Checkpoint
from kidney_core.errors import ModelError
from kidney_core.familiarity import Reference
from kidney_core.framing import Seen
from kidney_core.slices import Slice


@dataclass(frozen=True)
class Reader:
    """A checkpoint ready to read slices; safe to share between threads."""

    checkpoint: Checkpoint
    model: nn.Module
    reference: Reference | None = None  # the training slices in the network's features, where it ships them
    explanations: dict[str, Any] | None = None  # how well its maps point, where that was measured: see `pointing`


@dataclass(frozen=True)
class Diagnosis:
    """What a model says of one slice.

    Attributes:
        probabilities: label -> calibrated probability, in the checkpoint's order; they sum to 1.
        predicted_label: the most probable label.
        explained_label: the label that `heatmap` explains.
        heatmap: (H, W) float32 in 0..1 over the slice's own pixels, the brightest place at 1; None where the network
            cannot be explained or nothing speaks for the label, with the reason in `no_heatmap_because`.
        method: how the map was drawn, a name of `explanation.METHODS`.
        against_label: the label that the explained one was set against, or None.
        strength: the peak of the map on the absolute scale of this network and method, where 1 is as bright as one map
            in twenty gets; None where that scale was not measured, and for a label set against another.
    """

    checkpoint_name: str
    probabilities: dict[str, float]
    predicted_label: str
    explained_label: str
    heatmap: np.ndarray | None
    no_heatmap_because: str = ""
    method: str = explanation.DEFAULT_METHOD
    against_label: str | None = None
    strength: float | None = None

    @property
    def map_in_words(self) -> str:
        """What the map shows, or why there is none, in sentences."""
        if self.heatmap is None:
            return self.no_heatmap_because
        against = f" rather than {self.against_label}" if self.against_label else ""
        strength = (
            "" if self.strength is None else f" Its peak is {100 * self.strength:.0f} % of a bright map of this model."
        )
        return (
            f"{self.method} of {self.explained_label}{against} ({100 * self.probabilities[self.explained_label]:.1f} %). "
            f"{explanation.METHODS[self.method].plain} Clear places do not speak for it at all; each map is scaled to its own "
            f"brightest place.{strength} It shows what the network used, which need not be the lesion."
        )


def open_reader(checkpoint: Checkpoint, *, device: str = "cpu") -> Reader:
    """Load a checkpoint's network for reading, and check every file that decides what it says. Raises CheckpointError."""
    model = checkpoints.load_model(checkpoint, device=device)
    checkpoint.trained_on()
    model.requires_grad_(False)
    return Reader(checkpoint, model, familiarity.open_reference(checkpoint), checkpoint.explanations())


def see(reader: Reader, image: Slice) -> Seen:
    """A slice as the network of a reader sees it."""
    return reader.checkpoint.view.see(image.network_grey8())


def network_input(reader: Reader, seen: Seen) -> torch.Tensor:
    """What the network of a reader sees as it takes it: (1, 3, S, S) on its device."""
    return preprocessing.input_of(seen).to(next(reader.model.parameters()).device)


def draw_map(
    reader: Reader, seen: Seen, *, explain: str | None, against: str | None, method: str
) -> explanation.Heatmap:
    """The evidence over the square input. Raises ModelError where the network cannot be explained so."""
    labels = reader.checkpoint.labels
    for label in (explain, against):
        if label is not None and label not in labels:
            raise ValueError(f"explain and against must be of {labels}, got {label!r}")
    return explanation.explain(
        reader.model,
        network_input(reader, seen),
        labels.index(explain) if explain else None,
        method=method,
        against=labels.index(against) if against else None,
    )


def diagnose(
    reader: Reader,
    image: Slice,
    *,
    explain: str | None = None,
    against: str | None = None,
    method: str = explanation.DEFAULT_METHOD,
) -> Diagnosis:
    """Classify a slice as a network sees it, whatever window is shown, and explain one label.

    Args:
        explain: the label to explain; the predicted one by default.
        against: explain why `explain` rather than this label.
        method: a name of `explanation.METHODS`.
    """
    labels = reader.checkpoint.labels
    seen, heatmap, strength, reason = see(reader, image), None, None, ""
    try:
        found = draw_map(reader, seen, explain=explain, against=against, method=method)
        logits, explained = found.logits, labels[found.target]
        # The scale was measured for single labels: a difference of two has another one.
        full_scale = (reader.explanations or {}).get("full_scale", {}).get(method) if against is None else None
        strength = found.peak / full_scale if full_scale else None
        if found.is_empty:
            reason = f"Nothing in this image speaks for {explained}: the map is zero everywhere."
        else:
            heatmap = seen.over(found.scaled())
    except ModelError as error:
        with torch.inference_mode():
            logits = reader.model(network_input(reader, seen))[0].double().cpu().numpy()
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
        method=method,
        against_label=against,
        strength=strength,
    )
