"""Where the evidence for a label comes from: heatmaps by several methods, on an absolute scale.

Activations and gradients are recorded without hooks: the graph from the explained layer to the score is differentiated
by itself. So any number of threads may explain with one model at the same time; only the methods of `hooked_cams` take
turns. The formulas are those of pytorch-grad-cam (see `class_activation`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kidney_core.networks import class_activation, feature_maps, perturbation
from kidney_core.networks.class_activation import Formula
from kidney_core.networks.timm_network import as_timm

Search = Callable[[nn.Module, Tensor, Tensor], Tensor]


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
        """True when nothing in the image supports the label: there is no heatmap to show."""
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
        formula: (activations, gradients), both (1, C, h, w) -> (h, w), signed; not used where there is a search.
        stride_px: explain the deepest layer whose cells are at most this wide; None for the last one.
        search: (network, (1, 3, S, S) input, direction (n_labels,)) -> (h, w), signed.
        depends_on_label: False where the map is the same for every label.
    """

    plain: str
    formula: Formula = class_activation.layer_cam
    stride_px: int | None = None
    search: Search | None = None
    depends_on_label: bool = True


def _ablation(network: nn.Module, image: Tensor, direction: Tensor) -> Tensor:
    from kidney_core.networks import hooked_cams  # imports pytorch-grad-cam, which takes seconds

    return hooked_cams.ablation(network, image, direction)


def _full_gradient(network: nn.Module, image: Tensor, direction: Tensor) -> Tensor:
    from kidney_core.networks import hooked_cams  # imports pytorch-grad-cam, which takes seconds

    return hooked_cams.full_gradient(network, image, direction)


# How well each points at lesions is measured: see `pointing`. The names stand in files of checkpoints and reports.
METHODS = {
    "Layer-CAM": Method(
        "Places of an early, fine layer that raise the label's score: points at single details.",
        class_activation.layer_cam,
        stride_px=4,
    ),
    "Layer-CAM, coarser": Method(
        "The same in a deeper layer: less detail, but closer to the prediction.",
        class_activation.layer_cam,
        stride_px=8,
    ),
    "Grad-CAM": Method(
        "Feature maps of the last layer, weighted by how much each raises the label's score: the best known method, "
        "and a coarse one.",
        class_activation.grad_cam,
    ),
    "Grad-CAM++": Method(
        "Like Grad-CAM, but places where a feature supports the label count more.",
        class_activation.grad_cam_plus_plus,
    ),
    "XGrad-CAM": Method(
        "Like Grad-CAM, but each feature map is weighted by its gradients where it is active.",
        class_activation.xgrad_cam,
    ),
    "HiResCAM": Method(
        "Each place by its own effect on the score; equal to Grad-CAM where averaging and one linear layer follow, as in "
        "the three networks of the paper.",
        class_activation.hires_cam,
    ),
    "Eigen-CAM": Method(
        "The strongest pattern of the last layer, the same for every label: what the network looks at, not why.",
        class_activation.eigen_cam,
        depends_on_label=False,
    ),
    "EigenGrad-CAM": Method(
        "The strongest pattern in how the places of the last layer change the label's score. It always shows something, "
        "even where nothing supports the label.",
        class_activation.eigen_grad_cam,
    ),
    "FullGrad": Method(
        "How much every place of every layer changes the score: in fine detail, but for and against the label alike.",
        search=_full_gradient,
    ),
    "Score-CAM": Method(
        f"The score of the image seen through each of the network's {perturbation.N_CHANNELS} strongest feature maps.",
        search=perturbation.score_cam,
    ),
    "Ablation-CAM": Method(
        "Feature maps of the last layer, weighted by how far the label's score falls without each.",
        search=_ablation,
    ),
    "Occlusion": Method(
        "How far the label's score falls when patches of the image are blurred: measured directly, but slow.",
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

    Raises: ModelError for networks without spatial feature maps, or where the method does not suit the network.
    """
    chosen = METHODS[method]
    if chosen.search is not None:
        with torch.no_grad():
            logits = model(image)  # (1, n_labels)
        target, direction = _direction(logits, target, against)
        evidence = chosen.search(model, image, direction)
    else:
        activations, gradients, logits, target = _record(model, image, target, against, chosen.stride_px)
        evidence = torch.from_numpy(chosen.formula(activations, gradients))
    return Heatmap(evidence.relu().float().cpu().numpy(), logits[0].detach().double().cpu().numpy(), target)


def _direction(logits: Tensor, target: int | None, against: int | None) -> tuple[int, Tensor]:
    """The label that is explained, and the direction (n_labels,) of its score in the logits (1, n_labels)."""
    target = int(logits.argmax()) if target is None else target
    direction = torch.zeros_like(logits[0])
    direction[target] = 1.0
    if against is not None:
        direction[against] -= 1.0
    return target, direction


@torch.enable_grad()
def _record(
    model: nn.Module, image: Tensor, target: int | None, against: int | None, stride_px: int | None
) -> tuple[np.ndarray, np.ndarray, Tensor, int]:
    """One layer's activations and the gradients of the explained score, (1, C, h, w), the logits, and the target."""
    layer, logits = _last_layer(model, image) if stride_px is None else _fine_layer(model, image, stride_px)
    target, direction = _direction(logits.detach(), target, against)
    (gradients,) = torch.autograd.grad(logits[0] @ direction, layer, allow_unused=True)
    if gradients is None:  # timm gave a copy, which does not lie on the way to the logits
        raise feature_maps.no_maps_of_every_depth(model)
    if stride_px is not None:
        layer, gradients = (feature_maps.channels_first(model, each) for each in (layer, gradients))
    return layer.detach().cpu().numpy(), gradients.cpu().numpy(), logits, target


def _last_layer(model: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """The last feature maps (1, C, h, w) as the leaf of a graph of the head alone, and its logits."""
    with torch.no_grad():
        activations = feature_maps.last_maps(model, image)
    leaf = activations.detach().requires_grad_(True)
    return leaf, feature_maps.logits_of_last_maps(model, leaf)


def _fine_layer(model: nn.Module, image: Tensor, stride_px: int) -> tuple[Tensor, Tensor]:
    """The deepest feature maps with cells of at most `stride_px` pixels, in the network's order, and its logits."""
    # The input asks for a gradient so that the layers keep their graph, since the weights do not.
    last, maps = feature_maps.maps_of_every_depth(model, image.detach().requires_grad_(True))
    sides = [feature_maps.channels_first(model, each).shape[-1] for each in maps]
    fine = [each for each, side in zip(maps, sides, strict=True) if image.shape[-1] <= stride_px * side]
    return (fine or maps[:1])[-1], as_timm(model).forward_head(last)
