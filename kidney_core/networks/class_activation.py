"""Recorded activations and gradients of one layer -> evidence, by the formulas of pytorch-grad-cam.

Each takes activations and the gradient of the explained score, both (1, C, h, w) float32, and gives (h, w), signed:
positive speaks for the label. Only the library's formulas are used. Its `forward` scales each map to 0..1, so that a
map without evidence looks like any other, explains the most probable label when none is given, and hangs hooks on the
network, which do not survive threads.
"""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

if TYPE_CHECKING:
    from pytorch_grad_cam.base_cam import BaseCAM

Formula = Callable[[np.ndarray, np.ndarray], np.ndarray]


@cache
def _library(name: str) -> "BaseCAM":
    """A class of the library; without a layer it hangs no hooks and keeps no state, so threads may share it."""
    import pytorch_grad_cam  # takes seconds: it imports matplotlib, scikit-learn and OpenCV

    cam: BaseCAM = getattr(pytorch_grad_cam, name)(nn.Linear(1, 1), [])  # the formulas read no network
    return cam


def _evidence(name: str, activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    cam = _library(name).get_cam_image(None, None, None, activations, gradients, eigen_smooth=False)
    evidence: np.ndarray = cam[0]
    return evidence


def grad_cam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Each channel weighs by its mean gradient. Source: Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2."""
    return _evidence("GradCAM", activations, gradients)


def grad_cam_plus_plus(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Each channel weighs by its positive gradients, places that matter more counting more.

    Source: Chattopadhay et al. 2018, arXiv:1710.11063, equation 19 (the exponential of the logit as score).
    """
    return _evidence("GradCAMPlusPlus", activations, gradients)


def hires_cam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Each place weighs by its own gradient. Source: Draelos and Carin 2020, arXiv:2011.08891, equation 4.

    Equal to Grad-CAM where the layer is averaged and one linear layer follows, as in the paper's three networks.
    """
    return _evidence("HiResCAM", activations, gradients)


def layer_cam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Each place weighs by its own positive gradient. Source: Jiang et al. 2021, IEEE TIP 30:5875, equation 6."""
    return _evidence("LayerCAM", activations, gradients)


def xgrad_cam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Each channel weighs by its gradients where it is active. Source: Fu et al. 2020, arXiv:2008.02312, equation 8."""
    return _evidence("XGradCAM", activations, gradients)


def eigen_cam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """The strongest pattern of the activations, the same for every label.

    Source: Muhammad and Yeasin 2020, arXiv:2008.00299.
    """
    return _towards(np.linalg.norm(activations[0], axis=0), _evidence("EigenCAM", activations, gradients))


def eigen_grad_cam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """The strongest pattern of the activations times their gradients, turned to where these speak for the label."""
    return _towards((gradients * activations)[0].sum(axis=0), _evidence("EigenGradCAM", activations, gradients))


def _towards(reference: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """A principal pattern, which has no sign of its own, turned to where the reference is large.

    The library leaves the sign to chance, and a map of the wrong sign is the map of everything else: measured on 12
    phantoms and the three shipped networks, 3 of 36 Eigen-CAMs and 14 of 36 EigenGrad-CAMs.
    """
    return pattern if (reference * pattern).sum() >= 0 else -pattern
