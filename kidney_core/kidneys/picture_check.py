"""Whether a picture is one upright slice: a linear classifier on the features of the finder's encoder.

A picture without the orientation of a DICOM file may have been turned on its way, and a screenshot may show several slices; kidneys
that lie upside down or side by side are read wrongly or not found. A mirrored picture cannot be told from a patient whose organs
lie the other way round, so it is not looked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save

# What a picture may be: turned so many times by 90 degrees counter-clockwise, or several slices in one.
UPRIGHT, TURNED_LEFT, UPSIDE_DOWN, TURNED_RIGHT, SEVERAL = range(5)
N_KINDS, N_TURNS = 5, 4
FAULTS = {
    TURNED_LEFT: "turned by 90° counter-clockwise",
    UPSIDE_DOWN: "upside down",
    TURNED_RIGHT: "turned by 90° clockwise",
    SEVERAL: "several slices in one picture",
}
CERTAIN = 0.9  # the probability of not being one upright slice from which a picture counts as faulty
_N_LEVELS, _N_CELLS = 3, 2  # of the encoder's last maps; cells along each side that each is averaged in


@dataclass(frozen=True)
class PictureClassifier:
    """(B, F) features -> (B, 5) logits, one for each kind of picture."""

    weight: torch.Tensor = field(repr=False)
    bias: torch.Tensor = field(repr=False)

    def probabilities(self, features: torch.Tensor) -> np.ndarray:
        """(B, F) -> (B, 5) float32, of each kind."""
        return F.linear(features.float().cpu(), self.weight, self.bias).softmax(dim=1).numpy()

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        return save({"weight": self.weight, "bias": self.bias})


def from_bytes(content: bytes, n_features: int) -> PictureClassifier:
    """A classifier from a safetensors file. Raises ValueError where it is none, or of other features."""
    try:
        tensors = load(content)
        weight, bias = tensors["weight"].float(), tensors["bias"].float()
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"no classifier of pictures ({error})") from error
    if weight.shape != (N_KINDS, n_features) or bias.shape != (N_KINDS,):
        raise ValueError(f"a classifier of other features ({tuple(weight.shape)})")
    return PictureClassifier(weight, bias)


def features_of(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """What the classifier looks at, of the encoder's maps, (B, C, h, w) each, fine before coarse: (B, F)."""
    return torch.cat([F.adaptive_avg_pool2d(each, _N_CELLS).flatten(1) for each in maps[-_N_LEVELS:]], dim=1)


def n_features(channels: Sequence[int]) -> int:
    """F, from the number of channels of the encoder's maps."""
    return sum(channels[-_N_LEVELS:]) * _N_CELLS**2


def fault_of(probabilities: np.ndarray) -> int:
    """The key of `FAULTS` for a picture with (5,) probabilities; 0 for an upright slice, or where that is not certain."""
    if probabilities[UPRIGHT] >= 1 - CERTAIN:
        return UPRIGHT
    return 1 + int(probabilities[1:].argmax())
