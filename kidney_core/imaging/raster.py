"""PNG, JPEG, BMP, TIFF -> Slice, through Pillow, in the child process that `decoder` keeps for it.

What Pillow passes over is refused here: pictures after the first, a PNG whose checksums do not fit, a file that ends
before its picture does.
"""

import contextlib
import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from kidney_core.errors import KidneyError, OversizedSlice, UnreadableSlice, UnsupportedSlice
from kidney_core.slices import MAX_IMAGES, PNG_START, Slice, Window, check_pixels, no_image

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")  # a JPEG of several pictures becomes Pillow's MPO
_STRIP_PIXELS = 4_000_000  # a large picture is made grey piece by piece, so that it is never there twice in colour
# Pillow warns at 89 megapixels and raises at twice that; our own limit is lower and checked first.
Image.MAX_IMAGE_PIXELS = None
# A marker of JPEG (T.81 B.1.1.2) after coded data, where FF00 is a byte FF, FFD0 to FFD7 restart, and FFFF fills.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_JPEG_END, _JPEG_SCAN = 0xD9, 0xDA


def decode(content: bytes, *, name: str, frame: int) -> Slice:
    """Decode one image of a raster file. Raises SliceError as `slices.read_slice`."""
    with _opened(content, name) as image:
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
        _check_whole(content, kind)
        image.load()
        pixels, notes = _grey(image)
        pixels = _upright(pixels, image)
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


def count_images(content: bytes, *, name: str) -> int:
    """How many images a raster file holds, without decoding any. Raises SliceError as `slices.read_slice`."""
    with _opened(content, name) as image:
        return _frames(image, name)


@contextlib.contextmanager
def _opened(content: bytes, name: str) -> Iterator[Image.Image]:
    """The image, not decoded; whatever Pillow raises on it is a sentence."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of a directory that ends too soon, and goes on with what it has.
            warnings.filterwarnings("error", message="Corrupt EXIF data|Truncated File Read")
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                yield image
    except Image.UnidentifiedImageError as error:
        raise no_image(name) from error
    except (KidneyError, MemoryError):
        raise
    except Exception as error:
        # On damaged files Pillow raises OSError, SyntaxError, ValueError, struct.error, zlib.error and others.
        raise UnreadableSlice(
            f"“{name}” is truncated or damaged and cannot be decoded ({error}). Export or copy the file again."
        ) from error


def _frames(image: Image.Image, name: str) -> int:
    if image.format == "TIFF":
        return _pages(image, name)
    n_frames = getattr(image, "n_frames", 1)
    if n_frames > 1:
        raise UnsupportedSlice(
            f"“{name}” holds {n_frames} images in one {image.format} file (an animation or a camera's "
            "multi-picture file). Export the CT slice as a single image."
        )
    return n_frames


def _pages(image: Image.Image, name: str) -> int:
    """Pillow counts pages by walking through them, of which a file may have millions."""
    for page in range(MAX_IMAGES + 1):
        try:
            image.seek(page)
        except EOFError:
            image.seek(0)
            return page
    raise OversizedSlice(f"“{name}” holds more than {MAX_IMAGES:,} images. Export the slices you need.")


def _check_whole(content: bytes, kind: str) -> None:
    """Raise ValueError for a file that was cut or changed, where its format can tell and Pillow does not look."""
    if kind == "PNG":
        _check_png(content)
    elif kind == "JPEG":
        _check_jpeg(content)


def _check_png(content: bytes) -> None:
    """Each chunk's checksum, up to IEND. Source: PNG 5.3."""
    position = len(PNG_START)
    while True:
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 8 + length
        (checksum,) = struct.unpack_from(">I", content, end)
        if zlib.crc32(memoryview(content)[position + 4 : end]) != checksum:
            raise ValueError("a checksum of the PNG does not fit its bytes")
        if kind == b"IEND":
            return
        position = end + 4


def _check_jpeg(content: bytes) -> None:
    """Whether its segments lead to the end marker. Source: ITU-T T.81, B.1 and B.2."""
    position = 2
    while (found := _JPEG_MARKER.search(content, position)) is not None:
        marker = found.group(1)[0]
        if marker == _JPEG_END:
            return
        position = found.end()
        if marker != 0x01:  # TEM stands alone; every other segment tells its length
            position += struct.unpack_from(">H", content, position)[0]
    raise ValueError("the JPEG ends before its picture does")


def _upright(pixels: np.ndarray, image: Image.Image) -> np.ndarray:
    """Turned as the EXIF orientation says, 1 to 8. Source: TIFF 6.0 and EXIF 2.3, tag 274."""
    turned = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].T,
        8: lambda a: np.rot90(a),
    }.get(image.getexif().get(274))
    return np.ascontiguousarray(turned(pixels)) if turned else pixels


def _grey(image: Image.Image) -> tuple[np.ndarray, tuple[str, ...]]:
    """One grey channel at the file's own depth: (H, W) uint8, uint16 or float32."""
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16, copy=False), ()
    if image.mode in ("I", "F"):
        pixels = np.asarray(image)
        if not np.isfinite(pixels).all():
            raise ValueError("it contains values that are not numbers")
        if image.mode == "I" and pixels.min() >= 0 and pixels.max() <= 65535:
            return pixels.astype(np.uint16), ()  # Pillow opens some 16-bit PNG and TIFF as 32-bit
        return pixels.astype(np.float32), ()
    grey = np.empty((image.height, image.width), np.uint8)
    spread, n_rows = 0, max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, n_rows):
        bottom = min(top + n_rows, image.height)
        strip = image if n_rows >= image.height else image.crop((0, top, image.width, bottom))
        grey[top:bottom], summed = _grey_strip(strip, has_alpha=_has_alpha(image))
        spread += summed
    is_colour = spread // grey.size > 8
    return grey, ("This image is in colour, which a CT slice is not; it was reduced to grey.",) if is_colour else ()


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info


def _grey_strip(image: Image.Image, *, has_alpha: bool) -> tuple[np.ndarray, int]:
    """(H, W) uint8 greys, and the sum over its pixels of how far their colours lie apart; transparent is black."""
    if has_alpha:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L")), 0
    rgb = image.convert("RGB")
    colours = np.asarray(rgb)  # (H, W, 3)
    return np.asarray(rgb.convert("L")), int((colours.max(axis=2) - colours.min(axis=2)).sum(dtype=np.int64))
