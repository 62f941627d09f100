"""Outputs of frozen layers, computed once per image and mirror image and kept in memory."""

from collections.abc import Callable

import numpy as np
import psutil
import torch
from torch import nn

from kidney_core.networks import batch_norm, feature_maps, preprocessing
from kidney_core.networks.timm_network import as_timm
from kidney_core.runs import parallel

_BATCH = 64
_SHARE_OF_FREE_MEMORY = 0.4


def frozen_prefix(model: nn.Module, probe: torch.Tensor) -> tuple[nn.Sequential, nn.Sequential] | None:
    """Divide a network into (frozen trunk, tail up to the pooling), or None where that is impossible.

    Both map feature maps to feature maps; `model.forward_head(tail(trunk(x)))` is the network.

    Args:
        probe: (B, 3, S, S) on which the division is checked.
    """
    stages = feature_maps.sequential_stages(model, probe)
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


def pooled_head(model: nn.Module, trunk: nn.Module, tail: nn.Sequential, probe: torch.Tensor) -> nn.Module | None:
    """The classifier alone, where nothing else is trained; None where more of the network is behind the trunk.

    `classifier(Pool(model)(trunk(x)))` is then the network, and one vector per image is kept instead of a map.
    """
    dropped = [module for module in model.modules() if isinstance(module, nn.Dropout) and module.p > 0]
    if len(tail) or dropped or getattr(model, "drop_rate", 0) or not hasattr(model, "get_classifier"):
        return None
    classifier = as_timm(model).get_classifier()
    with torch.inference_mode():
        features = trunk(probe)
        same = torch.equal(classifier(Pool(model)(features)), as_timm(model).forward_head(features))
    return classifier if same else None


class Pool(nn.Module):
    """The pooling between feature maps and classifier: (B, C, h, w) -> (B, D)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = (as_timm(model),)  # in a tuple: torch would take the network for a part of this one

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self._model[0].forward_head(features, pre_logits=True)


def _output_shape(trunk: nn.Module, pixels: np.ndarray, device: torch.device) -> torch.Size:
    """(C, h, w) or (D,), the shape of the trunk's output for one image; puts the trunk into evaluation mode."""
    trunk.eval()
    return trunk(preprocessing.to_input(torch.from_numpy(pixels[:1].copy()).to(device))).shape[1:]


@torch.inference_mode()
def fitting_dtype(
    trunk: nn.Module, pixels: np.ndarray, *, n_mirrored: int, device: torch.device, n_copies: int = 1
) -> str:
    """The type in which the trunk's outputs fit into free memory: "float32", "float16", or "none".

    Both types are exact enough to train on, but results differ, so a run stores its choice and keeps to it.

    Args:
        n_copies: processes of this machine that each keep all outputs.
    """
    n_values = (len(pixels) + n_mirrored) * _output_shape(trunk, pixels, device).numel()
    allowed = psutil.virtual_memory().available * _SHARE_OF_FREE_MEMORY / n_copies
    if n_values * 2 > allowed:
        return "none"
    return "float32" if n_values * 4 <= allowed / 2 else "float16"


@torch.inference_mode()
def one_pass(trunk: nn.Module, pixels: np.ndarray, device: torch.device) -> torch.Tensor:
    """The trunk's output for a batch, to time it; without the folding of norms that `compute` does first."""
    trunk.eval()
    return trunk(preprocessing.to_input(torch.from_numpy(np.array(pixels[:_BATCH])).to(device)))


@torch.inference_mode()
def compute(
    trunk: nn.Module,
    pixels: np.ndarray,
    *,
    mirrored: np.ndarray,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    dtype: torch.dtype = torch.float32,
    mixed_precision: bool = False,
    group: parallel.Group | None = None,
) -> torch.Tensor | None:
    """The trunk's output for every image, and for the mirror images of some.

    Args:
        pixels: (N, S, S) uint8.
        mirrored: (M,) positions of the images that are mirrored too.
        should_stop: asked before every batch; all processes stop when one is asked to.
        mixed_precision: compute in bfloat16 where that suits a layer.
        group: the processes that each compute a part of the batches and share it.

    Returns: (N + M, C, h, w) or (N + M, D) of `dtype`, the mirror images last; None when stopped.
    """
    group = group or parallel.Group()
    shape = _output_shape(trunk, pixels, device)
    trunk = batch_norm.fold_batch_norms(trunk, pixels.shape[1])
    images = [(position, False) for position in range(len(pixels))] + [(int(position), True) for position in mirrored]
    features = torch.zeros((len(images), *shape), dtype=dtype)
    starts = range(0, len(images), _BATCH)
    for turn in range(0, len(starts), group.size):
        if group.any(should_stop()):
            return None
        if turn + group.rank >= len(starts):
            continue
        start = starts[turn + group.rank]
        batch = images[start : start + _BATCH]
        grey = np.stack([pixels[position, :, ::-1] if flip else pixels[position] for position, flip in batch])
        inputs = preprocessing.to_input(torch.from_numpy(grey).to(device))  # (B, 3, S, S)
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision):
            features[start : start + _BATCH] = trunk(inputs).to("cpu", dtype)
        if progress:
            progress(min(start + _BATCH, len(images)), len(images))
    if group.size > 1:  # a batch is zero in every process but the one that computed it
        for start in starts:
            rows = slice(start, start + _BATCH)
            features[rows] = group.sum_of(features[rows].contiguous())
    return features
