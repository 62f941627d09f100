"""A small network that is trained from scratch in seconds, and asked of slices in place of a checkpoint's."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from kidney_core.checkpoints import ood
from kidney_core.common.labels import LABELS
from kidney_core.diagnosis.inference import Predictor
from kidney_core.imaging.slices import Slice
from kidney_core.kidneys.kidney_view import frame_slices
from kidney_core.networks import models, preprocessing
from kidney_core.networks.strongest_kidney import reading_slices
from kidney_core.teaching import disturbances
from kidney_core.teaching.kidney_pictures import VIEW
from kidney_core.teaching.taught_mark import Mark

_ARCHITECTURE = "test_resnet"  # of half a million weights
_BATCH, _LEARNING_RATE, _WEIGHT_DECAY = 16, 3e-3, 0.02


@dataclass(frozen=True)
class TaughtNetwork:
    """The network that learned the mark, and what is needed to ask it of slices: see `as_predictor`."""

    mark: Mark
    network: nn.Module = field(repr=False)
    reference: ood.Reference = field(repr=False)


def train(squares: np.ndarray, y: np.ndarray, n_epochs: int, tell: Callable[[int], None]) -> nn.Module:
    """A small network trained from scratch, the same each time on one machine.

    Args:
        squares, y: (N, S, S) uint8 pictures and (N,) positions of their labels.
        tell: called with the number of epochs done.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = models.build_model(_ARCHITECTURE, len(LABELS), image_size_px=squares.shape[-1])
        images, targets = torch.from_numpy(squares), torch.from_numpy(y)
        optimizer = torch.optim.AdamW(network.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
        n_steps = max(1, len(y) // _BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=n_epochs * n_steps)
        for epoch in range(n_epochs):
            network.train()
            order = torch.randperm(len(y))
            for step in range(n_steps):
                rows = order[step * _BATCH : (step + 1) * _BATCH]
                loss = functional.cross_entropy(network(preprocessing.to_input(images[rows])), targets[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
            tell(epoch + 1)
    return network.requires_grad_(False).eval()


def reference_of(
    network: nn.Module, squares: np.ndarray, table: pd.DataFrame, train: np.ndarray, test: np.ndarray
) -> ood.Reference:
    """A gate like that of a checkpoint, of the pictures that the network learned from; the unseen scans set its limits."""
    features, series = ood.slice_features(network, squares), table["series"].to_numpy()
    return ood.fit_reference(
        features[train],
        same_scans=features[:0],
        new_scans=features[test],
        new_series=series[test],
        paths=tuple(f"simulated {number}" for number in train),
        labels=tuple(table["label"].iloc[train]),
        series=series[train],
    )


def as_predictor(taught: TaughtNetwork, predictor: Predictor) -> Predictor:
    """The taught network in place of a predictor's, with its finder; it is on no disk.

    Raises: CheckpointError, when it is asked, without a finder.
    """
    card = {
        **predictor.checkpoint.card,
        "labels": list(LABELS),
        "preprocessing": {"size_px": VIEW.size_px, "framing": VIEW.framing, "greys": VIEW.greys},
        "temperature": 1.0,
    }
    for measured in ("abstention", "familiarity", "calibrated_on"):
        card.pop(measured, None)
    return replace(
        predictor,
        checkpoint=replace(predictor.checkpoint, card=card),
        model=reading_slices(taught.network, LABELS, each_kidney=True),
        reference=taught.reference,
        explanations=None,
    )


def burn_into(predictor: Predictor, mark: Mark, image: Slice, size_percent: float) -> Slice:
    """A prepared slice (`disturbances.prepare`) with the mark beside each kidney that it shows, where the network has it in its picture."""
    grey = image.network_grey8()
    mask = np.zeros(grey.shape, bool)
    for framed in frame_slices(predictor.checkpoint.view, [grey], predictor.finder)[0]:
        drawn = replace(mark, size_percent=size_percent).mask(len(framed.square))
        mask |= framed.to_image(drawn.astype(np.float32)) > 0.5
    return disturbances.burn(image, mask)
