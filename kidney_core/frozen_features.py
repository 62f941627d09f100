"""What frozen layers compute is computed once: their output per image and flip, kept in memory."""

from collections.abc import Callable

import numpy as np
import psutil
import torch
from torch import nn

from kidney_core import models, parallel, preprocessing

_BATCH = 64
_SHARE_OF_FREE_MEMORY = 0.4


def frozen_prefix(model: nn.Module, probe: torch.Tensor) -> tuple[nn.Module, nn.Module] | None:
    """Divide a network into (frozen trunk, tail up to the pooling), or None where that is impossible.

    Both map feature maps to feature maps; `model.forward_head(tail(trunk(x)))` is the network.

    Args:
        probe: (B, 3, S, S) on which the division is checked.
    """
    stages = models.sequential_stages(model, probe)
    if stages is None:
        return None
    n_frozen = 0
    for stage in stages:
        if any(parameter.requires_grad for parameter in stage.parameters()):
            break
        n_frozen += 1
    if n_frozen == 0:
        return None
    return nn.Sequential(*stages[:n_frozen]), nn.Sequential(*stages[n_frozen:])


def _output_shape(trunk: nn.Module, pixels: np.ndarray, device: torch.device) -> torch.Size:
    """(C, h, w) of what the trunk, from here on in evaluation mode, makes of one image."""
    trunk.eval()
    return trunk(preprocessing.to_input(torch.from_numpy(pixels[:1].copy()).to(device))).shape[1:]


@torch.inference_mode()
def fitting_dtype(trunk: nn.Module, pixels: np.ndarray, *, flips: bool, device: torch.device, n_copies: int = 1) -> str:
    """How the trunk's output fits into the free memory: "float32", "float16", or "none" where it does not.

    `n_copies` processes of this machine keep it, each for itself.

    Both are exact enough to train on but not equal, so a run writes down its choice and keeps it.
    """
    n_values = (2 if flips else 1) * len(pixels) * _output_shape(trunk, pixels, device).numel()
    allowed = psutil.virtual_memory().available * _SHARE_OF_FREE_MEMORY / n_copies
    if n_values * 2 > allowed:
        return "none"
    return "float32" if n_values * 4 <= allowed / 2 else "float16"


@torch.inference_mode()
def compute(
    trunk: nn.Module,
    pixels: np.ndarray,
    *,
    flips: bool,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    dtype: torch.dtype = torch.float32,
    group: parallel.Group | None = None,
) -> torch.Tensor | None:
    """The trunk's output for every image and, when `flips`, for every mirrored image.

    Args:
        pixels: (N, S, S) uint8.
        should_stop: asked before every batch; of several processes, all stop when one is to.
        group: the processes that each compute a part of the batches and give it to the others.

    Returns: (1 or 2, N, C, h, w) of `dtype`; None when stopped.
    """
    group = group or parallel.Group()
    shape = _output_shape(trunk, pixels, device)
    features = torch.zeros((2 if flips else 1, len(pixels), *shape), dtype=dtype)
    starts = range(0, len(pixels), _BATCH)
    for turn in range(0, len(starts), group.size):
        if group.any(should_stop()):
            return None
        if turn + group.rank >= len(starts):
            continue
        start = starts[turn + group.rank]
        grey = torch.from_numpy(pixels[start : start + _BATCH].copy()).to(device)
        for mirrored in range(len(features)):
            images = preprocessing.to_input(grey.flip(2) if mirrored else grey)
            features[mirrored, start : start + _BATCH] = trunk(images).to("cpu", dtype)
        if progress:
            progress(min(start + _BATCH, len(pixels)), len(pixels))
    if group.size > 1:  # every batch is zero but in the process that computed it
        for start in starts:
            there = slice(start, start + _BATCH)
            features[:, there] = group.sum_of(features[:, there].contiguous())
    return features
