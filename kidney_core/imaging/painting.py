"""Paint a spot of a slice over with what surrounds it, as if the lesion there had never been."""

import numpy as np
from scipy import ndimage

from kidney_core.imaging.body import body_mask

_EDGE_PX = 2  # around the spot: the blurred edge of a lesion goes with it
_RING_PX = 5  # the surroundings that are taken


def paint_over(grey: np.ndarray, spot: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """A slice with a spot filled by the median and the noise of its surroundings: (H, W) uint8 -> (H, W) uint8.

    Every connected part of the spot is filled from its own surroundings.

    Args:
        spot: (H, W) bool.
        seed: of the noise.
    """
    painted, rng = grey.astype(np.float32), np.random.default_rng(seed)
    covered = ndimage.binary_dilation(spot, iterations=_EDGE_PX)
    noise = grain(grey.shape, 0.8, rng)
    parts, n_parts = ndimage.label(covered)
    for part in range(1, n_parts + 1):
        own = parts == part
        around = grey[ndimage.binary_dilation(own, iterations=_RING_PX) & ~covered].astype(np.float32)
        if not len(around):
            continue
        low, middle, high = np.percentile(around, [25, 50, 75])
        spread = (high - low) / 1.35  # of a normal distribution, its standard deviation
        alpha = ndimage.gaussian_filter(own.astype(np.float32), 0.8)
        alpha = np.maximum(alpha, ndimage.binary_erosion(own, iterations=1))
        painted = painted * (1 - alpha) + alpha * (middle + 0.7 * spread * noise)
    return np.rint(painted).clip(0, 255).astype(np.uint8)


def grain(shape: tuple[int, ...], scale_px: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of standard deviation 1 that is smooth over `scale_px`: (H, W)."""
    noise = ndimage.gaussian_filter(rng.normal(0, 1, shape), scale_px)
    return noise / noise.std()


def mirrored_spot(grey: np.ndarray, spot: np.ndarray) -> np.ndarray:
    """The same spot on the other side of the body: (H, W) uint8 and bool -> (H, W) bool."""
    columns = np.flatnonzero(body_mask(grey).any(axis=0))
    target = int(columns[0] + columns[-1]) - np.arange(grey.shape[1])  # column c goes to first + last - c
    inside = (target >= 0) & (target < grey.shape[1])
    mirrored = np.zeros_like(spot)
    mirrored[:, target[inside]] = spot[:, inside]
    return mirrored
