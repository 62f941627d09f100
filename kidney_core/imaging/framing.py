"""How a network sees an image: the whole image, the body, both kidneys or each kidney, in a square.

Scanners reconstruct fields of view of many sizes, so that kidneys differ in scale; around the body there are air and the
table. A frame around the body shows kidneys larger and at about the same scale, and hides the table. Where the kidneys are
is found by others, see the package `kidneys`; frames around them fall back to the body where a slice shows none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

WHOLE, STRETCHED, BODY, KIDNEYS, EACH_KIDNEY = "whole", "stretched", "body", "kidneys", "each-kidney"
FRAMINGS = (WHOLE, STRETCHED, BODY, KIDNEYS, EACH_KIDNEY)
ORIGINAL, EQUALIZED, RELATIVE = "original", "equalized", "relative"
GREYS = (ORIGINAL, EQUALIZED, RELATIVE)
MASK_PX = 64  # side of the mask of a kidney in its box
FRAMING_VERSION = 1  # raised whenever frames change, so that cached pixels of the old ones are not used
_MARGIN_OF_BOTH = 0.15  # of the longer side of the box around both kidneys
_SIDE_OF_EACH, _MIN_SIDE_OF_EACH = 1.4, 0.3  # of the longer side of a kidney's box; of the longer side of the body
_CLIP_LIMIT, _TILES = 4.0, (8, 8)  # of the contrast equalisation, as in the equalised copies of the public dataset
_MIDDLE_GREY, _RELATIVE_GAIN = 128.0, 2.0


@dataclass(frozen=True)
class Frame:
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def crop(self, image: np.ndarray) -> np.ndarray:
        """The part of an image inside the frame: (H, W) -> (height, width), a view."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class KidneyBox:
    """A kidney of a slice.

    Attributes:
        place: 0 for the one on the left of the picture, 1 for the one on the right.
        frame: its bounding box.
        median: the median of its grey values, 0 to 255.
        mask: (64, 64) bool, the kidney within its box; None where only the box is known.
    """

    place: int
    frame: Frame
    median: float
    mask: np.ndarray | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class FramedImage:
    """A grey image as a network sees it.

    Attributes:
        square: (S, S) uint8, the input of the network.
        frame: the part of the image that the square shows.
        shape: (H, W) of the image.
        place: of the kidney that it shows alone, see `KidneyBox`; None where it shows more. The one on the right of the
            picture is mirrored, so that a network sees both kidneys alike.
        stretched: whether the frame fills the square whatever its shape; otherwise the square is padded.
        n_bodies: see `body.Body`; looked for where the frame is that of the body.
    """

    square: np.ndarray = field(repr=False)
    frame: Frame
    shape: tuple[int, int]
    place: int | None = None
    stretched: bool = False
    n_bodies: int = 1

    def fit_mask(self, mask: np.ndarray) -> np.ndarray:
        """A mask or heatmap of the image, fitted into the square: (H, W) in 0..1 -> (S, S) float32 in 0..1."""
        cropped = np.rint(self.frame.crop(mask).astype(np.float32) * 255).clip(0, 255).astype(np.uint8)
        fitted = square(cropped, len(self.square), stretched=self.stretched)
        return self._mirror(fitted).astype(np.float32) / 255

    def _mirror(self, pixels: np.ndarray) -> np.ndarray:
        """Mirror (h, w) between image and square where this one is mirrored."""
        return np.ascontiguousarray(pixels[:, ::-1]) if self.place == 1 else pixels

    def to_image(self, heatmap: np.ndarray) -> np.ndarray:
        """Resize a heatmap of the square to the image, bilinearly: (h, w) float32 -> (H, W) float32 in 0..1.

        The part over the padding is cut off; outside the frame the result is 0.
        """
        frame, size_px = self.frame, len(self.square)
        top, left, height, width = placement(frame.height, frame.width, size_px, stretched=self.stretched)
        down, across = heatmap.shape[0] / size_px, heatmap.shape[1] / size_px
        inner = (left * across, top * down, (left + width) * across, (top + height) * down)
        full = np.zeros(self.shape, np.float32)
        resized = Image.fromarray(self._mirror(heatmap)).resize(
            (frame.width, frame.height), Image.Resampling.BILINEAR, box=inner
        )
        frame.crop(full)[:] = np.clip(np.asarray(resized), 0.0, 1.0)
        return full


@dataclass(frozen=True)
class View:
    """How a network sees images: a part of each, with grey values, fitted into a square of `size_px` pixels.

    Attributes:
        framing: "whole" image, the whole image "stretched" to the square, "body", both "kidneys" with a margin, or "each-kidney" in an image of its own.
        greys: "original" values; "equalized" contrast (CLAHE, clip limit 4, 8 x 8 tiles); or "relative" to the kidneys: their
            median becomes 128, and differences from it are doubled.
    """

    size_px: int
    framing: str = WHOLE
    greys: str = ORIGINAL

    @property
    def needs_kidneys(self) -> bool:
        """Whether the kidneys of a slice have to be found first."""
        return self.framing in (KIDNEYS, EACH_KIDNEY) or self.greys == RELATIVE

    @property
    def without_kidneys(self) -> "View":
        """The nearest view that needs no kidneys."""
        framing = BODY if self.framing in (KIDNEYS, EACH_KIDNEY) else self.framing
        return View(self.size_px, framing, ORIGINAL if self.greys == RELATIVE else self.greys)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array that shows a slice: (S, S), or (2, S, S) for each kidney."""
        return (2, self.size_px, self.size_px) if self.framing == EACH_KIDNEY else (self.size_px, self.size_px)

    def frames(self, grey: np.ndarray, kidneys: Sequence[KidneyBox] = ()) -> tuple[FramedImage, ...]:
        """A grey image, (H, W) uint8, as the network sees it: one image, or one for each kidney.

        Keep the result, since finding the body takes milliseconds.

        Args:
            kidneys: of the slice; without any, the frame is that of the body where the view asks for kidneys.

        Raises: ValueError for an unknown framing or kind of grey values.
        """
        if self.greys not in GREYS:
            raise ValueError(f"greys must be one of {GREYS}, got {self.greys!r}")
        shown = _equalize(grey) if self.greys == EQUALIZED else grey
        if self.framing != EACH_KIDNEY or not kidneys:
            frame, n_bodies = find_frame(grey, self.framing, kidneys)
            framed = self._fit(shown, frame, [each.median for each in kidneys])
            return (replace(framed, n_bodies=n_bodies),)
        body, _ = find_frame(grey, BODY)
        return tuple(
            self._fit(shown, _around_kidney(each, body, grey.shape), [each.median], each.place) for each in kidneys
        )

    def frame(self, grey: np.ndarray) -> FramedImage:
        """The same for a view that shows one image and needs no kidneys."""
        (framed,) = self.frames(grey)
        return framed

    def as_array(self, frames: Sequence[FramedImage]) -> np.ndarray:
        """What `frames` gave for a slice as one array of `shape`, uint8; a kidney that it does not show is all black."""
        if self.framing != EACH_KIDNEY:
            return frames[0].square
        shown = np.zeros(self.shape, np.uint8)
        for framed in frames:
            shown[framed.place or 0] = framed.square
        return shown

    def masks_as_array(self, frames: Sequence[FramedImage], kidneys: Sequence[KidneyBox]) -> np.ndarray:
        """Where the kidney is in each image that `frames` gave for a slice: (2, S, S) bool, for a view of each kidney.

        Args:
            kidneys: those that `frames` was given, with masks.
        """
        shown = np.zeros(self.shape, bool)
        for framed, kidney in zip(frames, kidneys, strict=True):
            if kidney.mask is None:
                raise ValueError("kidneys must have masks")
            whole = np.zeros(framed.shape, np.float32)
            box = kidney.frame
            box.crop(whole)[:] = _resized(kidney.mask, box.height, box.width)
            shown[kidney.place] = framed.fit_mask(whole) > 0.5
        return shown

    def square(self, grey: np.ndarray) -> np.ndarray:
        """The square of `frame` alone: (H, W) uint8 -> (size_px, size_px) uint8."""
        return self.frame(grey).square

    def _fit(self, grey: np.ndarray, frame: Frame, medians: Sequence[float], place: int | None = None) -> FramedImage:
        height, width = grey.shape
        seen = frame.crop(grey)
        if self.greys == RELATIVE and medians:
            median = sum(medians) / len(medians)
            seen = relative_to(seen, median)
        stretched = self.framing == STRETCHED
        shown = square(seen, self.size_px, stretched=stretched)
        framed = FramedImage(shown, frame, (height, width), place, stretched)
        return replace(framed, square=framed._mirror(framed.square))


def relative_to(grey: np.ndarray, median: float) -> np.ndarray:
    """Grey values relative to a median, which becomes 128: (H, W) -> (H, W) uint8.

    Differences are doubled; beyond 64 grey values they are cut off.
    """
    return np.rint(_MIDDLE_GREY + _RELATIVE_GAIN * (grey - np.float32(median))).clip(0, 255).astype(np.uint8)


def differences(relative: np.ndarray) -> np.ndarray:
    """The differences from the median, in grey values, of what `relative_to` gave: (H, W) uint8 -> (H, W) float32."""
    return (relative.astype(np.float32) - _MIDDLE_GREY) / _RELATIVE_GAIN


def _resized(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """A mask in another size: (h, w) bool -> (height, width) bool."""
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def shrink_mask(mask: np.ndarray, frame: Frame) -> np.ndarray:
    """The part of a mask inside a frame, as a `KidneyBox` keeps it: (H, W) bool -> (64, 64) bool."""
    return _resized(np.ascontiguousarray(frame.crop(mask)), MASK_PX, MASK_PX)


def _equalize(grey: np.ndarray) -> np.ndarray:
    import cv2  # here, since OpenCV takes a fifth of a second to import

    return cv2.createCLAHE(_CLIP_LIMIT, _TILES).apply(np.ascontiguousarray(grey))


def square(
    grey: np.ndarray,
    size_px: int,
    *,
    resample: Image.Resampling = Image.Resampling.BILINEAR,
    stretched: bool = False,
) -> np.ndarray:
    """Fit a grey image into a square: (H, W) uint8 -> (size_px, size_px) uint8.

    Args:
        resample: nearest for codes, which have no values in between.
        stretched: to the square; otherwise the aspect ratio is kept, and the rest is padded with black.
    """
    top, left, height, width = placement(grey.shape[0], grey.shape[1], size_px, stretched=stretched)
    if grey.shape != (height, width):
        grey = np.asarray(Image.fromarray(grey).resize((width, height), resample))
    if (height, width) == (size_px, size_px):
        return grey
    padded = np.zeros((size_px, size_px), np.uint8)
    padded[top : top + height, left : left + width] = grey
    return padded


def placement(height_px: int, width_px: int, size_px: int, *, stretched: bool = False) -> tuple[int, int, int, int]:
    """The rectangle where `square` puts an image: (top, left, height, width) in pixels of the square."""
    if stretched:
        return 0, 0, size_px, size_px
    scale = size_px / max(height_px, width_px)
    height, width = max(1, round(height_px * scale)), max(1, round(width_px * scale))
    return (size_px - height) // 2, (size_px - width) // 2, height, width


def find_frame(grey: np.ndarray, framing: str, kidneys: Sequence[KidneyBox] = ()) -> tuple[Frame, int]:
    """The frame of an image, (H, W) uint8, and how many bodies it shows, 1 unless they are looked for: the whole image for "whole" and "stretched", or where no body is found.

    Args:
        kidneys: of the slice; without any, the frame around kidneys is that of the body.

    Raises: ValueError for an unknown framing.
    """
    if framing not in FRAMINGS:
        raise ValueError(f"framing must be one of {FRAMINGS}, got {framing!r}")
    if framing in (WHOLE, STRETCHED):
        return Frame(0, 0, grey.shape[0], grey.shape[1]), 1
    if framing == KIDNEYS and kidneys:
        return _around_kidneys(kidneys, grey.shape), 1
    from kidney_core.imaging.body import find_body  # here, since SciPy takes a third of a second to import

    body = find_body(grey)
    return Frame(body.top, body.left, body.height, body.width), body.n_bodies


def _around_kidneys(kidneys: Sequence[KidneyBox], shape: tuple[int, ...]) -> Frame:
    """The box around all kidneys of a slice, with a margin."""
    boxes = [each.frame for each in kidneys]
    top, left = min(box.top for box in boxes), min(box.left for box in boxes)
    bottom, right = max(box.top + box.height for box in boxes), max(box.left + box.width for box in boxes)
    margin = round(_MARGIN_OF_BOTH * max(bottom - top, right - left))
    return _within(top - margin, left - margin, bottom + margin, right + margin, shape)


def _around_kidney(kidney: KidneyBox, body: Frame, shape: tuple[int, ...]) -> Frame:
    """A square around a kidney; at its poles it shows no less of the body, so that its scale stays about the same."""
    box = kidney.frame
    side = max(_SIDE_OF_EACH * max(box.height, box.width), _MIN_SIDE_OF_EACH * max(body.height, body.width))
    top, left = round(box.top + (box.height - side) / 2), round(box.left + (box.width - side) / 2)
    return _within(top, left, top + round(side), left + round(side), shape)


def _within(top: int, left: int, bottom: int, right: int, shape: tuple[int, ...]) -> Frame:
    top, left = max(0, top), max(0, left)
    return Frame(top, left, min(shape[0], bottom) - top, min(shape[1], right) - left)
