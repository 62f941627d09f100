"""Where the evidence for a label comes from: heat maps by several methods, without hooks.

The graph from the explained layer to the score is differentiated by itself. No hook, no shared state: any number of threads may explain with one model at the same time,
which the hooks of pytorch-grad-cam on a shared model do not survive.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kidney_core import class_activation, models, perturbation


@dataclass(frozen=True)
class Heatmap:
    """The evidence for one label over one square input.

    Attributes:
        evidence: (h, w) float32 >= 0; its scale is comparable between inputs of one network and method.
        logits: (n_labels,) float64 of the image as it is.
        target: the position of the label that is explained.
    """

    evidence: np.ndarray
    logits: np.ndarray
    target: int

    @property
    def peak(self) -> float:
        """The strongest evidence."""
        return float(self.evidence.max())

    @property
    def is_empty(self) -> bool:
        """True when nothing in the image speaks for the label: there is no map to show."""
        return self.peak <= 0.0

    def scaled(self) -> np.ndarray:
        """(h, w) float32 in 0..1, the strongest place at 1; all zero when the map is empty.

        Unlike min-max scaling, zero evidence stays at zero.
        """
        return self.evidence / self.peak if not self.is_empty else np.zeros_like(self.evidence)


@dataclass(frozen=True)
class Method:
    """A way to draw a map: a formula on one layer, or a search by many forward passes.

    Attributes:
        plain: what it does, in a sentence for a reader of CT.
        formula: (activations, gradient), both (C, h, w) -> (h, w), signed.
        stride_px: explain the deepest layer whose cells are at most this wide; None for the last one.
        search: (network, (1, 3, S, S) input, direction (n_labels,)) -> (h, w), signed, in place of a formula.
        names_labels: False where the map is the same for every label.
    """

    plain: str
    formula: Callable[[Tensor, Tensor], Tensor] | None = None
    stride_px: int | None = None
    search: Callable[[nn.Module, Tensor, Tensor], Tensor] | None = None
    names_labels: bool = True


# How well each points at lesions is measured: see `pointing`.
METHODS = {
    "Layer-CAM": Method(
        "Places of an early, fine layer that raise the label's score: points at single details.",
        class_activation.layer_cam,
        stride_px=4,
    ),
    "Layer-CAM, coarser": Method(
        "The same in a deeper layer: less detail, more of what the network made of it.",
        class_activation.layer_cam,
        stride_px=8,
    ),
    "Grad-CAM": Method(
        "Feature maps of the last layer, weighted by how much each raises the label's score: the best known method, "
        "and a coarse one.",
        class_activation.grad_cam,
    ),
    "Grad-CAM++": Method(
        "Like Grad-CAM, but places where a feature speaks for the label count more.",
        class_activation.grad_cam_plus_plus,
    ),
    "HiResCAM": Method(
        "Each place by its own effect on the score; equal to Grad-CAM where averaging and one linear layer follow, as in "
        "the three networks of the paper.",
        class_activation.hires_cam,
    ),
    "Eigen-CAM": Method(
        "The strongest pattern of the last layer, the same for every label: what the network looks at, not why.",
        class_activation.eigen_cam,
        names_labels=False,
    ),
    "Score-CAM": Method(
        f"What the network says of the image seen through each of its {perturbation.N_CHANNELS} strongest feature maps.",
        search=perturbation.score_cam,
    ),
    "Occlusion": Method(
        "How far the label's score falls when patches of the image are blurred away: no estimate, but slow.",
        search=perturbation.occlusion,
    ),
}
DEFAULT_METHOD = "Layer-CAM"


def explain(
    model: nn.Module,
    image: Tensor,
    target: int | None = None,
    *,
    method: str = DEFAULT_METHOD,
    against: int | None = None,
) -> Heatmap:
    """The evidence for a label, or for one label rather than another.

    Args:
        model: a timm network in evaluation mode.
        image: (1, 3, S, S) normalised input.
        target: the label's position; any label may be explained. None explains the predicted one.
        method: a name of `METHODS`.
        against: explain the difference between the logits of `target` and of this label.

    Raises: ModelError for networks without spatial feature maps.
    """
    chosen = METHODS[method]
    if chosen.formula is None:
        with torch.no_grad():
            logits = model(image)  # (1, n_labels)
        target, direction = _asked(logits, target, against)
        evidence = chosen.search(model, image, direction)
    else:
        with torch.enable_grad():
            layer, logits = (
                _last_layer(model, image) if chosen.stride_px is None else _at(model, image, chosen.stride_px)
            )
            target, direction = _asked(logits.detach(), target, against)
            (gradient,) = torch.autograd.grad(logits[0] @ direction, layer)
        evidence = chosen.formula(layer.detach()[0], gradient[0])
    return Heatmap(evidence.relu().float().cpu().numpy(), logits[0].detach().double().cpu().numpy(), target)


def _asked(logits: Tensor, target: int | None, against: int | None) -> tuple[int, Tensor]:
    """The label that is explained, and the direction (n_labels,) of its score in the logits (1, n_labels)."""
    target = int(logits.argmax()) if target is None else target
    direction = torch.zeros_like(logits[0])
    direction[target] = 1.0
    if against is not None:
        direction[against] -= 1.0
    return target, direction


def _last_layer(model: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """The last feature maps (1, C, h, w) as the leaf of a graph of the head alone, and its logits."""
    with torch.no_grad():
        activations = models.feature_maps_nchw(model, image)
    leaf = activations.detach().requires_grad_(True)
    return leaf, models.head_nchw(model, leaf)


def _at(model: nn.Module, image: Tensor, stride_px: int) -> tuple[Tensor, Tensor]:
    """The deepest feature maps with cells of at most `stride_px` pixels, (1, C, h, w), and the logits made of them."""
    # The input asks for a gradient so that the layers keep their graph, since the weights do not.
    last, maps = models.intermediate_maps(model, image.detach().requires_grad_(True))
    fine = [each for each in maps if image.shape[-1] <= stride_px * each.shape[-1]]
    return (fine or maps[:1])[-1], model.forward_head(last)
