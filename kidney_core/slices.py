"""The only door for images from outside: a path or bytes become a `Slice`.

The kind of file is recognised by its content. Raster files (PNG, JPEG, BMP, TIFF) go through
Pillow here; DICOM goes through `kidney_core.dicom`.
"""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from kidney_core.errors import KidneyError, OversizedSlice, UnreadableSlice, UnsupportedSlice

MAX_BYTES = 200 * 1024**2
MAX_PIXELS = 64_000_000
MAX_ASPECT = 20  # a strip is no CT slice, and the smallest detail of one would be squeezed away
_RASTER_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")  # a JPEG of several pictures becomes Pillow's MPO
# Pillow warns at 89 megapixels and raises at twice that; our own limit is lower and checked first.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Window:
    """A display window on HU or raw grey values: `center` maps to mid-grey."""

    center: float
    width: float

    @classmethod
    def spanning(cls, pixels: np.ndarray) -> "Window":
        """The window that shows every value of `pixels`, clipping none."""
        low, high = float(pixels.min()), float(pixels.max())
        return cls(center=(low + high) / 2, width=max(high - low, 1e-6))


# Radiology teaching values; soft tissue 400/40 is also what the public dataset was exported with.
WINDOW_PRESETS_HU = {
    "Soft tissue (400/40)": Window(center=40, width=400),
    "Narrow kidney (150/30)": Window(center=30, width=150),
    "Bone (1500/300)": Window(center=300, width=1500),
}
SOFT_TISSUE = WINDOW_PRESETS_HU["Soft tissue (400/40)"]


@dataclass(frozen=True)
class Slice:
    """One 2-D image, with its pixels in the unit the file gives them.

    Attributes:
        name: how the user calls it (a file's name); shown, never logged.
        pixels: (H, W) uint8, uint16 or float32; Hounsfield units when `unit` is "HU".
        unit: "HU" or "grey".
        window: the window this slice is shown with; a network has its own, see `network_grey8`.
        inverted: True where low values are bright (DICOM MONOCHROME1).
        spacing_mm: (row, column) pixel spacing, or None when unknown.
        letters: where the patient's sides are, "left", "right", "top", "bottom" -> such as "R"; empty when unknown.
        n_frames, frame: how many images the file holds, and which one this is (from 0).
        facts: what is worth showing about the image; nothing about the patient.
        notes: sentences that warn the reader about this image.
    """

    name: str
    pixels: np.ndarray = field(repr=False)
    unit: str
    window: Window
    inverted: bool = False
    spacing_mm: tuple[float, float] | None = None
    letters: dict[str, str] = field(default_factory=dict)
    n_frames: int = 1
    frame: int = 0
    facts: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def height_px(self) -> int:
        return self.pixels.shape[0]

    @property
    def width_px(self) -> int:
        return self.pixels.shape[1]

    def with_window(self, window: Window) -> "Slice":
        """The same slice seen through another window."""
        return replace(self, window=window)

    def grey8(self) -> np.ndarray:
        """What is shown: (H, W) uint8, windowed, bright is dense."""
        if self.pixels.dtype == np.uint8 and not self.inverted:
            return self.pixels
        low = self.window.center - self.window.width / 2
        scaled = (self.pixels.astype(np.float32) - low) * (255.0 / self.window.width)
        shown = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        return 255 - shown if self.inverted else shown

    def network_grey8(self) -> np.ndarray:
        """What a network sees: (H, W) uint8, Hounsfield units through soft tissue whatever window is shown.

        The networks learned from exports through 400/40; through another window they see another organ. Grey values
        have no such scale and are taken as shown.
        """
        return self.with_window(SOFT_TISSUE).grey8() if self.unit == "HU" else self.grey8()


def read_slice(source: Path | bytes, *, name: str | None = None, frame: int = 0) -> Slice:
    """Read one image from a path or from bytes.

    Args:
        source: a file's path, or its content.
        name: what to call it in messages; the file's name by default.
        frame: which image of a multi-frame DICOM or multi-page TIFF, from 0.

    Raises:
        UnreadableSlice: empty, truncated, damaged, or not an image.
        UnsupportedSlice: an image of a kind that is refused, with the reason.
        OversizedSlice: more than 64 megapixels or 200 MB.
    """
    name = name or (source.name if isinstance(source, Path) else "image")
    content = read_content(source, name=name) if isinstance(source, Path) else source
    _check_content(content, name)
    # Imported here: pydicom costs 0.2 s and most datasets are JPEG.
    if is_dicom(content):
        from kidney_core import dicom

        return dicom.read_dicom(content, name=name, frame=frame)
    return _read_raster(content, name=name, frame=frame)


def is_dicom(content: bytes) -> bool:
    """True for a DICOM file: the prefix of PS3.10 7.1, or a bare data set of group 0002 or 0008."""
    if content[128:132] == b"DICM":
        return True
    # Files written before PS3.10 start at once with (0002,0000) or (0008,00xx), little-endian.
    return content[:4] == b"\x02\x00\x00\x00" or (content[:2] == b"\x08\x00" and content[3:4] == b"\x00")


def read_content(path: Path, *, name: str) -> bytes:
    """The bytes of a file, which is not opened when it is over the limit.

    Raises: UnreadableSlice when the system will not give it, OversizedSlice.
    """
    try:
        _check_bytes(path.stat().st_size, name)
        return path.read_bytes()
    except OSError as error:
        raise UnreadableSlice(
            f"“{name}” cannot be opened ({error.strerror or error}). Check that the file exists "
            "and that you may read it."
        ) from error


def _check_content(content: bytes, name: str) -> None:
    _check_bytes(len(content), name)
    if not content:
        raise UnreadableSlice(f"“{name}” is empty (0 bytes). Export or copy the file again.")
    # PNG 11.2.2: bit depth and colour type of the header. Pillow would keep the upper 8 of 16 bits, nearly
    # black for the 12 bits of a CT.
    if content[:8] == b"\x89PNG\r\n\x1a\n" and content[24:25] == b"\x10" and content[25:26] not in (b"\x00", b""):
        raise UnsupportedSlice(
            f"“{name}” is a PNG with 16 bits a colour, of which only 8 would be read. Export it as 16-bit grey."
        )


def _check_bytes(size: int, name: str) -> None:
    if size > MAX_BYTES:
        raise OversizedSlice(
            f"“{name}” has {size / 1024**2:.0f} MB; the limit is {MAX_BYTES // 1024**2} MB. "
            "Export the single slice you need."
        )


def check_pixels(width_px: int, height_px: int, name: str) -> None:
    """Raise, before decoding, for an image of more than 64 megapixels or of a shape that no slice has.

    Raises: OversizedSlice, UnsupportedSlice.
    """
    if max(width_px, height_px) > MAX_ASPECT * min(width_px, height_px):
        raise UnsupportedSlice(
            f"“{name}” has {width_px} × {height_px} pixels, a shape that no CT slice has. Upload the slice itself."
        )
    if width_px * height_px > MAX_PIXELS:
        raise OversizedSlice(
            f"“{name}” has {width_px} × {height_px} pixels; the limit is {MAX_PIXELS // 10**6} megapixels. "
            "A CT slice has about 0.3: export the slice at its own resolution."
        )


def count_images(content: bytes, *, name: str) -> int:
    """How many images a raster file holds (the pages of a TIFF), without decoding any.

    Raises: UnreadableSlice, UnsupportedSlice, OversizedSlice (see `read_slice`).
    """
    _check_content(content, name)
    with _pillow_errors(name), Image.open(io.BytesIO(content), formats=_RASTER_FORMATS) as image:
        return _frames(image, name)


@contextlib.contextmanager
def _pillow_errors(name: str) -> Iterator[None]:
    """Whatever Pillow raises on a file, as a sentence."""
    try:
        yield
    except Image.UnidentifiedImageError as error:
        raise UnreadableSlice(
            f"“{name}” is not a PNG, JPEG, BMP, TIFF or DICOM image. "
            "Upload the CT slice itself, exported in one of these formats."
        ) from error
    except KidneyError:
        raise
    except Exception as error:
        # On damaged files Pillow raises OSError, SyntaxError, ValueError, struct.error, zlib.error and others.
        raise UnreadableSlice(
            f"“{name}” is truncated or damaged and cannot be decoded ({error}). Export or copy the file again."
        ) from error


def _read_raster(content: bytes, *, name: str, frame: int) -> Slice:
    with _pillow_errors(name), Image.open(io.BytesIO(content), formats=_RASTER_FORMATS) as image:
        check_pixels(*image.size, name)
        n_frames = _frames(image, name)
        if not 0 <= frame < n_frames:
            raise UnsupportedSlice(
                f"“{name}” has {n_frames} images; there is no image {frame + 1}. Choose a smaller number."
            )
        if frame:
            image.seek(frame)
            check_pixels(*image.size, name)
        kind, mode = image.format, image.mode
        # TIFF 6.0, PhotometricInterpretation 0 is WhiteIsZero: Pillow inverts 8 bits and leaves 16 as they are.
        inverted = kind == "TIFF" and mode.startswith("I;16") and image.tag_v2.get(262) == 0
        image.load()
        pixels, notes = _grey(ImageOps.exif_transpose(image))
    return Slice(
        name=name,
        pixels=pixels,
        unit="grey",
        window=Window(127.5, 255) if pixels.dtype == np.uint8 else Window.spanning(pixels),
        inverted=inverted,
        n_frames=n_frames,
        frame=frame,
        facts={"Format": f"{kind}, {mode}", "Bits": str(pixels.dtype.itemsize * 8)},
        notes=notes,
    )


def _frames(image: Image.Image, name: str) -> int:
    n_frames = getattr(image, "n_frames", 1)
    if n_frames > 1 and image.format != "TIFF":
        raise UnsupportedSlice(
            f"“{name}” holds {n_frames} images in one {image.format} file (an animation or a camera's "
            "multi-picture file). Export the CT slice as a single image."
        )
    return n_frames


def _grey(image: Image.Image) -> tuple[np.ndarray, tuple[str, ...]]:
    """One grey channel at the file's own depth: (H, W) uint8, uint16 or float32."""
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16), ()
    if image.mode in ("I", "F"):
        pixels = np.asarray(image)
        if not np.isfinite(pixels).all():
            raise ValueError("it contains values that are not numbers")
        if image.mode == "I" and pixels.min() >= 0 and pixels.max() <= 65535:
            return pixels.astype(np.uint16), ()  # Pillow opens some 16-bit PNG and TIFF as 32-bit
        return pixels.astype(np.float32), ()
    if image.mode == "LA" or image.mode == "PA" or "transparency" in image.info or image.mode == "RGBA":
        image = _on_black(image.convert("RGBA"))
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L")), ()
    rgb = np.asarray(image.convert("RGB"))  # (H, W, 3)
    spread = int((rgb.max(axis=2).astype(int) - rgb.min(axis=2)).mean())
    notes = ("This image is in colour, which a CT slice is not; it was reduced to grey.",) if spread > 8 else ()
    return np.asarray(Image.fromarray(rgb).convert("L")), notes


def _on_black(rgba: Image.Image) -> Image.Image:
    background = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
    return Image.alpha_composite(background, rgba).convert("RGB")
