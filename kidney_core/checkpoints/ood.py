"""Out-of-distribution check: the distance of a slice to the training slices, in the network's own features.

It answers two questions before a prediction is shown. Is the slice out of distribution, so unlike the training
data that a prediction means nothing? And is it so near to a training slice that its scan was seen in training?
Both are distances in the space of a thumbnail and the network's pooled feature maps of several depths, whitened by
their principal components. The residual that the components leave out is checked too, since unusual images differ
there. The thumbnail keeps positions, which pooling loses, and works for a network that learned little. Sources: Sun
et al. 2022, arXiv:2204.06507 (nearest neighbours); Rippel et al. 2021, arXiv:2005.14140 (features of several depths).

The thresholds come from slices that are not in the reference: see `fit_reference`.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.numpy
import torch
from safetensors import SafetensorError
from torch import nn
from torch.nn import functional

from kidney_core.checkpoints import gate_thresholds
from kidney_core.checkpoints.checkpoint import REFERENCE_FILE, Checkpoint
from kidney_core.common import digests
from kidney_core.common.errors import CheckpointError
from kidney_core.common.files import write_atomically
from kidney_core.networks import preprocessing
from kidney_core.networks.strongest_kidney import strongest_squares
from kidney_core.networks.timm_network import as_timm

MAX_COMPONENTS, EXPLAINED = 64, 0.99  # of the variance
N_SHOWN = 4
THUMBNAIL_PX = 8
_BATCH = 16
# Threshold -> its key in reference.safetensors, as version 0.4 named it.
_STORED_THRESHOLDS = {"max_distance": "far", "max_residual": "odd", "seen_distance": "near"}


@dataclass(frozen=True)
class Neighbour:
    """A training slice: its path in its dataset, empty for one of the extra data, and its distance."""

    path: str
    label: str
    distance: float


@dataclass(frozen=True)
class TrainingMatch:
    """How near a slice is to the training data.

    Attributes:
        nearest: the nearest training slices of the dataset, one a scan, nearest first.
        closest: the nearest training slice whose scan is known, of dataset or extra data.
        distance: to the nearest training slice of dataset or extra data.
        residual: what the principal components leave out, per feature, in standard deviations.
        is_out_of_distribution: its distance or its residual is above the threshold.
        is_seen_scan: so near to a training slice, of the extra data too, as only slices of one scan are.
    """

    nearest: tuple[Neighbour, ...]
    closest: Neighbour
    distance: float
    residual: float
    is_out_of_distribution: bool
    is_seen_scan: bool


@dataclass(frozen=True)
class Reference:
    """The training slices of a network as thumbnails and in its own features.

    Attributes:
        mean, scale: (F,) of the features.
        axes: (F, D) orthonormal principal directions of the standardised features.
        deviation: (D,) of the training slices along them.
        embedded: (N, D) float32 the training slices, whitened.
        paths, labels, series: (N,) of each; path "" for extra data. A slice may be there twice, as it is and mirrored.
        max_distance, max_residual: thresholds above which a slice is out of distribution.
        seen_distance: distance up to which a slice counts as one of a scan that was seen in training.
    """

    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    deviation: np.ndarray
    embedded: np.ndarray
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    series: np.ndarray
    max_distance: float
    max_residual: float
    seen_distance: float

    def whiten(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, F) features -> (N, D) whitened components, and (N,) residuals."""
        features = features[:, -len(self.mean) :]  # references of 0.4 have no thumbnail, which comes first
        standard = (features - self.mean) / self.scale
        along = standard @ self.axes
        residual = np.linalg.norm(standard - along @ self.axes.T, axis=1) / np.sqrt(standard.shape[1])
        return along / self.deviation, residual

    def match(self, features: np.ndarray) -> list[TrainingMatch]:
        """How near each slice is to the training data, by its features (N, F)."""
        whitened, residuals = self.whiten(features)
        distances = _distances(whitened, self.embedded)
        return [self._match(row, float(residual)) for row, residual in zip(distances, residuals, strict=True)]

    def _match(self, distances: np.ndarray, residual: float) -> TrainingMatch:
        nearest: dict[int, Neighbour] = {}
        for position in np.argsort(distances, kind="stable"):
            scan = int(self.series[position])
            if self.paths[position] and scan not in nearest:
                nearest[scan] = Neighbour(self.paths[position], self.labels[position], float(distances[position]))
                if len(nearest) == N_SHOWN:
                    break
        closest = float(distances.min())
        # The references of 0.5 know no scans of extra data.
        of_scans = np.where(self.series >= 0, distances, np.inf)
        position = int(of_scans.argmin())
        return TrainingMatch(
            nearest=tuple(nearest.values()),
            closest=Neighbour(self.paths[position], self.labels[position], float(of_scans[position])),
            distance=closest,
            residual=residual,
            is_out_of_distribution=closest > self.max_distance or residual > self.max_residual,
            is_seen_scan=float(of_scans[position]) <= self.seen_distance,
        )


@torch.inference_mode()
def slice_features(model: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """Thumbnail, then the mean of each feature map of every depth but the first: (N, S, S) uint8 -> (N, F) float64.

    Of images of each kidney, (N, 2, S, S), those that carry the answer count.
    """
    model.eval()
    pixels = strongest_squares(model, pixels)
    device = next(model.parameters()).device
    batches = []
    for start in range(0, len(pixels), _BATCH):
        grey = torch.from_numpy(np.array(pixels[start : start + _BATCH])).to(device)
        maps = as_timm(model).forward_intermediates(preprocessing.to_input(grey), intermediates_only=True)
        batches.append(_features(grey, maps))
    return np.concatenate(batches) if batches else np.empty((0, 0))


@torch.inference_mode()
def features_and_logits(model: nn.Module, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in one forward pass: (N, S, S) uint8 -> (N, F) as `slice_features`, and (N, n_labels) logits, float64."""
    model.eval()
    pixels = strongest_squares(model, pixels)
    device = next(model.parameters()).device
    grey = torch.from_numpy(np.array(pixels)).to(device)
    network = as_timm(model)
    last, maps = network.forward_intermediates(preprocessing.to_input(grey))
    return _features(grey, maps), network.forward_head(last).cpu().double().numpy()  # Apple's MPS has no double


def _features(grey: torch.Tensor, maps: list[torch.Tensor]) -> np.ndarray:
    thumbnail = functional.adaptive_avg_pool2d(grey[:, None].float() / 255, THUMBNAIL_PX).flatten(1)
    return torch.cat([thumbnail, *(depth.mean(dim=(2, 3)) for depth in maps[1:])], dim=1).cpu().double().numpy()


def fit_reference(
    features: np.ndarray,
    *,
    same_scans: np.ndarray,
    new_scans: np.ndarray,
    new_series: np.ndarray,
    paths: tuple[str, ...],
    labels: tuple[str, ...],
    series: np.ndarray,
) -> Reference:
    """A reference of training slices, with thresholds from slices that are not in it.

    Out of distribution: farther, or with a larger residual, than slices of new scans are, see `gate_thresholds`. Seen in training:
    nearer than halfway between the distances of other slices of the same scans (their 99th percentile) and of new scans
    (their 1st). Where the two overlap, the threshold is the distance with equal error rates of both kinds.

    Args:
        features: (N, F) features of the training slices to keep.
        same_scans: (K, F) of other slices of the same scans; may be empty.
        new_scans: (M, F) of validation slices, whose scans have no slice in training.
        new_series: (M,) their scans.
        paths, labels, series: (N,) of the slices to keep; path "" for extra data.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    standard = (features - mean) / scale
    _, singular, directions = np.linalg.svd(standard, full_matrices=False)
    explained = np.cumsum(singular**2) / (singular**2).sum()
    # The directions of least variance are noise, which whitening would amplify.
    n_components = min(MAX_COMPONENTS, int(np.searchsorted(explained, EXPLAINED)) + 1)
    axes = directions[:n_components].T
    deviation = np.maximum(singular[:n_components] / np.sqrt(len(standard)), 1e-6)
    embedded = (standard @ axes / deviation).astype(np.float32)
    reference = Reference(mean, scale, axes, deviation, embedded, paths, labels, series, np.inf, np.inf, 0.0)
    new, residual = reference.whiten(new_scans)
    to_training = _distances(new, embedded)
    nearest = to_training.min(axis=1)
    to_own = np.zeros(1)
    if len(same_scans):
        to_own = _distances(reference.whiten(same_scans)[0], embedded).min(axis=1)
    return replace(
        reference,
        max_distance=gate_thresholds.scan_threshold(nearest, new_series),
        max_residual=gate_thresholds.scan_threshold(residual, new_series),
        seen_distance=_seen_threshold(to_own, nearest),
    )


def _seen_threshold(to_own: np.ndarray, to_others: np.ndarray) -> float:
    """The distance that separates slices of a training scan, (K,) distances, from those of other scans, (M,)."""
    low, high = np.percentile(to_own, 99), np.percentile(to_others, 1)
    if low <= high:
        return float(low + high) / 2
    distances = np.sort(np.concatenate([to_own, to_others]))
    missed = 1 - np.searchsorted(np.sort(to_own), distances, side="right") / len(to_own)
    wrongly_seen = np.searchsorted(np.sort(to_others), distances, side="right") / len(to_others)
    return float(distances[np.abs(missed - wrongly_seen).argmin()])


def with_thresholds_of(reference: Reference, distances: pd.DataFrame) -> Reference:
    """A reference with the thresholds that follow from tested slices of the networks of its recipe, see `gate_thresholds`.

    Distances of several networks can be compared, since each is in units of its own training slices.
    """
    max_distance, max_residual = gate_thresholds.thresholds(distances)
    return replace(reference, max_distance=max_distance, max_residual=max_residual)


def to_bytes(reference: Reference) -> bytes:
    """A reference as a safetensors file; in half precision where that is exact enough."""
    tensors: dict[str, np.ndarray] = {
        "mean": reference.mean.astype(np.float32),
        "scale": reference.scale.astype(np.float32),
        "axes": reference.axes.astype(np.float32),
        "deviation": reference.deviation.astype(np.float32),
        "embedded": reference.embedded.astype(np.float16),
        "series": reference.series.astype(np.int32),
    }
    facts: dict[str, Any] = {"paths": reference.paths, "labels": reference.labels}
    facts |= {key: getattr(reference, name) for name, key in _STORED_THRESHOLDS.items()}
    # safetensors writes the memory of an array as it is.
    tensors = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    return safetensors.numpy.save(tensors, metadata={"reference": json.dumps(facts)})


def save(reference: Reference, path: Path) -> None:
    """Write a reference as `to_bytes` makes it."""
    content = to_bytes(reference)
    write_atomically(path, lambda partial: partial.write_bytes(content))


def load(path: Path) -> Reference:
    """Read what `save` wrote. Raises CheckpointError when the file is missing or damaged."""
    return _parse(digests.read_file(path), path)


def _parse(content: bytes, path: Path) -> Reference:
    try:
        tensors = safetensors.numpy.load(content)
        # The library gives metadata of files only: the header's length, as 8 bytes, stands before the header.
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        facts: dict[str, Any] = json.loads(header["__metadata__"]["reference"])
        mean, scale, axes, deviation = (
            tensors[name].astype(np.float64) for name in ("mean", "scale", "axes", "deviation")
        )
        max_distance, max_residual, seen_distance = (float(facts[key]) for key in _STORED_THRESHOLDS.values())
        return Reference(
            mean=mean,
            scale=scale,
            axes=axes,
            deviation=deviation,
            embedded=tensors["embedded"].astype(np.float32),
            paths=tuple(facts["paths"]),
            labels=tuple(facts["labels"]),
            series=tensors["series"],
            max_distance=max_distance,
            max_residual=max_residual,
            seen_distance=seen_distance,
        )
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"“{path}” is damaged ({error}). Copy the checkpoint's folder again.") from error


def open_reference(checkpoint: Checkpoint) -> Reference | None:
    """The training slices of a checkpoint, see `Reference`; None where it ships none.

    Raises: CheckpointError when the file is missing, damaged, or not the one the card describes.
    """
    expected = checkpoint.card.get("reference_sha256")
    if expected is None:
        return None
    path = checkpoint.folder / REFERENCE_FILE
    return _parse(digests.read_verified(path, expected), path)


def _distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N, D) and (M, D) -> (N, M) Euclidean distances."""
    squared = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None, :] - 2 * one @ other.T
    return np.sqrt(np.maximum(squared, 0))
