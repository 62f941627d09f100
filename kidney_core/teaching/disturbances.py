"""Pure functions (slice, amount) -> slice that disturb a prepared slice, see `prepare`.

A prepared slice lies upright, has square pixels, and holds Hounsfield units or 8-bit grey values, so that a disturbance means the same
for every file. "None" leaves it as it is.
"""

import io
from dataclasses import replace

import numpy as np
from PIL import Image
from scipy import ndimage

from kidney_core.imaging import painting
from kidney_core.imaging.slices import SOFT_TISSUE, Slice, Window

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
AS_IT_IS, LEFT_RIGHT, UPSIDE_DOWN, BOTH = range(4)  # amounts of `mirror`
_GREY = Window(127.5, 255)
_MAX_SIDE_PX = 512  # networks see less, and a larger picture takes long to disturb a dozen times
_MARGIN = 0.04  # of the shorter side, between a mark and the edge
_BONE_HU = 1000.0  # white in every usual window
_EDGE_PX = 1.0  # how soft the edge of a kidney is that is made brighter or darker


def prepare(image: Slice) -> Slice:
    """The slice upright, with square pixels, at most 512 px a side, in Hounsfield units or as an 8-bit grey picture."""
    grey = image.unit == "grey"
    pixels = image.network_grey8() if grey else image.upright.picture(image.pixels.astype(np.float32))
    scale = min(1.0, _MAX_SIDE_PX / max(pixels.shape))
    side_mm = None if image.network_pixel_mm2 is None else float(np.sqrt(image.network_pixel_mm2)) / scale
    if scale < 1:
        size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
    return replace(
        image,
        pixels=pixels,
        window=_GREY if grey else image.window,
        windows={},
        inverted=False,
        pixel_aspect=1.0,
        spacing_mm=(side_mm, side_mm) if side_mm else None,
        letters=dict(image.upright.letters),
    )


def add_noise(image: Slice, deviation: float) -> Slice:
    """Gaussian noise in the slice's own unit; the same pattern at every amount."""
    grain = np.random.default_rng(0).standard_normal(image.pixels.shape, dtype=np.float32)
    return _with(image, image.pixels + deviation * grain)


def blur(image: Slice, percent: float) -> Slice:
    """A Gaussian blur whose standard deviation is in per cent of the shorter side."""
    sigma_px = percent / 100 * min(image.pixels.shape)
    return _with(image, ndimage.gaussian_filter(image.pixels.astype(np.float32), sigma_px)) if sigma_px else image


def compress(image: Slice, compression: float) -> Slice:
    """The picture in the soft-tissue window after a JPEG of quality 100 minus `compression`; 0 is no JPEG."""
    if not compression:
        return image
    file = io.BytesIO()
    Image.fromarray(image.network_grey8()).save(file, "JPEG", quality=round(100 - compression))
    return _as_picture(image, np.asarray(Image.open(file)))


def rotate(image: Slice, degrees: float) -> Slice:
    """Turn a slice anticlockwise about its middle; what comes in from outside is as dark as the darkest pixel."""
    if degrees == 0:
        return image
    turned = Image.fromarray(image.pixels.astype(np.float32)).rotate(
        degrees, Image.Resampling.BILINEAR, fillcolor=float(image.pixels.min())
    )
    return _with(image, np.asarray(turned), letters={})


def mirror(image: Slice, way: float) -> Slice:
    """Mirror a slice left to right (1), upside down (2) or both (3), as an export that lost its orientation."""
    if way == AS_IT_IS:
        return image
    pixels = image.pixels[:, ::-1] if way in (LEFT_RIGHT, BOTH) else image.pixels
    pixels = pixels[::-1] if way in (UPSIDE_DOWN, BOTH) else pixels
    return _with(image, np.ascontiguousarray(pixels), letters={})


def zoom(image: Slice, percent: float) -> Slice:
    """Enlarge or shrink about the middle; around a smaller slice it is as dark as its darkest pixel."""
    if percent == 100:
        return image
    height, width = image.pixels.shape
    factor = 100 / percent
    box = (  # of the slice, that fills the picture
        width * (1 - factor) / 2,
        height * (1 - factor) / 2,
        width * (1 + factor) / 2,
        height * (1 + factor) / 2,
    )
    scale = (box[2] - box[0]) / width
    shown = Image.fromarray(image.pixels.astype(np.float32)).transform(
        (width, height),
        Image.Transform.AFFINE,
        (scale, 0, box[0], 0, scale, box[1]),
        Image.Resampling.BILINEAR,
        fillcolor=float(image.pixels.min()),
    )
    spacing = image.spacing_mm and (image.spacing_mm[0] * factor, image.spacing_mm[1] * factor)
    return replace(_with(image, np.asarray(shown)), spacing_mm=spacing)


def shift_level(image: Slice, shift_hu: float) -> Slice:
    """The picture that an export of Hounsfield units through a shifted window gives."""
    return _through(image, Window(SOFT_TISSUE.center + shift_hu, SOFT_TISSUE.width))


def change_width(image: Slice, width_hu: float) -> Slice:
    """The picture that an export of Hounsfield units through a narrower or wider window gives."""
    return _through(image, Window(SOFT_TISSUE.center, width_hu))


def change_brightness(image: Slice, shift: float) -> Slice:
    """Add to the grey values of a picture."""
    return _with(image, image.pixels + np.float32(shift))


def change_contrast(image: Slice, percent: float) -> Slice:
    """Stretch the grey values of a picture about the middle grey; 100 leaves them."""
    return _with(image, _GREY.center + (image.pixels - np.float32(_GREY.center)) * np.float32(percent / 100))


def change_enhancement(image: Slice, amount: float, *, kidneys: np.ndarray) -> Slice:
    """The kidneys alone brighter or darker, as in another contrast phase.

    Args:
        amount: in the slice's own unit.
        kidneys: (H, W) bool.
    """
    inside = ndimage.gaussian_filter(kidneys.astype(np.float32), _EDGE_PX)
    return _with(image, image.pixels + np.float32(amount) * inside)


def fade_lesion(image: Slice, percent: float, *, spot: np.ndarray) -> Slice:
    """A spot painted over with its surroundings, by so much per cent.

    Args:
        spot: (H, W) bool, the lesion, or as a control another place.
    """
    grey = image.network_grey8().astype(np.float32)
    painted = painting.paint_over(image.network_grey8(), spot).astype(np.float32)
    per_grey = SOFT_TISSUE.width / 255 if image.unit == "HU" else 1.0
    return _with(image, image.pixels + np.float32(percent / 100 * per_grey) * (painted - grey))


def add_mark(image: Slice, size_percent: float, *, place: str = "upper left", shape: str = LETTER) -> Slice:
    """Burn a bright mark into the pixels; its height is in per cent of the shorter side."""
    mask = mark_mask(image.height_px, image.width_px, size_percent, place=place, shape=shape)
    return burn(image, mask)


def burn(image: Slice, mask: np.ndarray) -> Slice:
    """Some pixels white in every usual window: (H, W) bool."""
    return _with(image, np.where(mask, _BONE_HU if image.unit == "HU" else 255, image.pixels))


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


def _through(image: Slice, window: Window) -> Slice:
    return image if window == SOFT_TISSUE else _as_picture(image, image.with_window(window).grey8())


def _as_picture(image: Slice, grey: np.ndarray) -> Slice:
    """The slice as an exported grey picture: (H, W) uint8."""
    return replace(image, pixels=grey, unit="grey", window=_GREY)


def _with(image: Slice, pixels: np.ndarray, *, letters: dict[str, str] | None = None) -> Slice:
    """The slice with other pixels in its own number format: whole numbers where it is a grey picture."""
    if image.pixels.dtype == np.uint8:
        pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    letters = image.letters if letters is None else letters
    return replace(image, pixels=pixels.astype(image.pixels.dtype), letters=letters)
