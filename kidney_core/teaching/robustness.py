"""Robustness of a model: a slice disturbed by one amount, and the predictions along the whole range of amounts.

Each disturbance is a pure function (slice, amount) -> slice; the amount "none" leaves the slice as the network sees it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from kidney_core.diagnosis import stack_reading
from kidney_core.diagnosis.inference import Predictor
from kidney_core.imaging.slices import SOFT_TISSUE, Slice, Window
from kidney_core.kidneys.kidney_view import frame_slices

Disturb = Callable[[Slice, float], Slice]
LETTER, RULER = "letter L", "ruler"
SHAPES = (LETTER, RULER)
# Where a mark stands: shares of the free height and width (down, across).
PLACES = {
    "upper left": (0, 0),
    "upper right": (0, 1),
    "lower left": (1, 0),
    "lower right": (1, 1),
    "middle": (0.5, 0.5),
}
_MARGIN = 0.04  # of the shorter side, between a mark and the edge
_BONE_HU = 1000.0  # white in every usual window


@dataclass(frozen=True)
class Disturbance:
    """One way to disturb a slice.

    Attributes:
        axis: the amount and its unit.
        amounts: (A,) the amounts to predict for; a slider has the same steps.
        none: the amount that changes nothing.
        start: an amount to begin with, at which a change is visible.
        plain: what it imitates.
    """

    axis: str
    amounts: tuple[float, ...]
    none: float
    start: float
    plain: str


def add_noise(image: Slice, sd_hu: float) -> Slice:
    """Gaussian noise; the same pattern at every amount. In a grey slice, its window's width counts as 400 HU."""
    grain = np.random.default_rng(0).standard_normal(image.pixels.shape, dtype=np.float32)
    per_hu = 1.0 if image.unit == "HU" else image.window.width / SOFT_TISSUE.width
    return replace(image, pixels=_same_kind(image.pixels + sd_hu * per_hu * grain, image))


def rotate(image: Slice, degrees: float) -> Slice:
    """Turn a slice anticlockwise about its middle; what comes in from outside is as dark as the darkest pixel."""
    if degrees == 0:
        return image
    outside = float(image.pixels.max() if image.inverted else image.pixels.min())
    turned = Image.fromarray(image.pixels.astype(np.float32)).rotate(
        degrees, Image.Resampling.BILINEAR, fillcolor=outside
    )
    return replace(image, pixels=_same_kind(np.asarray(turned), image), letters={})


def shift_level(image: Slice, shift_hu: float) -> Slice:
    """The image that an export through a shifted window would give."""
    return _through(image, Window(SOFT_TISSUE.center + shift_hu, SOFT_TISSUE.width))


def change_width(image: Slice, width_hu: float) -> Slice:
    """The image that an export through a narrower or wider window would give."""
    return _through(image, Window(SOFT_TISSUE.center, width_hu))


def add_mark(image: Slice, size_percent: float, *, place: str = "upper left", shape: str = LETTER) -> Slice:
    """Burn a bright mark into the pixels; its height is in per cent of the shorter side."""
    white = _BONE_HU if image.unit == "HU" else image.window.center + image.window.width / 2
    if image.inverted:
        white = image.window.center - image.window.width / 2
    mask = mark_mask(image.height_px, image.width_px, size_percent, place=place, shape=shape)
    return replace(image, pixels=_same_kind(np.where(mask, white, image.pixels), image))


def mark_mask(height_px: int, width_px: int, size_percent: float, *, place: str, shape: str) -> np.ndarray:
    """The pixels of a mark: (height_px, width_px) bool."""
    side = min(height_px, width_px)
    high, mask = round(side * size_percent / 100), np.zeros((height_px, width_px), bool)
    if high < 1:
        return mask
    thick, wide = max(1, high // 6), max(1, round(0.65 * high))
    margin, (down, across) = round(_MARGIN * side), PLACES[place]
    top = margin + round(down * max(0, height_px - 2 * margin - high))
    left = margin + round(across * max(0, width_px - 2 * margin - wide))
    mask[top : top + high, left : left + thick] = True
    if shape == LETTER:
        mask[top + high - thick : top + high, left : left + wide] = True
    else:
        for number in range(11):  # ten spaces; the ends and the middle are longer
            row = top + round(number * (high - thick) / 10)
            mask[row : row + max(1, thick // 2), left : left + (wide if number % 5 == 0 else wide // 2)] = True
    return mask


DISTURBANCES: dict[str, tuple[Disturbance, Disturb]] = {
    "Noise": (
        Disturbance(
            "noise, standard deviation in HU",
            tuple(range(0, 121, 10)),
            0,
            40,
            "A low-dose scan: less radiation, more grain. Ordinary scans have about 10 to 20 HU.",
        ),
        add_noise,
    ),
    "Rotation": (
        Disturbance(
            "rotation in degrees",
            tuple(range(-90, 91, 15)),
            0,
            30,
            "A patient who lies at an angle, or an image saved on its side. The disease stays the same.",
        ),
        rotate,
    ),
    "Window level": (
        Disturbance(
            "shift of the window in HU",
            tuple(range(-180, 181, 30)),
            0,
            90,
            "An image exported darker or brighter. Networks here see Hounsfield units through 400/40 whatever window is shown, so "
            "this disturbs the grey image itself, as in a JPEG or PNG that was exported through another window.",
        ),
        shift_level,
    ),
    "Window width": (
        Disturbance(
            "width of the window in HU",
            tuple(range(100, 1301, 100)),
            SOFT_TISSUE.width,
            1000,
            "An image exported with more or less contrast. Networks here see Hounsfield units through 400/40 whatever window is "
            "shown, so this disturbs the grey image itself, as in a JPEG or PNG that was exported through another window.",
        ),
        change_width,
    ),
    "Burned-in mark": (
        Disturbance(
            "height of the mark in % of the image",
            tuple(range(0, 37, 3)),
            0,
            12,
            "A letter or ruler burned into the image, as in old exports. It says nothing about the kidney.",
        ),
        add_mark,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """The predictions of a network along the amounts.

    Attributes:
        amounts: (A,).
        labels: in the checkpoint's order.
        probabilities: (A, n_labels) calibrated.
        refused: (A,) bool, True where the slice is out of distribution.
    """

    amounts: np.ndarray
    labels: tuple[str, ...]
    probabilities: np.ndarray
    refused: np.ndarray

    def predicted(self) -> list[str]:
        """The label at each amount."""
        return [self.labels[position] for position in self.probabilities.argmax(axis=1)]


def predict_curve(predictor: Predictor, image: Slice, disturb: Disturb, amounts: tuple[float, ...]) -> Curve:
    """The predictions for a slice disturbed by each amount, in one batch."""
    greys, view = [disturb(image, amount).network_grey8() for amount in amounts], predictor.checkpoint.view
    squares = np.stack([view.as_array(frames) for frames in frame_slices(view, greys, predictor.finder)])
    probabilities, refused, _ = stack_reading.predict_squares(predictor, squares)
    return Curve(np.array(amounts, dtype=float), predictor.checkpoint.labels, probabilities, refused)


def _through(image: Slice, window: Window) -> Slice:
    """The slice as a grey image exported through a window; a grey slice counts as an export through 400/40."""
    if image.unit == "HU":
        pixels = image.with_window(window).grey8()
    else:
        low, other = (each.center - each.width / 2 for each in (SOFT_TISSUE, window))
        hu = low + image.grey8().astype(np.float32) * (SOFT_TISSUE.width / 255)
        pixels = _bytes((hu - other) * (255 / window.width))
    return replace(image, pixels=pixels, unit="grey", window=Window(127.5, 255), inverted=False)


def _same_kind(pixels: np.ndarray, image: Slice) -> np.ndarray:
    """Pixels in the slice's own number format: whole numbers where it has 8 bits."""
    return _bytes(pixels) if image.pixels.dtype == np.uint8 else pixels.astype(np.float32)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
