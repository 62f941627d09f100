"""A zip -> the files in it, read in memory one after another, and again when they are asked for.

Nothing is written to disk, names are never used as paths, and every limit is kept on the bytes that really come
out: a header may lie, and a bomb of 200 KB may unpack to gigabytes.
"""

import functools
import io
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from kidney_core.errors import EncryptedArchive, OversizedArchive, UnreadableArchive
from kidney_core.slices import MAX_BYTES

MAX_FILES = 3_000
MAX_TOTAL_BYTES = 2 * 1024**3
_MAX_ENTRIES = 4 * MAX_FILES  # with folders and what a Mac adds; a directory of millions would fill the memory itself
_MAX_NAME = 200  # characters; the end of a path tells most
# Deflate shrinks empty images a thousandfold, real ones two- to tenfold.
_MAX_GROWTH, _MIN_BOMB_BYTES = 50, 64 * 1024**2
_PIECE_BYTES = 1024**2
# Only these are unpacked piece by piece: zipfile gives what bzip2 and LZMA make of a piece whole, up to gigabytes.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What zipfile raises on damaged files.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


def is_zip(content: bytes) -> bool:
    """True for a zip by its first bytes: a local file header, or the end of an empty one (APPNOTE 4.3.7, 4.3.16)."""
    return content[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def is_skipped(name: str) -> bool:
    """True for what a system adds to a folder: hidden files, a Mac's `__MACOSX`, the index DICOMDIR (PS3.10 8.6)."""
    parts = name.replace("\\", "/").split("/")
    hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
    return hidden or "__MACOSX" in parts or parts[-1].upper() == "DICOMDIR"


@dataclass(frozen=True)
class Member:
    """A file of a zip.

    Attributes:
        name: fit to be shown.
        content: its bytes, or None where `problem` says why there are none.
        again: gives the content anew, so that a series need not be held unpacked.
    """

    name: str
    content: bytes | None = field(repr=False, default=None)
    problem: str = ""
    again: Callable[[], bytes] | None = field(repr=False, default=None)


class _Unpacker:
    """The files of a zip by their entries; the last one is kept, since frames of one file are asked for in turn."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive, self._lock = archive, threading.Lock()
        self._entry: zipfile.ZipInfo | None = None
        self._content = b""

    def __call__(self, entry: zipfile.ZipInfo) -> bytes:
        with self._lock:
            if self._entry is not entry:
                self._content = b""  # freed before the next one is there
                self._entry, self._content = entry, b"".join(_pieces(self._archive, entry))
            return self._content


def read_files(content: bytes, *, name: str, already: int = 0) -> Iterator[Member]:
    """Each file of a zip.

    Args:
        already: bytes of the same upload that were unpacked before, which count towards the limit.

    Raises:
        UnreadableArchive: truncated or damaged as a whole.
        EncryptedArchive: locked with a password.
        OversizedArchive: more than 3,000 files or 2 GiB.
    """
    total = already
    archive = _opened(content, name)
    unpack = _Unpacker(archive)
    for entry in _entries(archive, name):
        shown = _shown(entry.filename)
        if entry.compress_type not in _METHODS:
            yield Member(
                shown, problem=f"“{shown}” is compressed with method {entry.compress_type}. Zip it with Deflate."
            )
            continue
        unpacked = io.BytesIO()  # gives its bytes without a copy
        try:
            for piece in _pieces(archive, entry):
                total += len(piece)
                _check_total(total - already, total, len(content), name)
                unpacked.write(piece)
        except _DAMAGE as error:
            yield Member(shown, problem=f"“{shown}” is damaged in the zip ({type(error).__name__}). Zip it again.")
            continue
        if unpacked.tell() > MAX_BYTES:
            yield Member(shown, problem=f"“{shown}” has more than {MAX_BYTES // 1024**2} MB. Leave it out of the zip.")
        else:
            yield Member(shown, unpacked.getvalue(), again=functools.partial(unpack, entry))


def _check_total(unpacked: int, total: int, zipped: int, name: str) -> None:
    """Raise OversizedArchive where a zip gives more than any series holds, or than any picture is compressed."""
    if total > MAX_TOTAL_BYTES:
        raise OversizedArchive(
            f"“{name}” unpacks to more than {MAX_TOTAL_BYTES / 1024**3:g} GiB. Zip the one series you need."
        )
    if unpacked > _MIN_BOMB_BYTES and unpacked > _MAX_GROWTH * zipped:
        raise OversizedArchive(
            f"“{name}” unpacks to more than {_MAX_GROWTH} times its size, as no CT series does. Zip the images anew."
        )


def _opened(content: bytes, name: str) -> zipfile.ZipFile:
    # Before zipfile builds an object for each: the signature of a directory entry, APPNOTE 4.3.12.
    if content.count(b"PK\x01\x02") > _MAX_ENTRIES:
        raise _too_many(name)
    try:
        return zipfile.ZipFile(io.BytesIO(content))
    except _DAMAGE as error:
        raise UnreadableArchive(
            f"“{name}” is a zip that is truncated or damaged: its list of files, which stands at the end, cannot be read. "
            "Copy or download it again."
        ) from error


def _entries(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    """The files that are no additions of a system. Raises EncryptedArchive, OversizedArchive."""
    found = [each for each in archive.infolist() if not each.is_dir() and not is_skipped(each.filename)]
    if len(found) > MAX_FILES:
        raise _too_many(name)
    if any(each.flag_bits & 0x1 for each in found):  # APPNOTE 4.4.4, bit 0
        raise EncryptedArchive(
            f"“{name}” is locked with a password, which is not asked for here. Unpack it and upload the files, or zip them "
            "without a password."
        )
    return found


def _too_many(name: str) -> OversizedArchive:
    return OversizedArchive(f"“{name}” holds more than {MAX_FILES:,} files. Zip the one series you need.")


def _pieces(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of an entry; of one over the limit the first bytes, a little more than the limit."""
    size = 0
    with archive.open(entry) as file:
        while size <= MAX_BYTES and (piece := file.read(_PIECE_BYTES)):
            yield piece
            size += len(piece)


def _shown(name: str) -> str:
    """A name for messages and for the order: no “..”, no root, not endless."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("..", "/")]
    return "/".join(parts)[-_MAX_NAME:] or "unnamed"
