"""Point 3: the content decides what a file is, and a file that is not whole is refused."""

import io
import zipfile
from collections.abc import Iterator

import numpy as np
from PIL import Image

from kidney_core.common.errors import SliceError
from kidney_core.imaging import slices
from tests.hardness import files
from tests.hardness.table import Figures, Options


def measure_kinds(_options: Options) -> Figures:
    """Files that are no single image, each under the name of one."""
    accepted = [name for name, content in no_slices() if _is_accepted(content, name)]
    return {
        "false_accepts": len(accepted),
        "files": len(list(no_slices())),
        **({"accepted": ", ".join(accepted)} if accepted else {}),
    }


def no_slices() -> Iterator[tuple[str, bytes]]:
    """(name, content) of what is refused, whatever it is called."""
    pages = [Image.fromarray(np.full((16, 16), value, np.uint8)) for value in (0, 120, 255)]
    several = {"save_all": True, "append_images": pages[1:]}
    yield "animation.png", files.picture(pages[0], "PNG", **several)
    yield "gif.png", files.picture(pages[0], "GIF", **several)
    yield "webp.jpg", files.picture(pages[0], "WEBP", **several)
    yield "phone.jpg", bytes(4) + b"ftypheic" + bytes(100)
    yield "archive.png", b"7z\xbc\xaf\x27\x1c" + bytes(100)
    yield "icon.png", files.picture(pages[0], "ICO")
    yield "program.png", b"MZ\x90\0" + bytes(60) + b"PE\0\0" + bytes(4000)
    yield "program.dcm", b"\x7fELF\x02\x01\x01" + bytes(4000)
    yield "script.tif", b"#!/bin/sh\nexit\n"
    yield "page.png", b"<!DOCTYPE html><script>alert(1)</script>"
    yield "drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    yield "letter.jpg", b"%PDF-1.7\n" + bytes(500)
    yield "print.tif", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("a.png", files.picture(pages[0], "PNG"))
    yield "zip.png", archive.getvalue()
    yield "head-of-a.png", slices.PNG_START
    yield "head-of-a.jpg", b"\xff\xd8\xff\xe0"
    yield "head-of-a.bmp", b"BM"
    yield "head-of-a.tif", b"II*\0"
    yield "head-of-a.dcm", bytes(128) + b"DICM"
    yield "nothing.png", b""
    yield "zeros.dcm", bytes(1000)
    yield "text.dcm", b"This is no image. " * 20


def measure_truncations(options: Options) -> Figures:
    """Each sound file, cut at many places: also its last byte alone."""
    n_cuts = 40 if options.thorough else 12
    accepted, tried = [], 0
    for name, content in files.sound().items():
        for size in sorted(_cuts(content, n_cuts)):
            tried += 1
            # To an even length (PS3.5 A.5), and what Pillow writes to align the next page.
            is_padded = name.startswith("ct Deflated") or name == "tiff of 3 pages"
            is_padding = is_padded and len(content) - size < 6 and not any(content[size:])
            if not is_padding and _is_accepted(content[:size], name):
                accepted.append(f"{name} without its last {len(content) - size} bytes")
    return {"false_accepts": len(accepted), "files": tried, **({"accepted": "; ".join(accepted)} if accepted else {})}


def _cuts(content: bytes, n_cuts: int) -> set[int]:
    even = np.linspace(0, len(content) - 2, n_cuts).astype(int)
    return {len(content) - 1, len(content) - 2, *map(int, even)} - {len(content)}


def measure_changed_png(options: Options) -> Figures:
    """A PNG holds a checksum of every part: one changed byte, anywhere, is noticed."""
    content = files.sound()["png L"]
    step = 1 if options.thorough else max(1, len(content) // 300)
    accepted = 0
    for position in range(0, len(content), step):
        changed = bytearray(content)
        changed[position] ^= 1 << (position % 8)
        accepted += _is_accepted(bytes(changed), "a.png")
    return {"false_accepts": accepted, "files": len(range(0, len(content), step))}


def measure_extensions(_options: Options) -> Figures:
    """Sound files under every wrong extension are read, since the content decides."""
    refused = tried = 0
    for name in ("png L", "jpeg L", "bmp", "tiff raw", "ct Explicit VR Little Endian"):
        for extension in ("png", "jpg", "tif", "dcm", "exe", "txt"):
            tried += 1
            refused += not _is_accepted(files.sound()[name], f"a.{extension}")
    return {"false_refusals": refused, "files": tried}


def _is_accepted(content: bytes, name: str) -> bool:
    """True where every image of the file is read."""
    try:
        n_images = slices.read_slice(content, name=name).n_frames
        for frame in range(1, n_images):
            slices.read_slice(content, name=name, frame=frame)
    except SliceError as error:
        if not str(error).startswith(f"“{name}” "):
            raise ValueError(f"a sentence must name its file, got {error}") from error
        return False
    return True
