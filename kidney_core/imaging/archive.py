"""A zip -> the files in it, unpacked in memory one after another, and again whenever one is needed.

Nothing is written to disk, names are never used as paths, and every limit applies to the bytes actually unpacked: a
header may lie, and a zip bomb of 200 KB may unpack to gigabytes.
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

from kidney_core.common.errors import EncryptedArchive, OversizedArchive, UnreadableArchive
from kidney_core.imaging.slices import MAX_BYTES

MAX_FILES = 3_000
MAX_TOTAL_BYTES = 2 * 1024**3
_MAX_ENTRIES = 4 * MAX_FILES  # with folders and macOS files; a directory of millions of entries would fill the memory
_MAX_NAME = 200  # characters; of a longer path the end is kept, which says most
# Deflate compresses empty images a thousandfold, real ones two- to tenfold.
_MAX_GROWTH, _MIN_BOMB_BYTES = 50, 64 * 1024**2
_PIECE_BYTES = 1024**2
# Only these can be unpacked piece by piece: for bzip2 and LZMA, one read of zipfile may return gigabytes.
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
    """True for files that a system adds: hidden files, `__MACOSX` of macOS, the index DICOMDIR (PS3.10 8.6)."""
    parts = name.replace("\\", "/").split("/")
    hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
    return hidden or "__MACOSX" in parts or parts[-1].upper() == "DICOMDIR"


@dataclass(frozen=True)
class Member:
    """A file of a zip.

    Attributes:
        name: safe to display; never used as a path.
        content: its bytes, or None where `problem` says why there are none.
        problem: a sentence for the user; empty where there is content.
        reread: returns the content again, so that a series need not be held unpacked.
    """

    name: str
    content: bytes | None = field(repr=False, default=None)
    problem: str = ""
    reread: Callable[[], bytes] = field(repr=False, default=bytes)


class _Unpacker:
    """Unpacks files by their entries and keeps the last one, since the frames of one file are read in turn."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive, self._lock = archive, threading.Lock()
        self._entry: zipfile.ZipInfo | None = None
        self._content = b""

    def __call__(self, entry: zipfile.ZipInfo) -> bytes:
        with self._lock:
            if self._entry is not entry:
                self._content = b""  # freed before the next one is unpacked
                self._entry, self._content = entry, b"".join(_pieces(self._archive, entry))
            return self._content


def read_files(content: bytes, *, name: str, already: int = 0) -> Iterator[Member]:
    """Each file of a zip.

    Args:
        already: bytes of the same upload that were unpacked before; they count towards the limit.

    Raises:
        UnreadableArchive: truncated or damaged as a whole.
        EncryptedArchive: locked with a password.
        OversizedArchive: more than 3,000 files or 2 GiB.
    """
    total = already
    archive = _open(content, name)
    unpack = _Unpacker(archive)
    for entry in _entries(archive, name):
        shown = _display_name(entry.filename)
        if entry.compress_type not in _METHODS:
            yield Member(
                shown, problem=f"“{shown}” is compressed with method {entry.compress_type}. Zip it with Deflate."
            )
            continue
        unpacked = io.BytesIO()  # returns its bytes without a copy
        try:
            for piece in _pieces(archive, entry):
                total += len(piece)
                _check_total(total - already, total, len(content), name)
                unpacked.write(piece)
        except _DAMAGE as error:
            yield Member(shown, problem=f"“{shown}” is damaged in the zip ({type(error).__name__}). Zip it again.")
            continue
        if unpacked.tell() > MAX_BYTES:
            yield Member(shown, problem=f"“{shown}” has more than {MAX_BYTES // 1024**2} MB. Remove it from the zip.")
        else:
            yield Member(shown, unpacked.getvalue(), reread=functools.partial(unpack, entry))


def _check_total(unpacked: int, total: int, zipped: int, name: str) -> None:
    """Raise OversizedArchive for more bytes than any series has, or a higher compression than any image allows."""
    if total > MAX_TOTAL_BYTES:
        raise OversizedArchive(
            f"“{name}” unpacks to more than {MAX_TOTAL_BYTES / 1024**3:g} GiB. Zip only the series you need."
        )
    if unpacked > _MIN_BOMB_BYTES and unpacked > _MAX_GROWTH * zipped:
        raise OversizedArchive(
            f"“{name}” unpacks to more than {_MAX_GROWTH} times its size, which no CT series does. Zip the images again."
        )


def _open(content: bytes, name: str) -> zipfile.ZipFile:
    # Counted by the signature of a directory entry (APPNOTE 4.3.12) before zipfile builds an object for each.
    if content.count(b"PK\x01\x02") > _MAX_ENTRIES:
        raise _too_many(name)
    try:
        return zipfile.ZipFile(io.BytesIO(content))
    except _DAMAGE as error:
        raise UnreadableArchive(
            f"“{name}” is a truncated or damaged zip: its list of files, which is at the end, cannot be read. "
            "Copy or download it again."
        ) from error


def _entries(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    """The files without those that a system added. Raises EncryptedArchive, OversizedArchive."""
    entries = [each for each in archive.infolist() if not each.is_dir() and not is_skipped(each.filename)]
    if len(entries) > MAX_FILES:
        raise _too_many(name)
    if any(each.flag_bits & 0x1 for each in entries):  # APPNOTE 4.4.4, bit 0
        raise EncryptedArchive(
            f"“{name}” is locked with a password, and this app cannot ask for it. Unpack it and upload the files, or zip "
            "them without a password."
        )
    return entries


def _too_many(name: str) -> OversizedArchive:
    return OversizedArchive(f"“{name}” contains more than {MAX_FILES:,} files. Zip only the series you need.")


def _pieces(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of an entry in pieces; for one over the limit, it stops just beyond the limit."""
    size = 0
    with archive.open(entry) as file:
        while size <= MAX_BYTES and (piece := file.read(_PIECE_BYTES)):
            yield piece
            size += len(piece)


def _display_name(name: str) -> str:
    """A name for messages and for ordering: without “..”, without a root, of limited length."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("..", "/")]
    return "/".join(parts)[-_MAX_NAME:] or "unnamed"
