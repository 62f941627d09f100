"""What the finder's training does to a slice: contrast agent and lesions in the kidneys, the scanner, and the view.

The annotated volumes are of one hospital and one contrast phase, and their kidneys are healthy. So kidneys are made darker or
brighter than the tissue around them, cysts and masses are drawn into them that belong to the kidney, and greys, resolution and
field of view change as between hospitals. Some kidneys are taken out, as after an operation, and some are replaced by a lesion, as
at the end of a large one, where the slice shows no kidney tissue. Some slices are replaced by pictures that are no CT.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_dilation, gaussian_filter

from kidney_core.data.annotated_volumes import AXIAL, SAGITTAL, is_kidney
from kidney_core.imaging.painting import grain
from kidney_core.kidneys.found import NONE, PICTURE_LEFT, PICTURE_RIGHT
from kidney_core.simulation.drawn_lesions import soft_ellipse

_BONE_GREY = 235  # brighter pixels are bone or oral contrast agent: no lesion is drawn over them
_MUSCLE_GREY = 112.0
_ENHANCED, _WITH_LESION, _WITH_SECOND_LESION = 0.45, 0.4, 0.1  # of the slices
_REPLACED = 0.2  # of the slices a kidney is taken out, and of these:
_LESION_IN_ITS_PLACE, _WITHOUT_BOTH = 0.75, 0.5
_NO_CT = 0.06  # of the slices, replaced by a picture that is no CT
_RADIUS_PX = (3, 55)  # of lesions; at 224 pixels for a body about 5 to 85 mm
_MIN_KIDNEY_PX = 40  # smaller ends of kidneys are left as they are
_FAT_GREY = 45.0


def change_patient(
    square: np.ndarray, codes: np.ndarray, plane: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Another contrast phase, lesions and scanner: (S, S) uint8 greys and codes -> (S, S) float32 and uint8."""
    if rng.random() < _NO_CT:
        return draw_no_ct(square.shape, rng), np.zeros_like(codes)
    changed = square.astype(np.float32)
    if rng.random() < _ENHANCED:
        changed = enhance_kidneys(changed, codes, rng)
    if rng.random() < _REPLACED:
        changed, codes = replace_kidney(changed, codes, plane, rng)
    else:
        for share in (_WITH_LESION, _WITH_SECOND_LESION):
            if rng.random() < share:
                changed, codes = draw_lesion(changed, codes, plane, rng)
    return change_greys(changed, rng), codes


def draw_no_ct(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Noise of some grain, or shapes as on screens and photographs, in which no kidney is: (S, S) float32 in 0..255."""
    noise = gaussian_filter(rng.normal(0, 1, shape), math.exp(rng.uniform(math.log(0.05), math.log(24))))
    picture = (noise - noise.min()) / (np.ptp(noise) + 1e-6) * 255
    if rng.random() < 0.5:
        y, x = np.mgrid[: shape[0], : shape[1]]
        across, down = rng.uniform(-1, 1, 2)
        picture = 0.5 * picture + 0.5 * (across * x + down * y) / max(shape) * 255 % 256
        for _ in range(rng.integers(2, 14)):
            grey, (height, width) = rng.uniform(0, 255), rng.integers(4, max(shape) // 2, 2)
            top, left = rng.integers(-20, shape[0] - 4), rng.integers(-20, shape[1] - 4)
            inside = (y >= top) & (y < top + height) & (x >= left) & (x < left + width)
            if rng.random() < 0.5:
                inside = ((y - top) / height) ** 2 + ((x - left) / width) ** 2 < 0.5
            picture = np.where(inside, grey + 0.2 * (picture - 128), picture)
    return picture.clip(0, 255).astype(np.float32)


def draw_lesion(
    square: np.ndarray, codes: np.ndarray, plane: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a cyst or a mass at a kidney of the slice: (S, S) float32 greys and (S, S) uint8 codes -> the same.

    What it covers becomes part of the kidney.
    """
    inside = np.argwhere(is_kidney(codes))
    if len(inside) < _MIN_KIDNEY_PX:
        return square, codes
    row, column = inside[rng.integers(len(inside))]
    side = codes[row, column]
    place = np.argwhere(codes == side)
    radius = math.exp(rng.uniform(*np.log(_RADIUS_PX)))
    away = np.array([row, column]) - place.mean(axis=0)  # a large lesion grows out of the kidney
    outward = np.array([row, column]) + away / (np.linalg.norm(away) + 1e-6) * radius * rng.uniform(0, 0.6)
    centre = _beside_spine(outward, radius, place, plane, len(square))
    drawn, alpha = _with_lesion(square, centre, radius, float(np.median(square[codes == side])), rng)
    return drawn, np.where(alpha > 0.5, side, codes).astype(np.uint8)


def replace_kidney(
    square: np.ndarray, codes: np.ndarray, plane: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Take a kidney out, or both, and most often put a lesion in the place of one: greys and codes as `draw_lesion`."""
    shown = [code for code in (PICTURE_LEFT, PICTURE_RIGHT) if (codes == code).sum() >= _MIN_KIDNEY_PX]
    if not shown:
        return square, codes
    rng.shuffle(shown)
    place = np.argwhere(codes == shown[0])
    kidney = float(np.median(square[codes == shown[0]]))
    for code in shown if rng.random() < _WITHOUT_BOTH else shown[:1]:
        square, codes = _take_out(square, codes, code, rng)
    if rng.random() < _LESION_IN_ITS_PLACE:
        radius = math.exp(rng.uniform(math.log(8), math.log(_RADIUS_PX[1])))
        centre = _beside_spine(place[rng.integers(len(place))], radius, place, plane, len(square))
        square, alpha = _with_lesion(square, centre, radius, kidney, rng)
        codes = np.where(alpha > 0.5, shown[0], codes).astype(np.uint8)
    return square, codes


def _beside_spine(centre: np.ndarray, radius: float, kidney: np.ndarray, plane: str, size_px: int) -> np.ndarray:
    """A lesion's centre, (row, column), moved so that a large one covers neither the spine nor the back.

    Args:
        kidney: (N, 2), rows and columns of the kidney's pixels.
    """
    row, column = centre
    if plane != SAGITTAL:
        from_middle = column - size_px / 2
        column = size_px / 2 + math.copysign(max(abs(from_middle), 0.8 * radius), from_middle)
    if plane == AXIAL:
        row = min(row, kidney[:, 0].max() + 4 - 0.8 * radius)
    return np.array([row, column])


def _take_out(
    square: np.ndarray, codes: np.ndarray, code: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Fill a kidney, and the edge around it, with the fat that surrounds it."""
    kidney = codes == code
    alpha = gaussian_filter(binary_dilation(kidney, iterations=2).astype(np.float32), 1)
    around = square[binary_dilation(kidney, iterations=7) & ~binary_dilation(kidney, iterations=3)]
    fat = around[(around > 8) & (around < _MUSCLE_GREY - 20)]
    grey = float(np.median(fat)) if len(fat) > 20 else _FAT_GREY
    filled = square * (1 - alpha) + alpha * (grey + grain(square.shape, 1, rng) * rng.uniform(2, 12))
    return filled.clip(0, 255).astype(np.float32), np.where(kidney, NONE, codes).astype(np.uint8)


def _with_lesion(
    square: np.ndarray, centre: np.ndarray, radius: float, kidney: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A cyst or a mass over a slice whose kidney has the grey `kidney`: greys, and how much it covers, (S, S) in 0..1."""
    alpha = soft_ellipse(square.shape, (centre[0], centre[1]), radius, rng, lobed=rng.random() < 0.5)
    body = gaussian_filter((square > 8).astype(np.float32), 3) > 0.5
    alpha = alpha * body * (square < _BONE_GREY)
    value = kidney + rng.choice([-1, -1, 1]) * rng.uniform(8, 70) if rng.random() < 0.5 else rng.uniform(70, 110)
    texture = rng.normal(0, rng.uniform(2, 10), square.shape)
    if rng.random() < 0.5:  # necrosis and vessels of a mass
        coarse = gaussian_filter(rng.normal(0, 1, square.shape), rng.uniform(2, 6))
        texture = texture + coarse / coarse.std() * rng.uniform(5, 45)
    drawn = square * (1 - alpha) + alpha * (value + texture)
    return drawn.clip(0, 255).astype(np.float32), alpha


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
    noise = rng.normal(0, 1, square.shape)
    if rng.random() < 0.5:
        noise = gaussian_filter(noise, 0.7) * 2
    return ((square + noise * rng.uniform(0, 0.06)).clip(0, 1) * 255).astype(np.float32)


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
