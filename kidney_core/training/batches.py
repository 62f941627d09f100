"""What the network gets at each step: batches of images, or of frozen layers' outputs computed once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn

from kidney_core.common.files import write_json
from kidney_core.data import sampling
from kidney_core.networks import models, preprocessing, strongest_kidney
from kidney_core.networks.timm_network import as_timm
from kidney_core.networks.two_teachers import TwoTeachers
from kidney_core.runs import parallel
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.runs.run_folder import Run
from kidney_core.training import frozen_features, precision
from kidney_core.training.lesion_drawing import LesionDrawing
from kidney_core.training.training_data import FEATURES_DTYPE, TrainingData

_FEATURE_DTYPES = ("float32", "float16", "none")


@dataclass(frozen=True)
class Visits:
    """Images in the order in which they are visited.

    Attributes:
        positions: (B,) in the training data.
        numbers: (B, n) random numbers in [0, 1) that decide how each image is augmented.
    """

    positions: np.ndarray
    numbers: np.ndarray

    def __getitem__(self, part: slice) -> "Visits":
        return Visits(self.positions[part], self.numbers[part])

    def __len__(self) -> int:
        return len(self.positions)


def epoch_visits(data: TrainingData, *, seed: int, epoch: int) -> Visits:
    """The visits of an epoch: a function of seed and epoch, so a resumed run makes the same ones."""
    if data.weights is None:
        order = sampling.epoch_order(len(data.train), seed=seed, epoch=epoch)
        return Visits(data.train[order], preprocessing.random_numbers(len(data.train), seed=seed, epoch=epoch)[order])
    draws = sampling.epoch_draws(data.weights, data.n_draws, seed=seed, epoch=epoch)
    return Visits(data.train[draws], preprocessing.random_numbers(len(draws), seed=seed, epoch=epoch))


class Batches(Protocol):
    """Makes the input of `network`, the part of the model that runs at every step.

    Attributes:
        drawing: makes kidneys with drawn lesions, that the network gets beside each batch; None where it gets none.
    """

    network: nn.Module
    drawing: LesionDrawing | None

    def batch(self, positions: np.ndarray, numbers: np.ndarray | None = None) -> torch.Tensor:
        """The network's input for the images at `positions`, augmented by `numbers` where given."""


class PixelBatches:
    """Batches of images; `network` is the whole model, which answers for slices.

    Args:
        offset: of its two teachers, where lesions are drawn.
    """

    def __init__(
        self,
        model: nn.Module,
        data: TrainingData,
        config: TrainingConfig,
        device: torch.device,
        offset: nn.Linear | None = None,
    ) -> None:
        self.network, self.config, self.device = reading_slices(model, data), config, device
        self.drawing = None
        if offset is not None:
            self.network = TwoTeachers(model, offset, data.dataset.labels)
            self.drawing = LesionDrawing.of(data, config)
        self.pixels = data.pixels  # memory-mapped where there are no extra data: processes share it
        # On a GPU the whole dataset lives in its memory: 10,000 slices take 0.5 GB.
        self.on_gpu = torch.from_numpy(np.array(self.pixels)).to(device) if device.type == "cuda" else None

    def batch(self, positions: np.ndarray, numbers: np.ndarray | None = None) -> torch.Tensor:
        if self.on_gpu is None:
            # (B, S, S), or (B, 2, S, S) for each kidney
            grey = torch.from_numpy(self.pixels[positions]).to(self.device)
        else:
            grey = self.on_gpu[torch.from_numpy(positions).to(self.device)]
        if numbers is not None:
            grey = preprocessing.augment(grey, torch.from_numpy(numbers).to(self.device), self.config.augmentation)
        return preprocessing.to_input(grey)  # (B, 3, S, S) or (B, 2, 3, S, S)


def reading_slices(model: nn.Module, data: TrainingData) -> nn.Module:
    """The network that answers for slices, see `strongest_kidney`."""
    return strongest_kidney.reading_slices(model, data.dataset.labels, each_kidney=data.pixels.ndim == 4)


class FeatureBatches:
    """Batches of the frozen trunk's outputs; `network` is the rest of the model."""

    drawing: LesionDrawing | None = None

    def __init__(
        self, network: nn.Module, features: torch.Tensor, mirrored: np.ndarray, n_images: int, device: torch.device
    ) -> None:
        self.network, self.features, self.device = network, features, device
        self.row_of_mirror = np.arange(n_images)  # where a training image is never mirrored, its own
        self.row_of_mirror[mirrored] = n_images + np.arange(len(mirrored))

    def batch(self, positions: np.ndarray, numbers: np.ndarray | None = None) -> torch.Tensor:
        rows = positions
        if numbers is not None:
            rows = np.where(numbers[:, 0] < 0.5, self.row_of_mirror[positions], positions)  # as preprocessing.augment
        return self.features[torch.from_numpy(rows)].to(self.device, torch.float32)  # (B, C, h, w) or (B, D)


class _Tail(nn.Module):
    """The model behind its frozen trunk: (B, C, h, w) features -> (B, n_labels) logits."""

    def __init__(self, model: nn.Module, tail: nn.Module) -> None:
        super().__init__()
        self.model, self.tail = model, tail

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return as_timm(self.model).forward_head(self.tail(features))


def open_batches(
    run: Run,
    model: nn.Module,
    data: TrainingData,
    device: torch.device,
    *,
    progress: Callable[[int, int], None],
    should_stop: Callable[[], bool],
    group: parallel.Group | None = None,
    offset: nn.Linear | None = None,
) -> Batches:
    """Batches for the steps of a run: of frozen layers' outputs where those can be computed once, else of images.

    The first call writes its choice to the run's data.json, and a resumed run keeps to it. The processes of `group`
    compute the frozen layers together; all of them have to call. `offset` as for `PixelBatches`.
    """
    group = group or parallel.Group()
    config = run.config()
    trunk_and_rest = _split_model(model, data, config, device)
    if trunk_and_rest is None:
        return PixelBatches(model, data, config, device, offset)
    trunk, network = trunk_and_rest
    mirrored = data.train if config.augmentation == "flip" else np.array([], np.int64)
    dtype = _features_dtype(run, trunk, data, n_mirrored=len(mirrored), device=device, group=group)
    if dtype == "none":
        return PixelBatches(model, data, config, device)
    mixed = precision.settle(
        run,
        precision.FROZEN,
        lambda: frozen_features.one_pass(trunk, data.pixels, device),
        asked=config.precision,
        device=device,
        group=group,
    )
    features = frozen_features.compute(
        trunk,
        data.pixels,
        mirrored=mirrored,
        dtype=getattr(torch, dtype),
        mixed_precision=mixed,
        device=device,
        progress=progress,
        should_stop=should_stop,
        group=group,
    )
    if features is None:  # stopped
        return PixelBatches(model, data, config, device)
    return FeatureBatches(network, features, mirrored, len(data.y), device)


def _split_model(
    model: nn.Module, data: TrainingData, config: TrainingConfig, device: torch.device
) -> tuple[nn.Module, nn.Module] | None:
    """(frozen trunk, the rest); None where the trunk's outputs cannot be kept: it learns, or images vary too much."""
    if config.trainable == models.ALL or config.augmentation not in ("none", "flip") or data.pixels.ndim == 4:
        return None
    probe = preprocessing.to_input(torch.from_numpy(np.array(data.pixels[:2]))).to(device)
    trunk_and_tail = frozen_features.frozen_prefix(model, probe)
    if trunk_and_tail is None:
        return None
    trunk, tail = trunk_and_tail
    classifier = frozen_features.pooled_head(model, trunk, tail, probe)
    if classifier is not None:
        return nn.Sequential(trunk, frozen_features.Pool(model)), classifier
    return trunk, _Tail(model, tail)


def _features_dtype(
    run: Run, trunk: nn.Module, data: TrainingData, *, n_mirrored: int, device: torch.device, group: parallel.Group
) -> str:
    """In which of `_FEATURE_DTYPES` the run keeps features: as its data.json says, else as memory allows."""
    dtype = run.data().get(FEATURES_DTYPE) or frozen_features.fitting_dtype(
        trunk, data.pixels, n_mirrored=n_mirrored, device=device, n_copies=group.local_size
    )
    dtype = _FEATURE_DTYPES[group.from_leader(_FEATURE_DTYPES.index(dtype))]
    if group.leads:
        write_json(run.folder / "data.json", {**run.data(), FEATURES_DTYPE: dtype})
    return dtype
