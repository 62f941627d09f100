"""The small picture of a slice by which slices are compared."""

import numpy as np
from PIL import Image

THUMBNAIL_PX = 32
_AIR = 24  # grey value: darker bars are air, which belongs to the slice
_EVEN = 12  # grey levels by which a bar may differ from its median, after JPEG
_NEARLY_ALL = 0.99


def thumbnail(grey: np.ndarray) -> np.ndarray:
    """(H, W) uint8 -> (32, 32) uint8, without bright bars or a bright frame, which would make all framed pictures alike."""
    bare = _without_bars(_without_bars(_without_bars(grey).T).T)
    picture = Image.fromarray(np.ascontiguousarray(bare))
    return np.asarray(picture.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BILINEAR))


def _without_bars(grey: np.ndarray) -> np.ndarray:
    """The picture without even, bright rows at its top and bottom; as it is where nothing else is there."""
    first, end = 0, len(grey)
    while first < end and _is_bar(grey[first]):
        first += 1
    while end > first and _is_bar(grey[end - 1]):
        end -= 1
    return grey[first:end] if first < end else grey


def _is_bar(line: np.ndarray) -> bool:
    level = float(np.median(line))
    return level > _AIR and float((np.abs(line - level) <= _EVEN).mean()) >= _NEARLY_ALL
