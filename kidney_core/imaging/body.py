"""The body in a slice, without the air and the table around it."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

_GRID = 256  # cells along the longer side; the outline of a body needs no more
_THRESHOLD = 0.08  # of the 99th percentile: between air and the thin line of the skin, also after CLAHE
_GAP = 5  # cells: gaps up to this size in the outline of a body are closed
_TABLE = 9  # cells: thinner structures, such as the lines of a table, are removed
_MARGIN = 0.02  # of the longer side
_MIN_AREA = 0.05  # of the image: a smaller component is not a body
_ALIKE = 0.65  # of the height and of the width of the largest component, that another body has at least


@dataclass(frozen=True)
class Body:
    """Where the body is in a picture.

    Attributes:
        top, left, height, width: its bounding box with a margin of 2 %, in pixels.
        n_bodies: how many bodies of about its size lie side by side: 1 in a slice, more on a contact sheet.
    """

    top: int
    left: int
    height: int
    width: int
    n_bodies: int


@dataclass(frozen=True)
class _Components:
    """What is brighter than air, filled, without thin lines: numbers from 1 in cells, the area of each, pixels of a cell."""

    parts: np.ndarray
    areas: np.ndarray
    cell: int


def body_mask(grey: np.ndarray) -> np.ndarray:
    """The mask of the body in a slice: (H, W) uint8 -> (H, W) bool, all True where no body is found.

    It is the largest component brighter than air, filled, after thin lines are removed; its resolution is a 256th of
    the longer side.
    """
    return _largest(_components(grey), grey.shape)


def find_body(grey: np.ndarray) -> Body:
    """Where the body is in a picture, (H, W) uint8; the whole picture where none is found.

    Measured on every 25th slice of the public dataset: the box of its contrast-equalised copy overlaps the box of the
    published image (intersection over union) by 79 % or more for 95 of 100 slices, by 98 % for the median.
    """
    found, margin = _components(grey), round(_MARGIN * max(grey.shape))
    mask = _largest(found, grey.shape)
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    bottom = min(grey.shape[0], rows[-1] + 1 + margin)
    right = min(grey.shape[1], columns[-1] + 1 + margin)
    return Body(int(top), int(left), int(bottom - top), int(right - left), _count_bodies(found))


def _largest(found: _Components, shape: tuple[int, ...]) -> np.ndarray:
    if not len(found.areas):
        return np.ones(shape, bool)
    largest = found.parts == 1 + int(found.areas.argmax())
    mask = np.repeat(np.repeat(largest, found.cell, axis=0), found.cell, axis=1)[: shape[0], : shape[1]]
    return mask if mask.mean() > _MIN_AREA else np.ones(shape, bool)


def _count_bodies(found: _Components) -> int:
    """A table is as wide as the body but flat, and organs in a narrow window lie within the box of others."""
    if not len(found.areas):
        return 1
    boxes = ndimage.find_objects(found.parts)
    largest = boxes[int(found.areas.argmax())]
    return 1 + sum(_is_alike(box, largest) and not _overlap(box, largest) for box in boxes)


def _is_alike(box: tuple[slice, ...], other: tuple[slice, ...]) -> bool:
    """Whether two boxes have about the same height and width."""
    sides = [(one.stop - one.start, two.stop - two.start) for one, two in zip(box, other, strict=True)]
    return all(min(pair) >= _ALIKE * max(pair) for pair in sides)


def _overlap(box: tuple[slice, ...], other: tuple[slice, ...]) -> bool:
    return all(one.start < two.stop and two.start < one.stop for one, two in zip(box, other, strict=True))


def _components(grey: np.ndarray) -> _Components:
    cell = max(1, round(max(grey.shape) / _GRID))
    bright = grey > _THRESHOLD * np.percentile(grey[::2, ::2], 99)
    scale = max(grey.shape) / cell / _GRID  # below 1 for an image of fewer pixels than the grid has cells
    body = _fill_holes(_close(_max_pool(bright, cell), _odd(_GAP * scale)))
    body = _dilate(ndimage.minimum_filter(body, _odd(_TABLE * scale), mode="nearest"), _odd(_TABLE * scale))
    parts, _ = ndimage.label(body)
    return _Components(parts, np.bincount(parts.ravel())[1:], cell)


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
