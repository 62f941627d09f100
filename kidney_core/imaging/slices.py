"""The only way for images into the workbench: a path or bytes become a `Slice`.

The kind of a file is recognised by its content. It is decoded in a child process (`decoder`), raster files (PNG, JPEG,
BMP, TIFF) by `raster`, DICOM by `dicom`; the child's response is checked here.
"""

import math
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kidney_core.common.errors import OversizedSlice, SliceError, UnreadableSlice, UnsupportedSlice
from kidney_core.imaging import decoder, hounsfield, other_formats, upright
from kidney_core.imaging.file_content import FileContent, start_of
from kidney_core.imaging.upright import Upright
from kidney_core.imaging.volume_file import is_volume

MAX_BYTES = 400 * 1024**2  # 600 slices of 512 x 512 in one file take 315 MB
MAX_PIXELS = 64_000_000
MIN_SIDE_PX = 32  # smaller pictures are thumbnails or icons
MAX_IMAGES = 3_000  # in one file
MAX_ASPECT = 20  # a longer strip is not a CT slice, and would lose all detail when fitted into a square
_PIXEL_TYPES = ("uint8", "uint16", "float32")
FILES_PER_BATCH = 16  # good number of files for one call of `read_slices`
_MAX_BATCHED_BYTES = 1024**2  # size of a file up to which it is decoded together with others
_MAX_TEXT = 300  # characters of a fact or a note
PNG_START = b"\x89PNG\r\n\x1a\n"
# The first bytes of PNG, JPEG, BMP, TIFF, BigTIFF, GIF and JPEG 2000 (file and codestream).
_RASTER_STARTS = (
    PNG_START,
    b"\xff\xd8\xff",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"GIF87a",
    b"GIF89a",
    b"\0\0\0\x0cjP  \r\n\x87\n",
    b"\xff\x4f\xff\x51",
)


@dataclass(frozen=True)
class Window:
    """A display window on HU or raw grey values: `center` maps to mid-grey."""

    center: float
    width: float

    @classmethod
    def spanning(cls, pixels: np.ndarray) -> "Window":
        """The narrowest window that clips no value of `pixels`."""
        low, high = float(pixels.min()), float(pixels.max())
        return cls(center=(low + high) / 2, width=max(high - low, 1e-6))


# Common values in radiology; the public dataset was exported with soft tissue 400/40.
WINDOW_PRESETS_HU = {
    "Soft tissue (400/40)": Window(center=40, width=400),
    "Narrow kidney (150/30)": Window(center=30, width=150),
    "Bone (1500/300)": Window(center=300, width=1500),
}
SOFT_TISSUE = WINDOW_PRESETS_HU["Soft tissue (400/40)"]


@dataclass(frozen=True)
class Slice:
    """One 2-D image, with its pixels in the unit of the file.

    Attributes:
        name: the user's name for it (a file name); shown, never logged.
        pixels: (H, W) uint8, uint16 or float32; Hounsfield units when `unit` is "HU".
        unit: "HU" or "grey".
        window: the window for display; networks use their own, see `network_grey8`.
        inverted: True where low values are bright (DICOM MONOCHROME1).
        spacing_mm: (row, column) pixel spacing, or None when unknown.
        pixel_aspect: height of a pixel over its width.
        letters: the patient's side at "left", "right", "top" and "bottom" of the image, such as "R"; empty when unknown.
        n_frames, frame: the number of images in the file, and the index of this one, from 0.
        windows: all windows of the file, by name; the first one is shown.
        recognised_as_hu: the unit is not declared but was recognised by the values, see `hounsfield`; the user may know better.
        facts: properties of the image to display, name -> value; nothing that identifies the patient.
        notes: warnings about this image, in sentences.
    """

    name: str
    pixels: np.ndarray = field(repr=False)
    unit: str
    window: Window
    inverted: bool = False
    spacing_mm: tuple[float, float] | None = None
    pixel_aspect: float = 1.0
    letters: dict[str, str] = field(default_factory=dict)
    n_frames: int = 1
    frame: int = 0
    windows: dict[str, Window] = field(default_factory=dict)
    recognised_as_hu: bool = False
    facts: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def height_px(self) -> int:
        """The number of rows."""
        return self.pixels.shape[0]

    @property
    def width_px(self) -> int:
        """The number of columns."""
        return self.pixels.shape[1]

    def as_grey(self) -> "Slice":
        """The same slice with its numbers taken for grey values, over their whole range."""
        notes = tuple(
            note for note in self.notes if not self.recognised_as_hu or not note.startswith(hounsfield.RECOGNISED_NOTES)
        )
        return replace(
            self, unit="grey", window=Window.spanning(self.pixels), windows={}, recognised_as_hu=False, notes=notes
        )

    def recognised(self, *, of: np.ndarray | None = None) -> "Slice":
        """The same slice in Hounsfield units, where its numbers are of more than 8 bits and look like them.

        Args:
            of: the numbers by which they are recognised; those of the slice by default.
        """
        if self.unit == "HU" or self.pixels.dtype == np.uint8 or self.inverted:
            return self
        offset = hounsfield.recognise(self.pixels if of is None else of)
        if offset is None:
            return self
        added = f" with {-offset:.0f} added" if offset else ""
        return replace(
            self,
            pixels=self.pixels.astype(np.float32) + np.float32(offset),
            unit="HU",
            window=SOFT_TISSUE,
            recognised_as_hu=True,
            notes=(*self.notes, hounsfield.NOTE.format(offset=added)),
        )

    @property
    def unusable_because(self) -> str:
        """Why nothing can be seen in it, in a sentence; empty for a usable slice."""
        if min(self.height_px, self.width_px) < MIN_SIDE_PX:
            return (
                f"It has {self.width_px} × {self.height_px} pixels, and a CT slice has at least {MIN_SIDE_PX} on each side. Export the slice "
                "at its own resolution."
            )
        if self.pixels.min() == self.pixels.max():
            return "Every pixel has the same value, so there is nothing to see. Export the slice again."
        return ""

    def with_window(self, window: Window) -> "Slice":
        """The same slice with another display window."""
        return replace(self, window=window)

    def grey8(self) -> np.ndarray:
        """The windowed pixels for display: (H, W) uint8, denser tissue is brighter."""
        if self.pixels.dtype == np.uint8 and not self.inverted:
            return self.pixels
        low = self.window.center - self.window.width / 2
        scaled = (self.pixels.astype(np.float32) - low) * (255.0 / self.window.width)
        clipped = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        return 255 - clipped if self.inverted else clipped

    @cached_property
    def upright(self) -> Upright:
        """The way to the picture that networks see, and back."""
        return upright.find(self.letters, (self.height_px, self.width_px), self.pixel_aspect)

    @property
    def network_pixel_mm2(self) -> float | None:
        """The area of a pixel of `network_grey8`; None where the spacing is unknown."""
        if self.spacing_mm is None:
            return None
        height, width = self.upright.size
        return self.spacing_mm[0] * self.spacing_mm[1] * self.pixels.size / (height * width)

    def network_grey8(self) -> np.ndarray:
        """The picture that networks see: (H', W') uint8, upright, with square pixels, see `upright`.

        Hounsfield units are in the soft-tissue window whatever is displayed.

        The networks were trained on exports in that window (400/40), and another one changes the greys of every organ.
        Grey values have no such scale and are used as displayed.
        """
        grey = self.with_window(SOFT_TISSUE).grey8() if self.unit == "HU" else self.grey8()
        return self.upright.picture(grey)


def read_slice(source: Path | bytes | FileContent, *, name: str | None = None, frame: int = 0) -> Slice:
    """Read one image from a path or from bytes; a child process decodes it.

    Args:
        source: the path or the content of a file; content that is read when needed was checked before, see `check_content`.
        name: its name in messages; the file's name by default.
        frame: index of the image in a multi-frame DICOM or multi-page TIFF, from 0.

    Raises:
        UnreadableSlice: empty, truncated, damaged, or not an image; or its decoder crashed or took too long.
        UnsupportedSlice: an image of a kind that is refused, with the reason.
        OversizedSlice: more than 64 megapixels or 400 MB.
        DecoderError: the decoding process does not start.
    """
    name = name or (source.name if isinstance(source, Path) else "image")
    content = read_content(source, name=name) if isinstance(source, Path) else source
    if isinstance(content, bytes):
        check_content(content, name)
    return decoder.run_task(
        "decode",
        content,
        lambda response: _from_wire(response, name, frame),
        name=name,
        max_payload_bytes=4 * MAX_PIXELS,
        frame=frame,
    )


def read_slices(paths: Sequence[Path]) -> list[tuple[Slice, bytes] | SliceError]:
    """The first image and the content of each file, or the error why it cannot be read, in the order of `paths`.

    Small files are decoded several at a time, which takes half as long as one after the other.

    Raises: DecoderError where the decoding process does not start.
    """
    results: dict[int, tuple[Slice, bytes] | SliceError] = {}
    small: dict[int, bytes] = {}
    for i, path in enumerate(paths):
        try:
            content = read_content(path, name=path.name)
            check_content(content, path.name)
            if is_volume(content):
                raise UnsupportedSlice(
                    f"“{path.name}” is a volume, and a dataset is made of slices. Export its slices as DICOM or PNG."
                )
        except SliceError as error:
            results[i] = error
            continue
        if len(content) <= _MAX_BATCHED_BYTES:
            small[i] = content
        else:
            results[i] = _read_alone(content, path.name)
    names = [paths[i].name for i in small]
    images = (
        decoder.run_task_on_files(
            "decode",
            [*small.values()],
            lambda i, response: _from_wire(response, names[i], 0),
            names=names,
            max_payload_bytes=4 * MAX_PIXELS,
            frame=0,
        )
        if len(small) > 1
        else [None] * len(small)
    )
    for (i, content), image in zip(small.items(), images, strict=True):
        results[i] = _read_alone(content, paths[i].name) if image is None else (image, content)
    return [results[i] for i in range(len(paths))]


def _read_alone(content: bytes, name: str) -> tuple[Slice, bytes] | SliceError:
    try:
        return read_slice(content, name=name), content
    except SliceError as error:
        return error


def count_images(content: bytes | FileContent, *, name: str, head: bytes | None = None) -> int:
    """The number of images in a raster file (the pages of a TIFF), without decoding any.

    Args:
        head: the first bytes of a longer file, which is then read only where they do not tell.

    Raises: UnreadableSlice, UnsupportedSlice, OversizedSlice (see `read_slice`).
    """
    if isinstance(content, bytes):
        check_content(content, name)
    if head is not None and (n_images := decoder.run_task("count", head, _checked_count, name=name, is_whole=False)):
        return n_images
    n_images = decoder.run_task("count", content, _checked_count, name=name)
    if not n_images:
        raise ValueError("only the first bytes of a file may not tell")
    return n_images


def _checked_count(response: decoder.Response) -> int:
    """The number in a child's response; 0 where the first bytes do not tell."""
    n_images = response.fields["n_images"]
    if n_images is None:
        return 0
    if not _is_integer(n_images, 1, MAX_IMAGES):
        raise ValueError(f"there must be 1 to {MAX_IMAGES} images, got {n_images!r}")
    return int(n_images)


def to_wire(image: Slice) -> tuple[dict[str, Any], memoryview]:
    """The response of a child to `read_slice`: JSON fields, and the bytes of the pixels."""
    fields = {
        "unit": image.unit,
        "window": [image.window.center, image.window.width],
        "inverted": image.inverted,
        "windows": {name: [each.center, each.width] for name, each in image.windows.items()},
        "recognised_as_hu": image.recognised_as_hu,
        "spacing_mm": image.spacing_mm,
        "pixel_aspect": image.pixel_aspect,
        "letters": image.letters,
        "n_frames": image.n_frames,
        "facts": image.facts,
        "notes": image.notes,
        "pixels": [image.pixels.dtype.name, *image.pixels.shape],
    }
    return fields, np.ascontiguousarray(image.pixels).data.cast("B")


def _from_wire(response: decoder.Response, name: str, frame: int) -> Slice:
    """The slice in a child's response. Raises KeyError, TypeError or ValueError where it is invalid."""
    fields = response.fields
    if fields["unit"] not in ("HU", "grey") or not _is_integer(fields["n_frames"], frame + 1):
        raise ValueError("the unit or the number of frames is invalid")
    return Slice(
        name=name,
        pixels=_checked_pixels(response),
        unit=fields["unit"],
        window=_checked_window(fields["window"]),
        inverted=fields["inverted"] is True,
        spacing_mm=_checked_spacing(fields["spacing_mm"]),
        pixel_aspect=_checked_aspect(fields["pixel_aspect"]),
        letters=_texts(fields["letters"]),
        n_frames=fields["n_frames"],
        frame=frame,
        windows={str(name)[:_MAX_TEXT]: _checked_window(each) for name, each in dict(fields["windows"]).items()},
        recognised_as_hu=fields["recognised_as_hu"] is True,
        facts=_texts(fields["facts"]),
        notes=tuple(str(note)[:_MAX_TEXT] for note in fields["notes"]),
    )


def _checked_pixels(response: decoder.Response) -> np.ndarray:
    kind, height, width = response.fields["pixels"]
    if kind not in _PIXEL_TYPES or not _is_integer(height, 1) or not _is_integer(width, 1):
        raise ValueError(f"pixels must be of {_PIXEL_TYPES} and have a size, got {kind!r}")
    pixels: np.ndarray = np.frombuffer(response.payload, kind).reshape(height, width)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise ValueError("every pixel must be a finite number")
    return pixels


def _checked_window(value: list[float]) -> Window:
    center, width = map(float, value)
    if not (math.isfinite(center) and math.isfinite(width) and width > 0):
        raise ValueError(f"the window must be finite and wider than 0, got {center}, {width}")
    return Window(center, width)


def _checked_spacing(value: list[float] | None) -> tuple[float, float] | None:
    if not value:
        return None
    row, column = map(float, value)
    if not (math.isfinite(row) and math.isfinite(column) and min(row, column) > 0):
        raise ValueError(f"the spacing must be finite and above 0, got {row}, {column}")
    return row, column


def _checked_aspect(value: float) -> float:
    if not 1 / MAX_ASPECT <= float(value) <= MAX_ASPECT:
        raise ValueError(f"a pixel must not be longer than {MAX_ASPECT} times its width, got {value}")
    return float(value)


def _is_integer(value: object, low: int, high: int = 2**31) -> bool:
    return isinstance(value, int) and low <= value <= high


def _texts(value: dict[str, str]) -> dict[str, str]:
    return {key[:_MAX_TEXT]: str(each)[:_MAX_TEXT] for key, each in dict(value).items()}


def is_dicom(file: bytes | FileContent) -> bool:
    """True for a DICOM file: the prefix of PS3.10 7.1, or a data set that starts with group 0002 or 0008."""
    content = start_of(file)
    if content[128:132] == b"DICM":
        return True
    # Files older than PS3.10 start directly with (0002,0000) or (0008,00xx), little-endian.
    return content[:4] == b"\x02\x00\x00\x00" or (content[:2] == b"\x08\x00" and content[3:4] == b"\x00")


def read_content(path: Path, *, name: str) -> bytes:
    """The bytes of a file; one that is over the limit is not opened.

    Raises: UnreadableSlice when the system refuses to read it, OversizedSlice.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableSlice(f"“{name}” is not a file but a folder, a pipe or a device. Choose an image file.")
        check_size(status.st_size, name)
        return path.read_bytes()
    except OSError as error:
        raise UnreadableSlice(
            f"“{name}” cannot be opened ({error.strerror or error}). Check that the file exists "
            "and that you may read it."
        ) from error


def check_content(content: bytes, name: str, *, size: int | None = None) -> None:
    """Raise for content that its first bytes rule out, before it is sent to a child process.

    Args:
        content: the bytes of a file, or its first ones.
        size: of the whole file in bytes, where there are more.

    Raises: UnreadableSlice, UnsupportedSlice, OversizedSlice.
    """
    check_size(len(content) if size is None else size, name)
    if not content:
        raise UnreadableSlice(f"“{name}” is empty (0 bytes). Export or copy the file again.")
    if (
        not is_dicom(content)
        and not content.startswith(_RASTER_STARTS)
        and not _is_webp(content)
        and not is_volume(content)
    ):
        kind = other_formats.recognise(content)
        raise UnsupportedSlice(f"“{name}” is {kind}") if kind else not_an_image(name)
    # PNG 11.2.2: bit depth and colour type of the header. Pillow would keep the upper 8 of 16 bits, which is nearly
    # black for the 12 bits of a CT.
    if content.startswith(PNG_START) and content[24:25] == b"\x10" and content[25:26] not in (b"\x00", b""):
        raise UnsupportedSlice(
            f"“{name}” is a PNG with 16 bits per colour, of which only 8 would be read. Export it as 16-bit grey."
        )


def _is_webp(content: bytes) -> bool:
    return content[:4] == b"RIFF" and content[8:12] == b"WEBP"


def not_an_image(name: str) -> UnreadableSlice:
    """The error for content that is not an image of a supported format."""
    return UnreadableSlice(
        f"“{name}” is not a PNG, JPEG, BMP, TIFF, GIF, WebP, JPEG 2000 or DICOM image. "
        "Upload the CT slice itself, exported in one of these formats."
    )


def check_size(size: int, name: str) -> None:
    """Raise OversizedSlice for a file with more bytes than any image or volume has."""
    if size > MAX_BYTES:
        raise OversizedSlice(
            f"“{name}” has {size / 1024**2:.0f} MB; the limit is {MAX_BYTES // 1024**2} MB. "
            "Export only the slice you need."
        )


def check_pixels(width_px: int, height_px: int, name: str) -> None:
    """Raise, before decoding, for an image of more than 64 megapixels, or with sides beyond a ratio of 20 to 1.

    Raises: OversizedSlice, UnsupportedSlice.
    """
    if max(width_px, height_px) > MAX_ASPECT * min(width_px, height_px):
        raise UnsupportedSlice(
            f"“{name}” has {width_px} × {height_px} pixels, which is not the shape of a CT slice. Upload the slice itself."
        )
    if width_px * height_px > MAX_PIXELS:
        raise OversizedSlice(
            f"“{name}” has {width_px} × {height_px} pixels; the limit is {MAX_PIXELS // 10**6} megapixels. "
            "A CT slice has about 0.3: export the slice at its own resolution."
        )
