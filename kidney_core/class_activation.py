"""Activations and gradients of one layer -> evidence: the formulas of the class activation maps.

Each takes activations and the gradient of the explained logit, both (C, h, w), and gives (h, w), signed: positive
speaks for the label. None keeps a hook or a network.
"""

import torch
from torch import Tensor


def grad_cam(activations: Tensor, gradient: Tensor) -> Tensor:
    """Each channel weighs by its mean gradient. Source: Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2."""
    return (gradient.mean(dim=(1, 2), keepdim=True) * activations).sum(dim=0)


def grad_cam_plus_plus(activations: Tensor, gradient: Tensor) -> Tensor:
    """Each channel weighs by its positive gradients, places that matter more counting more.

    Source: Chattopadhay et al. 2018, arXiv:1710.11063, equation 19 (the exponential of the logit as score).
    """
    squared = gradient**2
    total = activations.sum(dim=(1, 2), keepdim=True)
    share = squared / (2 * squared + total * gradient**3 + 1e-6)
    share = torch.where(gradient != 0, share, 0.0)
    weights = (share * gradient.relu()).sum(dim=(1, 2), keepdim=True)
    return (weights * activations).sum(dim=0)


def hires_cam(activations: Tensor, gradient: Tensor) -> Tensor:
    """Each place weighs by its own gradient. Source: Draelos and Carin 2020, arXiv:2011.08891, equation 4.

    Equal to Grad-CAM where the layer is averaged and one linear layer follows, as in the paper's three networks.
    """
    return (gradient * activations).sum(dim=0)


def layer_cam(activations: Tensor, gradient: Tensor) -> Tensor:
    """Each place weighs by its own positive gradient. Source: Jiang et al. 2021, IEEE TIP 30:5875, equation 6."""
    return (gradient.relu() * activations).sum(dim=0)


def eigen_cam(activations: Tensor, _gradient: Tensor) -> Tensor:
    """The strongest pattern of the activations, the same for every label.

    Source: Muhammad and Yeasin 2020, arXiv:2008.00299. A principal axis has no sign: here it points to where the
    activations are large.
    """
    n_channels, height, width = activations.shape
    rows = activations.reshape(n_channels, -1).T  # (h*w, C)
    centred = rows - rows.mean(dim=0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    along = centred @ axes[0]
    sign = torch.sign((along * rows.norm(dim=1)).sum())
    return (along * (sign if sign != 0 else 1)).reshape(height, width)
