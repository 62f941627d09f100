"""Where the body lies in a slice, without the air and the table around it."""

import numpy as np
from scipy import ndimage

_GRID = 256  # cells along the longer side; the outline of a body needs no more
_THRESHOLD = 0.08  # of the 99th percentile: between air and the thin line of the skin, also after CLAHE
_GAP = 5  # cells: such a gap in the outline of a body is closed
_TABLE = 9  # cells: what is thinner, such as the lines of a table, is no body
_MARGIN = 0.02  # of the longer side
_LEAST = 0.05  # of the image: what is smaller is no body


def body_mask(grey: np.ndarray) -> np.ndarray:
    """The body in a slice: (H, W) uint8 -> (H, W) bool, exact to a 256th of the longer side; all True where there is none.

    It is the largest thing that is brighter than air, its inside filled, once thin lines are gone.
    """
    cell = max(1, round(max(grey.shape) / _GRID))
    bright = grey > _THRESHOLD * np.percentile(grey[::2, ::2], 99)
    scale = max(grey.shape) / cell / _GRID  # below 1 for an image of fewer pixels than the grid has cells
    body = _filled(_closed(_pooled(bright, cell), _odd(_GAP * scale)))
    body = _dilated(ndimage.minimum_filter(body, _odd(_TABLE * scale), mode="nearest"), _odd(_TABLE * scale))
    parts, n_parts = ndimage.label(body)
    if not n_parts:
        return np.ones(grey.shape, bool)
    largest = parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())
    mask = np.repeat(np.repeat(largest, cell, axis=0), cell, axis=1)[: grey.shape[0], : grey.shape[1]]
    return mask if mask.mean() > _LEAST else np.ones(grey.shape, bool)


def body_box(grey: np.ndarray) -> tuple[int, int, int, int]:
    """The rectangle around the body with a little margin: (H, W) uint8 -> (top, left, height, width) in pixels.

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


def _pooled(bright: np.ndarray, cell: int) -> np.ndarray:
    """(H, W) bool -> cells of `cell` x `cell` pixels, true where any pixel is, so that a thin line stays closed."""
    height, width = (-(-side // cell) for side in bright.shape)
    padded = np.zeros((height * cell, width * cell), bool)
    padded[: bright.shape[0], : bright.shape[1]] = bright
    return padded.reshape(height, cell, width, cell).any(axis=(1, 3))


def _dilated(mask: np.ndarray, size: int) -> np.ndarray:
    return ndimage.maximum_filter(mask, size, mode="constant", cval=False)


def _closed(mask: np.ndarray, gap: int) -> np.ndarray:
    """Gaps in an outline closed."""
    dilated = _dilated(np.pad(mask, gap), gap)
    return ndimage.minimum_filter(dilated, gap, mode="constant", cval=False)[gap:-gap, gap:-gap]


def _filled(mask: np.ndarray) -> np.ndarray:
    """Holes filled: whatever is dark and not connected to the border."""
    dark, _ = ndimage.label(~np.pad(mask, 1))
    return (dark != dark[0, 0])[1:-1, 1:-1]
