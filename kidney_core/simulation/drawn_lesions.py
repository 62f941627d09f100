"""Lesions drawn into kidneys of real slices: cysts, stones and masses.

A network that learns from public labels learns the scan with the lesion, since every slice carries its scan's label. A lesion drawn
into a healthy kidney changes nothing but the lesion. Sizes and contrasts are those of the literature in round numbers: stones 2 to
9 mm, cysts 4 to 32 mm, masses 8 to 40 mm in radius at most, drawn evenly over the logarithm.
"""

import math

import numpy as np
from scipy import ndimage

from kidney_core.imaging.painting import grain

# Of the side of an image of one kidney, whose longer side takes 0.7 of it. A large lesion belongs to the outline of its kidney, which
# the image is made around, so that it fills the image.
RADII = {"Cyst": (0.04, 0.3), "Stone": (0.014, 0.06), "Tumor": (0.07, 0.42)}
LESIONS = tuple(RADII)
_LARGE = 0.2  # a radius, from which on lesions are moved towards the middle of the image
_MIN_KIDNEY = 0.016  # of the image: no lesion is drawn where less of the kidney is seen
_ON_THE_RIM = 0.65  # of the cysts and masses
# Of the image, where a lesion differs by more than noise.
_LEAST_SEEN = {"Cyst": 0.0048, "Stone": 0.0006, "Tumor": 0.0048}
_LEAST_NOISE = 6.0  # grey values
_N_TRIES = 6
# Grey values of 256 over a window of 400 HU.
_CYST_DARKER, _STONE_BRIGHTER, _MASS_DIFFERS, _NECROSIS_DARKER = (15, 110), (45, 160), (10, 80), (10, 50)


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


def draw(grey: np.ndarray, kidney: np.ndarray, label: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a lesion that can be seen into a kidney.

    Args:
        grey: (S, S) grey values of 256 over a window of about 400 HU, or their differences from any value.
        kidney: (S, S) bool, of which `can_hold_lesion`.
        label: one of `LESIONS`.

    Returns: (S, S) float32 the grey values with the lesion, and (S, S) bool where it is.
    """
    image = grey.astype(np.float32)
    spread = float(image[kidney].std())
    for _ in range(_N_TRIES):
        covered, difference = _draw_once(image, kidney, label, rng)
        drawn = image * (1 - covered) + covered * (float(np.median(image[kidney])) + difference)
        changed = np.abs(drawn - image) > 1.2 * max(_LEAST_NOISE, 0.5 * spread)
        if changed.mean() >= _LEAST_SEEN[label]:
            break
    return drawn, covered > 0.5


def _draw_once(
    image: np.ndarray, kidney: np.ndarray, label: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """How much a lesion covers of each pixel, 0 to 1, and how it differs from the kidney there: (S, S) both."""
    shape, radius = image.shape, math.exp(rng.uniform(*np.log(RADII[label]))) * len(image)
    centre = _centre(kidney, label, radius, rng)
    lobed = label == "Tumor" and rng.random() < 0.7
    covered = soft_ellipse(shape, centre, radius, rng, lobed=lobed, edge_px=rng.uniform(0.6, 1.5))
    if label == "Stone":
        covered = covered * ndimage.binary_dilation(kidney, iterations=2)
    spread = max(2.0, 0.5 * float(image[kidney].std()))
    texture = grain(shape, rng.uniform(0.4, 1), rng) * spread * rng.uniform(0.4, 1.2)
    if label == "Cyst":
        return covered, texture - rng.uniform(*_CYST_DARKER)
    if label == "Stone":
        return covered, texture + rng.uniform(*_STONE_BRIGHTER)
    texture = texture + grain(shape, rng.uniform(1.5, 5), rng) * rng.uniform(2, 22)  # vessels
    if rng.random() < 0.4 and radius > 0.12 * len(image):
        row, column = np.array(centre) + rng.normal(0, 0.25 * radius, 2)
        inner = radius * rng.uniform(0.3, 0.6)
        necrosis = soft_ellipse(shape, (row, column), inner, rng, lobed=True, edge_px=rng.uniform(1, 4))
        texture = texture - necrosis * rng.uniform(*_NECROSIS_DARKER)
    return covered, texture + rng.choice([-1, -1, -1, 1]) * rng.uniform(*_MASS_DIFFERS)


def _centre(kidney: np.ndarray, label: str, radius: float, rng: np.random.Generator) -> tuple[float, float]:
    """Row and column of a lesion: in the kidney, most cysts and masses on its rim."""
    rim = kidney & ~ndimage.binary_erosion(kidney, iterations=2)
    places = np.argwhere(rim if label != "Stone" and rng.random() < _ON_THE_RIM and rim.any() else kidney)
    place, middle = places[rng.integers(len(places))].astype(float), (len(kidney) - 1) / 2
    if label != "Stone" and radius > _LARGE * len(kidney):
        place = place + (middle - place) * rng.uniform(0, 0.9)
    row, column = place
    return float(row), float(column)
