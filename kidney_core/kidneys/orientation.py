"""Whether a picture stands upright: a linear classifier on the features of the finder's encoder.

A picture without the orientation of a DICOM file may have been turned on its way; kidneys that lie upside down are read wrongly
or not found. A mirrored picture cannot be told from a patient whose organs lie the other way round, so it is not looked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save

TURNS_DEG = (0, 90, 180, 270)  # counter-clockwise, by which an upright picture was turned
TURNED = 0.9  # the probability of not being upright from which a picture counts as turned
_N_LEVELS, _N_CELLS = 3, 2  # of the encoder's last maps; cells along each side that each is averaged in


@dataclass(frozen=True)
class TurnClassifier:
    """(B, F) features -> (B, 4) logits, one for each of `TURNS_DEG`."""

    weight: torch.Tensor = field(repr=False)
    bias: torch.Tensor = field(repr=False)

    def probabilities(self, features: torch.Tensor) -> np.ndarray:
        """(B, F) -> (B, 4) float32, of each turn."""
        return F.linear(features.float().cpu(), self.weight, self.bias).softmax(dim=1).numpy()

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        return save({"weight": self.weight, "bias": self.bias})


def from_bytes(content: bytes, n_features: int) -> TurnClassifier:
    """A classifier from a safetensors file. Raises ValueError where it is none, or of other features."""
    try:
        tensors = load(content)
        weight, bias = tensors["weight"].float(), tensors["bias"].float()
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"no classifier of turned pictures ({error})") from error
    if weight.shape != (len(TURNS_DEG), n_features) or bias.shape != (len(TURNS_DEG),):
        raise ValueError(f"a classifier of other features ({tuple(weight.shape)})")
    return TurnClassifier(weight, bias)


def features_of(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """What the classifier looks at, of the encoder's maps, (B, C, h, w) each, fine before coarse: (B, F)."""
    return torch.cat([F.adaptive_avg_pool2d(each, _N_CELLS).flatten(1) for each in maps[-_N_LEVELS:]], dim=1)


def n_features(channels: Sequence[int]) -> int:
    """F, from the number of channels of the encoder's maps."""
    return sum(channels[-_N_LEVELS:]) * _N_CELLS**2


def turned_by(probabilities: np.ndarray) -> int:
    """By how many degrees counter-clockwise a picture was turned, from (4,) probabilities; 0 unless that is certain."""
    if probabilities[0] >= 1 - TURNED:
        return 0
    return TURNS_DEG[1 + int(probabilities[1:].argmax())]


def in_words(turned_by_deg: int) -> str:
    """How a picture was turned: "upside down", "by 90° clockwise"."""
    return {90: "by 90° counter-clockwise", 180: "upside down", 270: "by 90° clockwise"}[turned_by_deg]
