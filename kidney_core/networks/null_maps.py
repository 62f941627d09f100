"""Null maps: maps that know nothing of the network. A heatmap that does no better than they do explains nothing.

Lesions are brighter or darker than what surrounds them, and have edges, so that a map of brightness or of edges points at many of
them too. Source: Adebayo et al. 2018, arXiv:1810.03292, who compare saliency maps with an edge detector.
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from kidney_core.networks.explanation import Heatmap

BRIGHTNESS, EDGES, MIRRORED, NOISE = "brightness", "edges", "itself, mirrored", "noise"
NULLS = (BRIGHTNESS, EDGES, MIRRORED, NOISE)
_EDGE_PX = 1.0  # scale of the edges


def null_maps(heatmap: Heatmap, square: np.ndarray, *, seed: int) -> dict[str, Heatmap]:
    """Each of `NULLS` on the grid of a heatmap, so that none of them is finer or coarser than it.

    Args:
        square: (S, S) uint8, the input that the heatmap explains.
        seed: of the noise.
    """
    values = square.astype(np.float32) / 255
    shape = heatmap.evidence.shape
    evidence = {
        BRIGHTNESS: _reduced(values, shape),
        EDGES: _reduced(ndimage.gaussian_gradient_magnitude(values, _EDGE_PX), shape),
        MIRRORED: heatmap.evidence[:, ::-1].copy(),
        NOISE: np.random.default_rng(seed).random(shape, np.float32),
    }
    return {name: Heatmap(each, heatmap.logits, heatmap.target) for name, each in evidence.items()}


def _reduced(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(S, S) -> (h, w), each cell the mean of what it covers."""
    return F.adaptive_avg_pool2d(torch.from_numpy(np.ascontiguousarray(values))[None], (shape[0], shape[1]))[0].numpy()
