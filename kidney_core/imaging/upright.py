"""The way from a slice as it is stored to the upright picture with square pixels that networks see, and back.

Networks were trained on pictures in radiological view: an axial slice with the patient's front at the top and the right side on the
left, a coronal one with the head at the top, a sagittal one with the head at the top and the front on the left. A patient who lies on
the stomach, or a scanner that stores columns as rows, would show them another anatomy.
"""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

# The letters of a plane -> those at the top and on the left of the radiological view.
_RADIOLOGICAL = {
    frozenset("RLAP"): ("A", "R"),
    frozenset("RLHF"): ("H", "R"),
    frozenset("APHF"): ("H", "A"),
}
_SIDES = ("top", "right", "bottom", "left")  # clockwise
_SQUARE = 0.01  # pixels whose sides differ by less are square
_MAX_ENLARGED = 2.0  # of the longer side of a slice, when its pixels are made square


@dataclass(frozen=True)
class Upright:
    """How a slice is turned and stretched.

    Attributes:
        turns: by 90 degrees counter-clockwise.
        mirrored: left and right are exchanged, after turning.
        shape: (H, W) of the slice as it is stored.
        size: (H', W') of the picture.
        letters: of the picture, as `Slice.letters`.
    """

    turns: int
    mirrored: bool
    shape: tuple[int, int]
    size: tuple[int, int]
    letters: dict[str, str] = field(default_factory=dict)

    @property
    def in_words(self) -> str:
        """What is done to the slice, such as "turned by 180°, mirrored"; empty where it is shown as it is stored."""
        height, width = self.shape
        stored = (width, height) if self.turns % 2 else (height, width)
        changes = {
            f"turned by {90 * self.turns}°": self.turns,
            "mirrored": self.mirrored,
            "with square pixels": self.size != stored,
        }
        return ", ".join(words for words, is_done in changes.items() if is_done)

    def picture(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels of the slice, or a map or mask of it, as the picture shows them: (H, W) -> (H', W') of the same type."""
        turned = np.rot90(pixels, self.turns)
        return _resized(turned[:, ::-1] if self.mirrored else turned, self.size)

    def back(self, picture: np.ndarray) -> np.ndarray:
        """A map or mask of the picture on the slice as it is stored: (H', W') -> (H, W) of the same type."""
        height, width = self.shape
        resized = _resized(picture, (width, height) if self.turns % 2 else (height, width))
        return np.rot90(resized[:, ::-1] if self.mirrored else resized, -self.turns)


def find(letters: dict[str, str], shape: tuple[int, int], pixel_aspect: float) -> Upright:
    """How a slice becomes upright.

    Args:
        letters: see `Slice.letters`; without any, the slice is taken to be upright.
        shape: (H, W).
        pixel_aspect: height of a pixel over its width.
    """
    for mirrored in (False, True):
        for turns in range(4):
            shown = _turned(letters, turns, mirrored)
            if _is_radiological(shown):
                return Upright(turns, mirrored, shape, _size(shape, turns, pixel_aspect), shown)
    return Upright(0, False, shape, _size(shape, 0, pixel_aspect), dict(letters))


def _turned(letters: dict[str, str], turns: int, mirrored: bool) -> dict[str, str]:
    """The letters after turning counter-clockwise, then mirroring."""
    values = [letters.get(side, "") for side in _SIDES]
    turned = dict(zip(_SIDES, values[turns:] + values[:turns], strict=True))
    if mirrored:
        turned["left"], turned["right"] = turned["right"], turned["left"]
    return turned


def _is_radiological(letters: dict[str, str]) -> bool:
    main = {side: letters[side][:1] for side in _SIDES}
    return _RADIOLOGICAL.get(frozenset(main.values())) == (main["top"], main["left"])


def _size(shape: tuple[int, int], turns: int, pixel_aspect: float) -> tuple[int, int]:
    """The size of the picture: the coarser side is enlarged, so that nothing is lost; not beyond twice the longer side."""
    height, width = shape
    if abs(pixel_aspect - 1) >= _SQUARE:
        tall, wide = height * max(pixel_aspect, 1.0), width / min(pixel_aspect, 1.0)
        scale = min(1.0, _MAX_ENLARGED * max(shape) / max(tall, wide))
        height, width = max(1, round(tall * scale)), max(1, round(wide * scale))
    return (width, height) if turns % 2 else (height, width)


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if pixels.shape == size:
        return pixels
    how = Image.Resampling.NEAREST if pixels.dtype == bool else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((size[1], size[0]), how))
