"""The only door for images from outside: a path or bytes become a `Slice`.

The kind of file is recognised by its content. It is decoded in a child process (`decoder`), raster files (PNG, JPEG,
BMP, TIFF) by `raster`, DICOM by `dicom`; what comes back is checked here.
"""

import math
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kidney_core import decoder
from kidney_core.errors import OversizedSlice, SliceError, UnreadableSlice, UnsupportedSlice

MAX_BYTES = 200 * 1024**2
MAX_PIXELS = 64_000_000
MAX_IMAGES = 3_000  # in one file
MAX_ASPECT = 20  # a strip is no CT slice, and the smallest detail of one would be squeezed away
_PIXEL_TYPES = ("uint8", "uint16", "float32")
TOGETHER = 16  # files to give to `read_slices` at a time
_SMALL_BYTES = 1024**2  # of a file that is decoded together with others
_MAX_TEXT = 300  # characters of a fact or a note
PNG_START = b"\x89PNG\r\n\x1a\n"
# The first bytes of PNG, JPEG, BMP, TIFF and BigTIFF.
_RASTER_STARTS = (PNG_START, b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


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
    """Read one image from a path or from bytes; a child process decodes it.

    Args:
        source: a file's path, or its content.
        name: what to call it in messages; the file's name by default.
        frame: which image of a multi-frame DICOM or multi-page TIFF, from 0.

    Raises:
        UnreadableSlice: empty, truncated, damaged, or not an image; or its decoder crashed or took too long.
        UnsupportedSlice: an image of a kind that is refused, with the reason.
        OversizedSlice: more than 64 megapixels or 200 MB.
    """
    name = name or (source.name if isinstance(source, Path) else "image")
    content = read_content(source, name=name) if isinstance(source, Path) else source
    check_content(content, name)
    return decoder.ask(
        "decode",
        content,
        lambda answer: _slice_of(answer, name, frame),
        name=name,
        max_payload_bytes=4 * MAX_PIXELS,
        frame=frame,
    )


def read_slices(paths: Sequence[Path]) -> list[tuple[Slice, bytes] | SliceError]:
    """The first image of each of many files with the file's content, or why it cannot be read.

    Small files are decoded several at a time, which costs half as much as one after the other.
    """
    found: dict[int, tuple[Slice, bytes] | SliceError] = {}
    small: dict[int, bytes] = {}
    for i, path in enumerate(paths):
        try:
            content = read_content(path, name=path.name)
            check_content(content, path.name)
        except SliceError as error:
            found[i] = error
            continue
        if len(content) <= _SMALL_BYTES:
            small[i] = content
        else:
            found[i] = _read_alone(content, path.name)
    names = [paths[i].name for i in small]
    together = (
        decoder.ask_of_each(
            "decode",
            [*small.values()],
            lambda i, answer: _slice_of(answer, names[i], 0),
            names=names,
            max_payload_bytes=4 * MAX_PIXELS,
            frame=0,
        )
        if len(small) > 1
        else [None] * len(small)
    )
    for (i, content), image in zip(small.items(), together, strict=True):
        found[i] = _read_alone(content, paths[i].name) if image is None else (image, content)
    return [found[i] for i in range(len(paths))]


def _read_alone(content: bytes, name: str) -> tuple[Slice, bytes] | SliceError:
    try:
        return read_slice(content, name=name), content
    except SliceError as error:
        return error


def count_images(content: bytes, *, name: str) -> int:
    """How many images a raster file holds (the pages of a TIFF), without decoding any.

    Raises: UnreadableSlice, UnsupportedSlice, OversizedSlice (see `read_slice`).
    """
    check_content(content, name)
    return decoder.ask("count", content, _count_of, name=name)


def _count_of(answer: decoder.Answer) -> int:
    if not _is_number(answer.fields["n_images"], 1, MAX_IMAGES):
        raise ValueError(f"there must be 1 to {MAX_IMAGES} images, got {answer.fields['n_images']!r}")
    return answer.fields["n_images"]


def told(image: Slice) -> tuple[dict[str, Any], memoryview]:
    """A slice as a child tells it: JSON fields and the bytes of its pixels; `read_slice` makes it a slice again."""
    fields = {
        "unit": image.unit,
        "window": [image.window.center, image.window.width],
        "inverted": image.inverted,
        "spacing_mm": image.spacing_mm,
        "letters": image.letters,
        "n_frames": image.n_frames,
        "facts": image.facts,
        "notes": image.notes,
        "pixels": [image.pixels.dtype.name, *image.pixels.shape],
    }
    return fields, memoryview(np.ascontiguousarray(image.pixels)).cast("B")


def _slice_of(answer: decoder.Answer, name: str, frame: int) -> Slice:
    """The slice that a child told. Raises KeyError, TypeError or ValueError where it told none."""
    fields = answer.fields
    kind, height, width = fields["pixels"]
    if kind not in _PIXEL_TYPES or not _is_number(height, 1) or not _is_number(width, 1):
        raise ValueError(f"pixels must be of {_PIXEL_TYPES} and have a size, got {kind!r}")
    if fields["unit"] not in ("HU", "grey") or not _is_number(fields["n_frames"], frame + 1):
        raise ValueError("the unit or the number of frames is none")
    pixels = np.frombuffer(answer.payload, kind).reshape(height, width)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise ValueError("not every pixel is a number")
    center, width_of_window = map(float, fields["window"])
    spacing = tuple(map(float, fields["spacing_mm"])) if fields["spacing_mm"] else None
    if not all(map(math.isfinite, (center, width_of_window, *(spacing or ())))) or width_of_window <= 0:
        raise ValueError("the window or the spacing is none")
    if spacing and (len(spacing) != 2 or min(spacing) <= 0):
        raise ValueError("the spacing is none")
    return Slice(
        name=name,
        pixels=pixels,
        unit=fields["unit"],
        window=Window(center, width_of_window),
        inverted=fields["inverted"] is True,
        spacing_mm=spacing,
        letters=_texts(fields["letters"]),
        n_frames=fields["n_frames"],
        frame=frame,
        facts=_texts(fields["facts"]),
        notes=tuple(str(note)[:_MAX_TEXT] for note in fields["notes"]),
    )


def _is_number(value: object, low: int, high: int = 2**31) -> bool:
    return isinstance(value, int) and low <= value <= high


def _texts(value: dict[str, str]) -> dict[str, str]:
    return {key[:_MAX_TEXT]: str(each)[:_MAX_TEXT] for key, each in dict(value).items()}


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
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableSlice(f"“{name}” is no file but a folder, a pipe or a device. Choose an image file.")
        _check_bytes(found.st_size, name)
        return path.read_bytes()
    except OSError as error:
        raise UnreadableSlice(
            f"“{name}” cannot be opened ({error.strerror or error}). Check that the file exists "
            "and that you may read it."
        ) from error


def check_content(content: bytes, name: str) -> None:
    """Raise for what a look at the first bytes refuses: no child is troubled with it.

    Raises: UnreadableSlice, UnsupportedSlice, OversizedSlice.
    """
    _check_bytes(len(content), name)
    if not content:
        raise UnreadableSlice(f"“{name}” is empty (0 bytes). Export or copy the file again.")
    if not is_dicom(content) and not content.startswith(_RASTER_STARTS):
        raise no_image(name)
    # PNG 11.2.2: bit depth and colour type of the header. Pillow would keep the upper 8 of 16 bits, nearly
    # black for the 12 bits of a CT.
    if content.startswith(PNG_START) and content[24:25] == b"\x10" and content[25:26] not in (b"\x00", b""):
        raise UnsupportedSlice(
            f"“{name}” is a PNG with 16 bits a colour, of which only 8 would be read. Export it as 16-bit grey."
        )


def no_image(name: str) -> UnreadableSlice:
    """The error for bytes that are no image of any kind taken here."""
    return UnreadableSlice(
        f"“{name}” is not a PNG, JPEG, BMP, TIFF or DICOM image. "
        "Upload the CT slice itself, exported in one of these formats."
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
