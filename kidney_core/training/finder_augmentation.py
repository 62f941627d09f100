"""What the finder's training does to a slice: contrast agent and lesions in the kidneys, the scanner, and the view.

The annotated volumes are of one hospital and one contrast phase, and their kidneys are healthy. So kidneys are made darker or
brighter than the tissue around them, cysts and masses are drawn into them that belong to the kidney, and greys, resolution and
field of view change as between hospitals.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from kidney_core.data.annotated_volumes import is_kidney
from kidney_core.kidneys.found import PICTURE_LEFT, PICTURE_RIGHT

_BONE_GREY = 235  # brighter pixels are bone or oral contrast agent: no lesion is drawn over them
_MUSCLE_GREY = 112.0
_ENHANCED, _WITH_LESION, _WITH_SECOND_LESION = 0.45, 0.4, 0.1  # of the slices


def change_patient(square: np.ndarray, codes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Another contrast phase, lesions and scanner: (S, S) uint8 greys and codes -> (S, S) float32 and uint8."""
    changed = square.astype(np.float32)
    if rng.random() < _ENHANCED:
        changed = enhance_kidneys(changed, codes, rng)
    for share in (_WITH_LESION, _WITH_SECOND_LESION):
        if rng.random() < share:
            changed, codes = draw_lesion(changed, codes, rng)
    return change_greys(changed, rng), codes


def draw_lesion(square: np.ndarray, codes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a cyst or a mass at a kidney of the slice: (S, S) float32 greys and (S, S) uint8 codes -> the same.

    The radius is 3 to 55 pixels, which at 224 pixels for a body is about 5 to 85 mm; what it covers becomes part of the kidney.
    """
    inside = np.argwhere(is_kidney(codes))
    if len(inside) < 40:
        return square, codes
    row, column = inside[rng.integers(len(inside))]
    side, middle = codes[row, column], inside[codes[tuple(inside.T)] == codes[row, column]].mean(axis=0)
    radius = math.exp(rng.uniform(math.log(3), math.log(55)))
    # A large lesion grows out of the kidney, away from the spine more often than toward it.
    away = np.array([row, column]) - middle
    row, column = np.array([row, column]) + away / (np.linalg.norm(away) + 1e-6) * radius * rng.uniform(0, 0.6)
    alpha = _blob(square.shape, row, column, radius, rng, lobed=rng.random() < 0.5)
    body = gaussian_filter((square > 8).astype(np.float32), 3) > 0.5
    alpha = alpha * body * (square < _BONE_GREY)
    kidney = float(np.median(square[codes == side]))
    value = kidney + rng.choice([-1, -1, 1]) * rng.uniform(8, 70) if rng.random() < 0.5 else rng.uniform(70, 110)
    texture = rng.normal(0, rng.uniform(2, 10), square.shape)
    if rng.random() < 0.5:  # necrosis and vessels of a mass
        coarse = gaussian_filter(rng.normal(0, 1, square.shape), rng.uniform(2, 6))
        texture = texture + coarse / coarse.std() * rng.uniform(5, 45)
    drawn = square * (1 - alpha) + alpha * (value + texture)
    return drawn.clip(0, 255).astype(np.float32), np.where(alpha > 0.5, side, codes).astype(np.uint8)


def _blob(
    shape: tuple[int, ...], row: float, column: float, radius: float, rng: np.random.Generator, *, lobed: bool
) -> np.ndarray:
    """A soft ellipse, (S, S) in 0..1."""
    aspect, turn = rng.uniform(0.7, 1.4), rng.uniform(0, np.pi)
    y, x = np.ogrid[: shape[0], : shape[1]]
    dx, dy = x - column, y - row
    u = (dx * np.cos(turn) + dy * np.sin(turn)) / (radius * aspect)
    v = (-dx * np.sin(turn) + dy * np.cos(turn)) / (radius / aspect)
    distance = np.sqrt(u * u + v * v)
    if lobed:
        angle = np.arctan2(v, u)
        distance = distance * (1 + 0.15 * np.sin(3 * angle + rng.uniform(0, 6)) + 0.1 * np.sin(5 * angle))
    return 1 / (1 + np.exp(((distance - 1) * radius).clip(-30, 30)))


def enhance_kidneys(square: np.ndarray, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the contrast agent of the kidneys alone, from darker than muscle to brighter than the liver: (S, S) float32."""
    kidneys = is_kidney(codes)
    if kidneys.sum() < 20:
        return square
    alpha = gaussian_filter(kidneys.astype(np.float32), 0.7)
    median = float(np.median(square[kidneys]))
    target = rng.uniform(85, 135) if rng.random() < 0.5 else rng.uniform(110, 250)
    changed = target + rng.uniform(0.2, 1.2) * (square - median)
    return (square * (1 - alpha) + alpha * changed).clip(0, 255).astype(np.float32)


def change_greys(square: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another contrast phase, window, resolution and noise: (S, S) float32 in 0..255."""
    if rng.random() < 0.35:  # without contrast agent all soft tissue is alike
        above = square - _MUSCLE_GREY
        squeezed = _MUSCLE_GREY + above.clip(0, 90) * rng.uniform(0.15, 1) + (above - 90).clip(0, None) * 1.4
        square = np.where(above > 0, squeezed, square)
    low, high = rng.uniform(-50, 85), rng.uniform(175, 300)
    square = ((square - low) / (high - low)).clip(0, 1) ** math.exp(rng.uniform(-0.5, 0.5))
    if rng.random() < 0.15:  # as in contrast-equalised copies
        mean = gaussian_filter(square, 14)
        deviation = np.sqrt(gaussian_filter((square - mean) ** 2, 14)) + 0.04
        equal = (0.5 + 0.22 * (square - mean) / deviation).clip(0, 1) * (square > 0.02)
        share = rng.uniform(0.4, 0.9)
        square = share * equal + (1 - share) * square
    if rng.random() < 0.25:
        square = gaussian_filter(square, rng.uniform(0.4, 1.3))
    grain = rng.normal(0, 1, square.shape)
    if rng.random() < 0.5:
        grain = gaussian_filter(grain, 0.7) * 2
    return ((square + grain * rng.uniform(0, 0.06)).clip(0, 1) * 255).astype(np.float32)


def swap_sides(codes: torch.Tensor) -> torch.Tensor:
    """The codes of a mirrored picture, for codes that were mirrored already."""
    return torch.where(
        codes == PICTURE_LEFT, PICTURE_RIGHT, torch.where(codes == PICTURE_RIGHT, PICTURE_LEFT, codes)
    ).to(codes.dtype)


def change_view(
    squares: torch.Tensor, codes: torch.Tensor, size_px: int, rng: np.random.Generator, *, is_reformatted: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn, mirror, scale, stretch and shift: (B, S, S) float32 and uint8 -> (B, size_px, size_px) each.

    Args:
        is_reformatted: (B,) bool, where the slice is reformatted, so that its spacing from row to row is uncertain.
    """
    n = len(squares)
    angle = np.where(rng.random(n) < 0.1, rng.uniform(-0.8, 0.8, n), rng.uniform(-0.26, 0.26, n))
    mirrored = rng.random(n) < 0.3
    prone = (rng.random(n) < 0.06) & ~is_reformatted
    zoom = np.where(rng.random(n) < 0.15, rng.uniform(1.1, 1.7, n), np.exp(rng.uniform(-0.35, 0.3, n)))
    aspect = np.exp(np.where(is_reformatted, 1.0, 0.4) * rng.uniform(-0.3, 0.3, n))
    across, down = zoom * np.where(mirrored, -1, 1), zoom * aspect * np.where(prone, -1, 1)
    theta = np.zeros((n, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 0, 1] = across * np.cos(angle), -down * np.sin(angle)
    theta[:, 1, 0], theta[:, 1, 1] = across * np.sin(angle), down * np.cos(angle)
    theta[:, :, 2] = rng.uniform(-0.15, 0.15, (n, 2))
    grid = F.affine_grid(torch.from_numpy(theta), [n, 1, size_px, size_px], align_corners=False)
    moved = F.grid_sample(squares[:, None], grid, align_corners=False)[:, 0]
    codes = F.grid_sample(codes[:, None].float(), grid, mode="nearest", align_corners=False)[:, 0].to(torch.uint8)
    return moved, torch.where(torch.from_numpy(mirrored)[:, None, None], swap_sides(codes), codes)
