"""How like its training material a slice is, by a thumbnail and the network's own features at several depths.

Two questions are asked of a slice before a network may answer: is it anything like what the network learned
from, and is it so like a training slice that the network has seen this very scan? Both are distances to the
training slices in the space of a thumbnail and the network's pooled feature maps, whitened by their principal
components; what the components leave out is asked too, since strange images differ there. The thumbnail tells what
pooling forgets, where things lie, and what a network that learned little does not see. Sources: Sun et al. 2022,
arXiv:2204.06507 (nearest neighbours); Rippel et al. 2021, arXiv:2005.14140 (features of several depths).

The thresholds come from slices that are not among the kept ones: see `learn`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from safetensors import SafetensorError
from safetensors.numpy import save_file
from torch import nn
from torch.nn import functional

from kidney_core import digests, preprocessing
from kidney_core.checkpoint import REFERENCE_FILE, Checkpoint
from kidney_core.errors import CheckpointError
from kidney_core.files import write_whole

MAX_COMPONENTS, EXPLAINED = 64, 0.99  # of the variance
ACCEPTED_PERCENT = 99.0  # of the slices of scans kept out of training
N_SHOWN = 4
THUMBNAIL_PX = 8
_BATCH = 16


@dataclass(frozen=True)
class Neighbour:
    """A training slice: its path in its dataset, empty for one of the extra data, and its distance."""

    path: str
    label: str
    distance: float


@dataclass(frozen=True)
class Familiarity:
    """How like the training material a slice is.

    Attributes:
        nearest: the nearest training slices of the dataset, one a scan, nearest first.
        distance: to the nearest training slice of dataset or extra data.
        residual: what the principal components leave out, per feature, in standard deviations.
        is_foreign: unlike what the network learned from, in distance or residual.
        is_seen: so like a training slice of the dataset as only slices of one scan are.
    """

    nearest: tuple[Neighbour, ...]
    distance: float
    residual: float
    is_foreign: bool
    is_seen: bool


@dataclass(frozen=True)
class Reference:
    """The training slices of a network as thumbnails and in its own features.

    Attributes:
        mean, scale: (F,) of the features.
        axes: (F, D) orthonormal principal directions of the standardised features.
        deviation: (D,) of the training slices along them.
        embedded: (N, D) float32 the training slices, whitened.
        paths, labels, series: (N,) of each; path "" and series -1 for extra data.
        far, odd: largest distance and residual that are accepted.
        near: largest distance at which a slice is taken for one of a scan that was seen.
    """

    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    deviation: np.ndarray
    embedded: np.ndarray
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    series: np.ndarray
    far: float
    odd: float
    near: float

    def embed(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, F) features -> (N, D) whitened components, and (N,) residuals."""
        features = features[:, -len(self.mean) :]  # references of 0.4 know no thumbnail, which comes first
        standard = (features - self.mean) / self.scale
        along = standard @ self.axes
        residual = np.linalg.norm(standard - along @ self.axes.T, axis=1) / np.sqrt(standard.shape[1])
        return along / self.deviation, residual

    def look_up(self, features: np.ndarray) -> list[Familiarity]:
        """How familiar each slice is, by its features (N, F)."""
        embedded, residual = self.embed(features)
        distances = _distances(embedded, self.embedded)
        return [self._describe(row, float(odd)) for row, odd in zip(distances, residual, strict=True)]

    def _describe(self, distances: np.ndarray, residual: float) -> Familiarity:
        nearest: dict[int, Neighbour] = {}
        for position in np.argsort(distances, kind="stable"):
            scan = int(self.series[position])
            if scan >= 0 and scan not in nearest:
                found = Neighbour(self.paths[position], self.labels[position], float(distances[position]))
                nearest[scan] = found
                if len(nearest) == N_SHOWN:
                    break
        closest = float(distances.min())
        return Familiarity(
            nearest=tuple(nearest.values()),
            distance=closest,
            residual=residual,
            is_foreign=closest > self.far or residual > self.odd,
            is_seen=bool(nearest) and next(iter(nearest.values())).distance <= self.near,
        )


@torch.inference_mode()
def slice_features(model: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """Thumbnail, then the mean of each feature map of every depth but the first: (N, S, S) uint8 -> (N, F) float64."""
    model.eval()
    device = next(model.parameters()).device
    found = []
    for start in range(0, len(pixels), _BATCH):
        grey = torch.from_numpy(np.array(pixels[start : start + _BATCH])).to(device)
        found.append(
            _features(grey, model.forward_intermediates(preprocessing.to_input(grey), intermediates_only=True))
        )
    return np.concatenate(found) if found else np.empty((0, 0))


@torch.inference_mode()
def features_and_logits(model: nn.Module, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in one forward pass: (N, S, S) uint8 -> (N, F) as `slice_features`, and (N, n_labels) logits, float64."""
    model.eval()
    device = next(model.parameters()).device
    grey = torch.from_numpy(np.array(pixels)).to(device)
    last, maps = model.forward_intermediates(preprocessing.to_input(grey))
    return _features(grey, maps), model.forward_head(last).cpu().double().numpy()  # Apple's MPS has no double


def _features(grey: torch.Tensor, maps: list[torch.Tensor]) -> np.ndarray:
    thumbnail = functional.adaptive_avg_pool2d(grey[:, None].float() / 255, THUMBNAIL_PX).flatten(1)
    return torch.cat([thumbnail, *(depth.mean(dim=(2, 3)) for depth in maps[1:])], dim=1).cpu().double().numpy()


def learn(
    features: np.ndarray,
    *,
    same_scans: np.ndarray,
    new_scans: np.ndarray,
    paths: tuple[str, ...],
    labels: tuple[str, ...],
    series: np.ndarray,
) -> Reference:
    """A reference of training slices, and its thresholds from slices that are not among them.

    Foreign is what is farther, or leaves a larger residual, than 99 % of the slices of new scans. Seen is what is nearer
    than halfway between the distances of slices of the same scans (their 99th percentile) and of new ones (their 1st); where
    the two overlap, nearer than the distance at which as large a share of the former is missed as of the latter taken for
    seen.

    Args:
        features: (N, F) features of the training slices to keep.
        same_scans: (K, F) of other slices of the same scans; may be empty.
        new_scans: (M, F) of validation slices, whose scans have no slice in training.
        paths, labels, series: (N,) of the slices to keep; path "" and series -1 for extra data.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    standard = (features - mean) / scale
    _, singular, directions = np.linalg.svd(standard, full_matrices=False)
    explained = np.cumsum(singular**2) / (singular**2).sum()
    # What varies least is noise, which whitening would blow up.
    n_components = min(MAX_COMPONENTS, int(np.searchsorted(explained, EXPLAINED)) + 1)
    axes = directions[:n_components].T
    deviation = np.maximum(singular[:n_components] / np.sqrt(len(standard)), 1e-6)
    embedded = (standard @ axes / deviation).astype(np.float32)
    known = Reference(mean, scale, axes, deviation, embedded, paths, labels, series, np.inf, np.inf, 0.0)
    new, residual = known.embed(new_scans)
    to_training = _distances(new, embedded)
    to_scans = to_training[:, series >= 0].min(axis=1)
    to_own = np.zeros(1)
    if len(same_scans):
        to_own = _distances(known.embed(same_scans)[0], embedded[series >= 0]).min(axis=1)
    return Reference(
        mean, scale, axes, deviation, embedded, paths, labels, series,
        far=float(np.percentile(to_training.min(axis=1), ACCEPTED_PERCENT)),
        odd=float(np.percentile(residual, ACCEPTED_PERCENT)),
        near=_boundary(to_own, to_scans),
    )  # fmt: skip


def _boundary(to_own: np.ndarray, to_others: np.ndarray) -> float:
    """Between the distances to the slice's own scan, (K,), and those to other scans, (M,)."""
    low, high = np.percentile(to_own, 99), np.percentile(to_others, 1)
    if low <= high:
        return float(low + high) / 2
    distances = np.sort(np.concatenate([to_own, to_others]))
    missed = 1 - np.searchsorted(np.sort(to_own), distances, side="right") / len(to_own)
    taken = np.searchsorted(np.sort(to_others), distances, side="right") / len(to_others)
    return float(distances[np.abs(missed - taken).argmin()])


def save(reference: Reference, path: Path) -> None:
    """Write a reference; half precision where that is exact enough."""
    tensors = {
        "mean": reference.mean.astype(np.float32),
        "scale": reference.scale.astype(np.float32),
        "axes": reference.axes.astype(np.float32),
        "deviation": reference.deviation.astype(np.float32),
        "embedded": reference.embedded.astype(np.float16),
        "series": reference.series.astype(np.int32),
    }
    described = {name: getattr(reference, name) for name in ("paths", "labels", "far", "odd", "near")}
    # safetensors writes the memory of an array as it lies.
    tensors = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    write_whole(path, lambda partial: save_file(tensors, partial, metadata={"reference": json.dumps(described)}))


def load(path: Path) -> Reference:
    """Read what `save` wrote. Raises CheckpointError when the file is missing or damaged."""
    return _parse(digests.read_file(path), path)


def _parse(content: bytes, path: Path) -> Reference:
    try:
        tensors = safetensors.numpy.load(content)
        # The library gives metadata of files only: the header's length, as 8 bytes, stands before the header.
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        described: dict[str, Any] = json.loads(header["__metadata__"]["reference"])
        return Reference(
            **{name: tensors[name].astype(np.float64) for name in ("mean", "scale", "axes", "deviation")},
            embedded=tensors["embedded"].astype(np.float32),
            series=tensors["series"],
            paths=tuple(described["paths"]),
            labels=tuple(described["labels"]),
            **{name: float(described[name]) for name in ("far", "odd", "near")},
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
    return _parse(digests.read_described(path, expected), path)


def _distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N, D) and (M, D) -> (N, M) Euclidean distances."""
    squared = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None, :] - 2 * one @ other.T
    return np.sqrt(np.maximum(squared, 0))
