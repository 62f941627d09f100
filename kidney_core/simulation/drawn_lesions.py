"""Lesions drawn into kidneys of real slices: cysts, stones and masses.

A network that learns from public labels learns the scan with the lesion, since every slice carries its scan's label. A lesion drawn
into a healthy kidney changes nothing but the lesion. Sizes and contrasts are those of the literature in round numbers: stones 2 to
9 mm, cysts 4 to 32 mm, masses 8 to 40 mm in radius at most, drawn evenly over the logarithm.
"""

import math

import numpy as np
from scipy import ndimage

from kidney_core.imaging.painting import grain

RADII = {"Cyst": (0.03, 0.21), "Stone": (0.012, 0.055), "Tumor": (0.055, 0.27)}  # of the side of an image of one kidney
LESIONS = tuple(RADII)
_MIN_KIDNEY = 0.016  # of the image: no lesion is drawn where less of the kidney is seen
_ON_THE_RIM = 0.65  # of the cysts and masses
_CYST_DARKER, _STONE_BRIGHTER, _MASS_DIFFERS = (
    (12, 75),
    (50, 160),
    (8, 60),
)  # grey values of 256 over a window of 400 HU


def soft_ellipse(
    shape: tuple[int, ...],
    centre: tuple[float, float],
    radius: float,
    rng: np.random.Generator,
    *,
    lobed: bool,
    edge_px: float = 1.0,
) -> np.ndarray:
    """How much a lesion covers of each pixel: (H, W) in 0..1.

    Args:
        centre: row and column.
        radius: in pixels; the axes differ by up to a factor of two.
        lobed: whether the outline is uneven.
        edge_px: how soft the edge is.
    """
    aspect, turn = rng.uniform(0.7, 1.4), rng.uniform(0, np.pi)
    y, x = np.ogrid[: shape[0], : shape[1]]
    dx, dy = x - centre[1], y - centre[0]
    u = (dx * np.cos(turn) + dy * np.sin(turn)) / (radius * aspect)
    v = (-dx * np.sin(turn) + dy * np.cos(turn)) / (radius / aspect)
    distance = np.sqrt(u * u + v * v)
    if lobed:
        angle, first, second = np.arctan2(v, u), rng.uniform(0, 6), rng.uniform(0, 6)
        distance = distance * (1 + 0.15 * np.sin(3 * angle + first) + 0.1 * np.sin(5 * angle + second))
    return 1 / (1 + np.exp(((distance - 1) * radius / edge_px).clip(-30, 30)))


def can_hold_lesion(kidney: np.ndarray) -> bool:
    """Whether enough of a kidney is seen: (S, S) bool."""
    return bool(kidney.mean() >= _MIN_KIDNEY)


def draw(
    grey: np.ndarray, kidney: np.ndarray, label: str, rng: np.random.Generator, *, gain: float = 1.0
) -> np.ndarray:
    """Draw a lesion into a kidney: (S, S) uint8 -> (S, S) uint8.

    Args:
        kidney: (S, S) bool, of which `can_hold_lesion`.
        label: one of `LESIONS`.
        gain: how much grey values were stretched, see `View.greys`.
    """
    image, size = grey.astype(np.float32), len(grey)
    radius = math.exp(rng.uniform(*np.log(RADII[label]))) * size
    rim = kidney & ~ndimage.binary_erosion(kidney, iterations=2)
    place = np.argwhere(rim if label != "Stone" and rng.random() < _ON_THE_RIM and rim.any() else kidney)
    row, column = place[rng.integers(len(place))]
    lobed = label == "Tumor" and rng.random() < 0.7
    alpha = soft_ellipse(grey.shape, (row, column), radius, rng, lobed=lobed, edge_px=rng.uniform(0.6, 1.5))
    if label == "Stone":
        alpha = alpha * ndimage.binary_dilation(kidney, iterations=2)
    median, spread = float(np.median(image[kidney])), max(4.0, 0.5 * float(image[kidney].std()))
    difference = {
        "Cyst": -rng.uniform(*_CYST_DARKER),
        "Stone": rng.uniform(*_STONE_BRIGHTER),
        "Tumor": rng.choice([-1, -1, 1]) * rng.uniform(*_MASS_DIFFERS),
    }[label]
    texture = grain(grey.shape, rng.uniform(0.4, 1), rng) * spread * rng.uniform(0.4, 1.2)
    if label == "Tumor":  # vessels and necrosis
        texture = texture + grain(grey.shape, rng.uniform(1.5, 5), rng) * gain * rng.uniform(2, 22)
    drawn = image * (1 - alpha) + alpha * (median + gain * difference + texture)
    return np.rint(drawn).clip(0, 255).astype(np.uint8)
