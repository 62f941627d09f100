"""A network that reads kidneys one by one answers for a slice with the stronger of its two kidneys.

A slice has the label of its worse kidney, so the kidney that is least likely normal carries the answer, in training too:
the other one may be healthy. Source: the max-pooling of multiple-instance learning, Ilse et al. 2018, arXiv:1802.04712.
"""

import numpy as np
import torch
from torch import Tensor, nn

from kidney_core.common.labels import NORMAL
from kidney_core.networks import preprocessing

_BATCH = 16


class StrongestKidney(nn.Module):
    """(B, 3, S, S) images of kidneys -> (B, n_labels) logits of each; (B, 2, 3, S, S) -> (B, n_labels) of the stronger.

    Args:
        network: for images of one kidney.
        labels: whose order its logits have.
    """

    def __init__(self, network: nn.Module, labels: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.normal = labels.index(NORMAL) if NORMAL in labels else None

    def forward(self, images: Tensor) -> Tensor:
        if images.ndim == 4:
            return self.network(images)
        logits, strongest = self.read_both(images)
        return _of_each(logits, strongest)

    def of_strongest(self, logits: Tensor, images: Tensor) -> Tensor:
        """(B, 2, n_labels) logits of both kidneys and their (B, 2, 3, S, S) images -> (B, n_labels) of the stronger."""
        return _of_each(logits, self.strongest(logits, is_shown(images)))

    def read_both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 2, 3, S, S) -> (B, 2, n_labels) logits, and (B,) 0 or 1, the kidney that carries the answer."""
        shown = is_shown(images)
        if self.training:  # black images would change the statistics of batch norms
            logits = spread_out(self.network(images[shown]), shown)
        else:
            logits = self.network(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        return logits, self.strongest(logits, shown)

    def strongest(self, logits: Tensor, shown: Tensor) -> Tensor:
        """(B, 2, n_labels) logits and (B, 2) bool -> (B,) 0 or 1, the kidney that carries the answer."""
        probabilities = logits.detach().float().softmax(dim=2)
        strength = probabilities.amax(dim=2) if self.normal is None else 1 - probabilities[..., self.normal]
        return strength.masked_fill(~shown, -1).argmax(dim=1)


def spread_out(of_shown: Tensor, shown: Tensor) -> Tensor:
    """Rows of the kidneys that are shown, (K, n_labels), at their places: (B, 2, n_labels), zero where none is shown."""
    whole = of_shown.new_zeros((shown.numel(), of_shown.shape[1]))
    return whole.index_copy(0, shown.flatten().nonzero().flatten(), of_shown).unflatten(0, shown.shape)


def _of_each(logits: Tensor, kidney: Tensor) -> Tensor:
    """(B, 2, n_labels) and (B,) 0 or 1 -> (B, n_labels)."""
    return logits[torch.arange(len(logits), device=logits.device), kidney]


def is_shown(images: Tensor) -> Tensor:
    """(B, 2, 3, S, S) -> (B, 2) bool, False for a kidney that the slice does not show, whose image is all alike."""
    one_channel = images[:, :, 0].flatten(2)  # normalisation makes the channels of a black image differ
    return one_channel.amax(dim=2) > one_channel.amin(dim=2)


def reading_slices(network: nn.Module, labels: tuple[str, ...], *, each_kidney: bool) -> nn.Module:
    """The network that answers for slices: itself, or by the stronger kidney where it reads each."""
    return StrongestKidney(network, labels) if each_kidney else network


def of_one_image(model: nn.Module) -> nn.Module:
    """The network for one image, which `StrongestKidney` holds."""
    return model.network if isinstance(model, StrongestKidney) else model


@torch.inference_mode()
def strongest_squares(model: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """The image that carries each slice's answer: (N, S, S) or (N, 2, S, S) uint8 -> (N, S, S)."""
    if pixels.ndim == 3:
        return pixels
    assert isinstance(model, StrongestKidney)
    device, chosen = next(model.parameters()).device, []
    for start in range(0, len(pixels), _BATCH):
        pair = np.array(pixels[start : start + _BATCH])
        _, strongest = model.read_both(preprocessing.to_input(torch.from_numpy(pair).to(device)))
        chosen.append(pair[np.arange(len(pair)), strongest.cpu().numpy()])
    return np.concatenate(chosen) if chosen else np.empty((0, *pixels.shape[2:]), np.uint8)
