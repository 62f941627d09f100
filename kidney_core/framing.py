"""How a network sees an image: all of it, or the body, fitted into a square.

Scanners reconstruct fields of view of many sizes, so that a kidney is drawn large or small; around the body there is air,
and the table. A frame around the body shows kidneys at about the same scale, larger, and hides the table.
"""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

WHOLE, BODY = "whole", "body"
FRAMINGS = (WHOLE, BODY)
FRAMES = 1  # raised whenever a frame changes, so that nothing kept from before is taken for it


@dataclass(frozen=True)
class Frame:
    """A rectangle of an image, in its pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """(H, W) -> (height, width), a view."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class Seen:
    """A grey image as a network sees it.

    Attributes:
        square: (S, S) uint8, what the network gets.
        frame: the part of the image that it shows.
        shape: (H, W) of the image.
    """

    square: np.ndarray = field(repr=False)
    frame: Frame
    shape: tuple[int, int]

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """A mask or map over the image, (H, W) in 0..1, as the network sees it: (S, S) in 0..1."""
        shown = np.rint(self.frame.of(mask).astype(np.float32) * 255).clip(0, 255).astype(np.uint8)
        return square(shown, len(self.square)).astype(np.float32) / 255

    def over(self, heatmap: np.ndarray) -> np.ndarray:
        """Lay a map of the square over the image it came from: (h, w) -> (H, W) in 0..1, bilinear.

        The padding's part of the map is cut off, and outside the frame there is no evidence.
        """
        frame, size_px = self.frame, len(self.square)
        top, left, height, width = placement(frame.height, frame.width, size_px)
        down, across = heatmap.shape[0] / size_px, heatmap.shape[1] / size_px
        inner = (left * across, top * down, (left + width) * across, (top + height) * down)
        laid = np.zeros(self.shape, np.float32)
        part = Image.fromarray(heatmap).resize((frame.width, frame.height), Image.Resampling.BILINEAR, box=inner)
        frame.of(laid)[:] = np.clip(np.asarray(part), 0.0, 1.0)
        return laid


@dataclass(frozen=True)
class View:
    """How a network sees an image: a part of it, "whole" or "body", fitted into a square of `size_px`."""

    size_px: int
    framing: str = WHOLE

    def see(self, grey: np.ndarray) -> Seen:
        """A grey image, (H, W) uint8, as the network sees it; to find the body takes some milliseconds, so keep it."""
        frame = frame_of(grey, self.framing)
        return Seen(square(frame.of(grey), self.size_px), frame, grey.shape)

    def square(self, grey: np.ndarray) -> np.ndarray:
        """The square alone: (H, W) uint8 -> (size_px, size_px) uint8."""
        return self.see(grey).square


def square(grey: np.ndarray, size_px: int) -> np.ndarray:
    """Fit a grey image into a square: (H, W) uint8 -> (size_px, size_px) uint8, padded with black.

    The aspect ratio is kept, since a stretched kidney is not what the network was trained on.
    """
    top, left, height, width = placement(*grey.shape, size_px)
    if grey.shape != (height, width):
        grey = np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR))
    if (height, width) == (size_px, size_px):
        return grey
    padded = np.zeros((size_px, size_px), np.uint8)
    padded[top : top + height, left : left + width] = grey
    return padded


def placement(height_px: int, width_px: int, size_px: int) -> tuple[int, int, int, int]:
    """Where `square` puts an image: (top, left, height, width) in pixels of the square."""
    scale = size_px / max(height_px, width_px)
    height, width = max(1, round(height_px * scale)), max(1, round(width_px * scale))
    return (size_px - height) // 2, (size_px - width) // 2, height, width


def frame_of(grey: np.ndarray, framing: str) -> Frame:
    """The frame of an image, (H, W) uint8: the whole image for "whole", and where no body is found."""
    if framing not in FRAMINGS:
        raise ValueError(f"framing must be one of {FRAMINGS}, got {framing!r}")
    if framing == WHOLE:
        return Frame(0, 0, *grey.shape)
    from kidney_core.body import body_box  # SciPy takes a third of a second: not for pages that show no image

    return Frame(*body_box(grey))
