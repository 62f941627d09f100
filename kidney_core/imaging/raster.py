"""PNG, JPEG, BMP, TIFF, GIF, WebP, JPEG 2000 -> Slice, through Pillow, in a child process of `decoder`.

What Pillow ignores is refused here: images after the first, a PNG with wrong checksums, a file that ends before its
image does.
"""

import contextlib
import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from kidney_core.common.errors import KidneyError, OversizedSlice, UnreadableSlice, UnsupportedSlice
from kidney_core.imaging.slices import MAX_IMAGES, PNG_START, Slice, Window, check_pixels, not_an_image

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP", "JPEG2000")
_MPO = "MPO"  # a JPEG followed by others, such as a phone's gain map or thumbnail: the first is the picture
_COUNTED_BY_HEADER = ("PNG", "JPEG", "BMP", _MPO)  # an animated PNG says so before its pixels
_STRIP_PIXELS = (
    4_000_000  # large images are converted to grey in strips, so that they are never in memory twice in colour
)
_WHITE_IS_ZERO, _PHOTOMETRIC_TAG, _ORIENTATION_TAG = 0, 262, 274  # Source: TIFF 6.0, section 8
_BITS_TAG, _SAMPLES_TAG, _FORMAT_TAG, _SIGNED = 258, 277, 339, 2
# Pillow warns at 89 megapixels and raises at twice that; our own limit is lower and checked first.
Image.MAX_IMAGE_PIXELS = None
_TIFF_STARTS = (b"II", b"MM")
_FILLED_NOTE = "Some pixels of this picture hold no number (NaN or infinity); they are shown as the lowest value."
# A JPEG marker (T.81 B.1.1.2) after coded data, where FF00 is a byte FF, FFD0 to FFD7 are restarts, and FFFF is fill.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_JPEG_END, _JPEG_TEM = 0xD9, 0x01


def decode(content: bytes, *, name: str, frame: int) -> Slice:
    """Decode one image of a raster file, numbered from 0. Raises SliceError as `slices.read_slice`."""
    with _open(content, name) as image:
        check_pixels(*image.size, name)
        n_frames = _count_frames(image, name)
        if not 0 <= frame < n_frames:
            raise UnsupportedSlice(
                f"“{name}” has {n_frames} images; there is no image {frame + 1}. Choose a smaller number."
            )
        if frame:
            image.seek(frame)
            check_pixels(*image.size, name)
        kind, mode = image.format, image.mode
        # PhotometricInterpretation WhiteIsZero: Pillow inverts 8 bits and leaves 16 as they are.
        inverted = (
            isinstance(image, TiffImagePlugin.TiffImageFile)
            and mode.startswith("I;16")
            and image.tag_v2.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO
        )
        _check_tiff(image, name)
        _check_complete(content, kind)
        image.load()
        pixels, notes = grey_of(image)
        pixels, more = _apply_orientation(pixels, image)
    image_read = Slice(
        name=name,
        pixels=pixels,
        unit="grey",
        window=Window(127.5, 255) if pixels.dtype == np.uint8 else Window.spanning(pixels),
        inverted=inverted,
        n_frames=n_frames,
        frame=frame,
        facts={"Format": f"{kind}, {mode}", "Bits": str(pixels.dtype.itemsize * 8)},
        notes=notes + more,
    )
    return image_read.recognised()


def count_images(content: bytes, *, name: str, is_whole: bool = True) -> int | None:
    """The number of images in a raster file, without decoding any; None where the first bytes do not tell.

    Raises: SliceError as `slices.read_slice`.
    """
    try:
        with _open(content, name) as image:
            if not is_whole and image.format not in _COUNTED_BY_HEADER:
                return None
            return _count_frames(image, name)
    except UnreadableSlice:
        if is_whole:
            raise
        return None


@contextlib.contextmanager
def _open(content: bytes, name: str) -> Iterator[Image.Image]:
    """The image, not decoded yet; any error of Pillow within the block becomes a SliceError."""
    try:
        with warnings.catch_warnings():
            # Pillow only warns about a directory that ends too early. That of a TIFF is the image; in others it is EXIF.
            warnings.filterwarnings("ignore", message="Corrupt EXIF data")
            message = "Corrupt EXIF data|Truncated File Read" if content[:2] in _TIFF_STARTS else "Truncated File Read"
            warnings.filterwarnings("error", message=message)
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                yield image
    except Image.UnidentifiedImageError as error:
        if content[:2] in _TIFF_STARTS:
            raise UnsupportedSlice(
                f"“{name}” is a TIFF of a kind that cannot be read here, such as 64-bit or complex numbers, or a damaged one. Export it as "
                "grey with 8 or 16 bits, or as 32-bit floats."
            ) from error
        raise not_an_image(name) from error
    except (KidneyError, MemoryError):
        raise
    except Exception as error:
        # On damaged files Pillow raises OSError, SyntaxError, ValueError, struct.error, zlib.error and others.
        raise UnreadableSlice(
            f"“{name}” is truncated or damaged and cannot be decoded ({error}). Export or copy the file again."
        ) from error


def _count_frames(image: Image.Image, name: str) -> int:
    if image.format == "TIFF":
        return _count_pages(image, name)
    n_frames = 1 if image.format == _MPO else getattr(image, "n_frames", 1)
    if n_frames > 1:
        raise UnsupportedSlice(
            f"“{name}” contains {n_frames} images in one {image.format} file (an animation or a camera's "
            "multi-picture file). Export the CT slice as a single image."
        )
    return n_frames


def _count_pages(image: Image.Image, name: str) -> int:
    """The number of pages of a TIFF; counted here, since Pillow would walk through millions of them."""
    for page in range(MAX_IMAGES + 1):
        try:
            image.seek(page)
        except EOFError:
            image.seek(0)
            return page
    raise OversizedSlice(f"“{name}” contains more than {MAX_IMAGES:,} images. Export the slices you need.")


def _check_complete(content: bytes, kind: str | None) -> None:
    """Raise ValueError for a truncated or damaged file where its format shows it and Pillow does not check."""
    if kind == "PNG":
        _check_png(content)
    elif kind in ("JPEG", _MPO):
        _check_jpeg(content)


def _check_png(content: bytes) -> None:
    """Check the checksum of each chunk, up to IEND. Source: PNG 5.3."""
    position = len(PNG_START)
    while True:
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 8 + length
        (checksum,) = struct.unpack_from(">I", content, end)
        if zlib.crc32(memoryview(content)[position + 4 : end]) != checksum:
            raise ValueError("a checksum of the PNG does not match its bytes")
        if kind == b"IEND":
            return
        position = end + 4


def _check_jpeg(content: bytes) -> None:
    """Check that the segments lead to the end marker. Source: ITU-T T.81, B.1 and B.2."""
    position = 2
    while (match := _JPEG_MARKER.search(content, position)) is not None:
        marker = match.group(1)[0]
        if marker == _JPEG_END:
            return
        position = match.end()
        if marker != _JPEG_TEM:  # the only marker here without a length
            position += struct.unpack_from(">H", content, position)[0]
    raise ValueError("the JPEG ends before its image does")


def _check_tiff(image: Image.Image, name: str) -> None:
    """Raise UnsupportedSlice for a TIFF of which Pillow would keep only the upper 8 bits."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and int(image.tag_v2.get(_SAMPLES_TAG, 1)) > 1:
        bits = image.tag_v2.get(_BITS_TAG, (8,))
        if max(bits if isinstance(bits, tuple) else (bits,)) > 8:
            raise UnsupportedSlice(
                f"“{name}” is a TIFF with more than 8 bits per colour, of which only 8 would be read. Export it as 16-bit grey."
            )


def _apply_orientation(pixels: np.ndarray, image: Image.Image) -> tuple[np.ndarray, tuple[str, ...]]:
    """The pixels upright, by the EXIF orientation 1 to 8, and notes. Source: TIFF 6.0 and EXIF 2.3, tag 274."""
    transforms: dict[Any, Callable[[np.ndarray], np.ndarray]] = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].T,
        8: lambda a: np.rot90(a),
    }
    try:
        transform = transforms.get(image.getexif().get(_ORIENTATION_TAG))
    except Exception:  # noqa: BLE001 - damaged EXIF makes Pillow raise any error, and the pixels are sound
        return pixels, ("The EXIF data of this picture are damaged, so it is shown as it is stored.",)
    return np.ascontiguousarray(transform(pixels)) if transform else pixels, ()


def grey_of(image: Image.Image) -> tuple[np.ndarray, tuple[str, ...]]:
    """One grey channel at the file's own depth, (H, W) uint8, uint16 or float32, and notes for the user."""
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16, copy=False), ()
    if image.mode == "L" and isinstance(image, TiffImagePlugin.TiffImageFile) and _is_signed(image):
        return np.asarray(image).view(np.int8).astype(np.float32), ()  # Pillow takes them for unsigned
    if image.mode in ("I", "F"):
        pixels = np.asarray(image)
        if not (is_finite := np.isfinite(pixels)).all():
            return _filled(pixels, is_finite), (_FILLED_NOTE,)
        if image.mode == "I" and pixels.min() >= 0 and pixels.max() <= 65535:
            return pixels.astype(np.uint16), ()  # Pillow opens some 16-bit PNG and TIFF as 32-bit
        return pixels.astype(np.float32), ()
    grey = np.empty((image.height, image.width), np.uint8)
    total_spread, n_rows = 0, max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, n_rows):
        bottom = min(top + n_rows, image.height)
        strip = image if n_rows >= image.height else image.crop((0, top, image.width, bottom))
        grey[top:bottom], spread = _grey_strip(strip, has_alpha=_has_alpha(image))
        total_spread += spread
    is_colour = total_spread // grey.size > 8
    return grey, ("This image is in colour, which CT slices are not; it was converted to grey.",) if is_colour else ()


def _filled(pixels: np.ndarray, is_finite: np.ndarray) -> np.ndarray:
    """Floats with the lowest number in place of what is none, as research software marks what is outside of a round image."""
    if not is_finite.any():
        raise ValueError("it contains no finite number")
    return np.where(is_finite, pixels, pixels[is_finite].min()).astype(np.float32)


def _is_signed(image: TiffImagePlugin.TiffImageFile) -> bool:
    formats = image.tag_v2.get(_FORMAT_TAG, (1,))
    return (formats if isinstance(formats, tuple) else (formats,))[0] == _SIGNED


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info


def _grey_strip(image: Image.Image, *, has_alpha: bool) -> tuple[np.ndarray, int]:
    """(H, W) uint8 greys with transparent pixels black, and the sum over pixels of the range of their three colours."""
    if has_alpha:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L")), 0
    rgb = image.convert("RGB")
    channels = np.asarray(rgb)  # (H, W, 3)
    return np.asarray(rgb.convert("L")), int((channels.max(axis=2) - channels.min(axis=2)).sum(dtype=np.int64))
