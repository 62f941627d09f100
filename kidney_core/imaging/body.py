"""The body in a slice, without the air and the table around it."""

import numpy as np
from scipy import ndimage

_GRID = 256  # cells along the longer side; the outline of a body needs no more
_THRESHOLD = 0.08  # of the 99th percentile: between air and the thin line of the skin, also after CLAHE
_GAP = 5  # cells: gaps up to this size in the outline of a body are closed
_TABLE = 9  # cells: thinner structures, such as the lines of a table, are removed
_MARGIN = 0.02  # of the longer side
_MIN_AREA = 0.05  # of the image: a smaller component is not a body


def body_mask(grey: np.ndarray) -> np.ndarray:
    """The mask of the body in a slice: (H, W) uint8 -> (H, W) bool, all True where no body is found.

    It is the largest component brighter than air, filled, after thin lines are removed; its resolution is a 256th of
    the longer side.
    """
    cell = max(1, round(max(grey.shape) / _GRID))
    bright = grey > _THRESHOLD * np.percentile(grey[::2, ::2], 99)
    scale = max(grey.shape) / cell / _GRID  # below 1 for an image of fewer pixels than the grid has cells
    body = _fill_holes(_close(_max_pool(bright, cell), _odd(_GAP * scale)))
    body = _dilate(ndimage.minimum_filter(body, _odd(_TABLE * scale), mode="nearest"), _odd(_TABLE * scale))
    parts, n_parts = ndimage.label(body)
    if not n_parts:
        return np.ones(grey.shape, bool)
    largest = parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())
    mask = np.repeat(np.repeat(largest, cell, axis=0), cell, axis=1)[: grey.shape[0], : grey.shape[1]]
    return mask if mask.mean() > _MIN_AREA else np.ones(grey.shape, bool)


def body_box(grey: np.ndarray) -> tuple[int, int, int, int]:
    """The bounding box of the body with a margin of 2 %: (H, W) uint8 -> (top, left, height, width) in pixels.

    Measured on every 25th slice of the public dataset: the box of its contrast-equalised copy overlaps the box of the
    published image (intersection over union) by 79 % or more for 95 of 100 slices, by 98 % for the median.
    """
    mask, margin = body_mask(grey), round(_MARGIN * max(grey.shape))
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    bottom = min(grey.shape[0], rows[-1] + 1 + margin)
    right = min(grey.shape[1], columns[-1] + 1 + margin)
    return int(top), int(left), int(bottom - top), int(right - left)


def _odd(size: float) -> int:
    """The nearest odd number of cells, 1 or more."""
    return 2 * round((size - 1) / 2) + 1 if size > 1 else 1


def _max_pool(bright: np.ndarray, cell: int) -> np.ndarray:
    """(H, W) bool -> cells of `cell` x `cell` pixels, True where any pixel is, so that a thin line stays closed."""
    height, width = (-(-side // cell) for side in bright.shape)
    padded = np.zeros((height * cell, width * cell), bool)
    padded[: bright.shape[0], : bright.shape[1]] = bright
    return np.asarray(padded.reshape(height, cell, width, cell).any(axis=(1, 3)))


def _dilate(mask: np.ndarray, size: int) -> np.ndarray:
    return ndimage.maximum_filter(mask, size, mode="constant", cval=False)


def _close(mask: np.ndarray, gap: int) -> np.ndarray:
    """Morphological closing: gaps of up to `gap` cells in an outline are closed."""
    dilated = _dilate(np.pad(mask, gap), gap)
    return ndimage.minimum_filter(dilated, gap, mode="constant", cval=False)[gap:-gap, gap:-gap]


def _fill_holes(mask: np.ndarray) -> np.ndarray:
    """The mask with its holes filled: everything False that is not connected to the border."""
    background, _ = ndimage.label(~np.pad(mask, 1))
    return (background != background[0, 0])[1:-1, 1:-1]
