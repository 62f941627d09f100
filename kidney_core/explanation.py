"""Where the evidence for a label comes from: Grad-CAM without hooks.

The last feature maps are computed once and become the leaf of a new graph of which only the head
is differentiated. No hook, no shared state: any number of threads may explain with one model at
the same time, which the hooks of pytorch-grad-cam on a shared model do not survive.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import nn

from kidney_core import models, preprocessing


@dataclass(frozen=True)
class Heatmap:
    """The evidence for one label over one square input.

    Attributes:
        evidence: (h, w) float32 >= 0, in units of the logit; its scale is comparable between inputs.
        logits: (n_labels,) float64 of the same forward pass.
        target: the position of the label that is explained.
    """

    evidence: np.ndarray
    logits: np.ndarray
    target: int

    @property
    def is_empty(self) -> bool:
        """True when nothing in the image speaks for the label: there is no map to show."""
        return float(self.evidence.max()) <= 0.0

    def scaled(self) -> np.ndarray:
        """(h, w) float32 in 0..1, the strongest place at 1; all zero when the map is empty.

        Unlike min-max scaling, zero evidence stays at zero.
        """
        return self.evidence / self.evidence.max() if not self.is_empty else np.zeros_like(self.evidence)


def grad_cam(model: nn.Module, image: torch.Tensor, target: int | None = None) -> Heatmap:
    """Grad-CAM of one label on the last feature maps.

    Source: Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2.

    Args:
        model: a timm network in evaluation mode.
        image: (1, 3, S, S) normalised input.
        target: the label's position; any label may be explained. None explains the predicted one.

    Raises: ModelError for networks without spatial feature maps.
    """
    with torch.no_grad():
        features = models.feature_maps(model, image)
    with torch.enable_grad():
        leaf = features.detach().requires_grad_(True)  # (1, C, h, w)
        logits = model.forward_head(leaf)  # (1, n_labels)
        target = int(logits.argmax()) if target is None else target
        (gradient,) = torch.autograd.grad(logits[0, target], leaf)
    activations = leaf.detach()
    if str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC"):  # Swin and its kin
        activations, gradient = (tensor.permute(0, 3, 1, 2) for tensor in (activations, gradient))
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # (1, C, 1, 1)
    evidence = (weights * activations).sum(dim=1).relu()[0]  # (h, w)
    return Heatmap(evidence.float().cpu().numpy(), logits[0].detach().double().cpu().numpy(), target)


def over_slice(heatmap: np.ndarray, height_px: int, width_px: int, *, size_px: int) -> np.ndarray:
    """Lay a square map over the image it came from: (h, w) -> (height_px, width_px), bilinear.

    Undoes `preprocessing.square` of that size: the padding's part of the map is cut off.
    """
    top, left, height, width = preprocessing.placement(height_px, width_px, size_px)
    down, across = heatmap.shape[0] / size_px, heatmap.shape[1] / size_px
    inner = (left * across, top * down, (left + width) * across, (top + height) * down)
    laid = Image.fromarray(heatmap).resize((width_px, height_px), Image.Resampling.BILINEAR, box=inner)
    return np.clip(np.asarray(laid), 0.0, 1.0)
