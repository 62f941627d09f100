"""A zip -> the files in it, unpacked in memory one after another, and again whenever one is needed.

Nothing is written to disk, names are never used as paths, and every limit applies to the bytes actually unpacked: a
header may lie, and a zip bomb of 200 KB may unpack to gigabytes. Of a zip on this machine only the first bytes of each file are
unpacked at first; `zipfile` never unpacks more of a file than its header says.
"""

import functools
import hashlib
import io
import struct
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from kidney_core.common import system_files
from kidney_core.common.errors import (
    EncryptedArchive,
    OversizedArchive,
    UnreadableArchive,
    UnreadableSlice,
)
from kidney_core.imaging.file_content import HEAD_BYTES, FileContent
from kidney_core.imaging.slices import MAX_BYTES

MAX_FILES = 3_000
MAX_TOTAL_BYTES = 4 * 1024**3  # of a zip in memory, which is unpacked as a whole once
_MAX_ENTRIES = 4 * MAX_FILES  # with folders and macOS files; a directory of millions of entries would fill the memory
_MAX_NAME = 200  # characters; of a longer path the end is kept, which says most
# Deflate compresses empty images a thousandfold, real ones two- to tenfold.
_MAX_GROWTH, _MIN_BOMB_BYTES = 50, 64 * 1024**2
_PIECE_BYTES = 1024**2
_DIRECTORY_ENTRY = b"PK\x01\x02"  # the signature of APPNOTE 4.3.12
_MAX_DIRECTORY_BYTES = 64 * 1024**2
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
    """True for files that a system adds: hidden files, thumbnails, what is in its own folders, the index DICOMDIR (PS3.10 8.6)."""
    parts = name.replace("\\", "/").lower().split("/")
    hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
    return hidden or not set(system_files.FOLDERS).isdisjoint(parts) or parts[-1] in (*system_files.FILES, "dicomdir")


class CheckedFile(io.BufferedReader):
    """A zip on the disk; reading a directory of millions of entries fails before `zipfile` builds an object for each."""

    def __init__(self, raw: io.FileIO, shown_name: str) -> None:
        super().__init__(raw)
        self._shown_name = shown_name

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_DIRECTORY_BYTES:
            raise _too_many(self._shown_name)
        content = super().read(size)
        if content.count(_DIRECTORY_ENTRY) > _MAX_ENTRIES:
            raise _too_many(self._shown_name)
        return content


@dataclass(frozen=True)
class Member:
    """A file that was given: uploaded, of a folder, or of a zip.

    Attributes:
        name: safe to display; never used as a path.
        content: its bytes, read when they are needed; None where `problem` says why there are none.
        head: its first `HEAD_BYTES`, or all of it.
        problem: a sentence for the user; empty where there is content.
        open_file: opens it where it lies, for a file of this machine; None for one in memory.
    """

    name: str
    content: FileContent | None = field(repr=False, default=None)
    head: bytes = field(repr=False, default=b"")
    problem: str = ""
    open_file: Callable[[], CheckedFile] | None = field(repr=False, default=None)

    @classmethod
    def of_bytes(cls, name: str, content: bytes, load: Callable[[], bytes] | None = None) -> "Member":
        """An upload; `load` returns its bytes later, the same object by default."""
        return cls(name, FileContent.of_bytes(content, load), content[:HEAD_BYTES])


def read_files(file: Member, *, already: int = 0) -> Iterator[Member]:
    """Each file of a zip. Those of a zip in memory are unpacked and checked once; of one on this machine the first bytes are read.

    Args:
        already: bytes of the same upload that were unpacked before; they count towards the limit.

    Raises:
        UnreadableArchive: truncated or damaged as a whole.
        EncryptedArchive: locked with a password.
        OversizedArchive: more than 3,000 files, or 4 GiB in memory.
        UnreadableSlice: it cannot be opened any more.
    """
    assert file.content is not None
    total, name, zipped = already, file.name, file.content.size
    archive = _open(file.open_file() if file.open_file else file.content.read(), name)
    for entry in _entries(archive, name):
        shown = _display_name(entry.filename)
        if entry.compress_type not in _METHODS:
            yield Member(
                shown, problem=f"“{shown}” is compressed with method {entry.compress_type}. Zip it with Deflate."
            )
            continue
        load = functools.partial(_unpack, archive, entry, shown)
        try:
            if file.open_file:
                total += entry.file_size
                _check_growth(total, zipped, name)
                with archive.open(entry) as member:
                    head = member.read(HEAD_BYTES)
                content = FileContent.of_head(head, entry.file_size, load, version=f"{entry.CRC:08x}")
            else:
                digest, head, size = hashlib.sha256(), b"", 0
                for piece in _pieces(archive, entry):
                    total, size = total + len(piece), size + len(piece)
                    _check_total(total, name)
                    _check_growth(total - already, zipped, name)
                    digest.update(piece)
                    head = head or piece[:HEAD_BYTES]
                content = FileContent.of_head(head, size, load, sha256=digest.hexdigest())
        except _DAMAGE as error:
            yield Member(shown, problem=f"“{shown}” is damaged in the zip ({type(error).__name__}). Zip it again.")
            continue
        if content.size > MAX_BYTES:
            yield Member(shown, problem=f"“{shown}” has more than {MAX_BYTES // 1024**2} MB. Remove it from the zip.")
        else:
            yield Member(shown, content, head)


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, shown: str) -> bytes:
    """The content of an entry. Raises UnreadableSlice."""
    unpacked = io.BytesIO()  # returns its bytes without a copy
    try:
        for piece in _pieces(archive, entry):
            unpacked.write(piece)
    except _DAMAGE as error:
        raise UnreadableSlice(f"“{shown}” is damaged in the zip ({type(error).__name__}). Zip it again.") from error
    return unpacked.getvalue()


def _check_total(total: int, name: str) -> None:
    """Raise OversizedArchive for more bytes than any study has."""
    if total > MAX_TOTAL_BYTES:
        raise OversizedArchive(
            f"“{name}” unpacks to more than {MAX_TOTAL_BYTES / 1024**3:g} GiB. Zip only the series you need."
        )


def _check_growth(unpacked: int, zipped: int, name: str) -> None:
    """Raise OversizedArchive for a higher compression than any image allows."""
    if unpacked > _MIN_BOMB_BYTES and unpacked > _MAX_GROWTH * zipped:
        raise OversizedArchive(
            f"“{name}” unpacks to more than {_MAX_GROWTH} times its size, which no CT series does. Zip the images again."
        )


def _open(content: bytes | CheckedFile, name: str) -> zipfile.ZipFile:
    """The zip; a file is closed when nobody refers to its zip any more. Raises OversizedArchive, UnreadableArchive."""
    if isinstance(content, CheckedFile):
        archive = _read_directory(content, name)
        weakref.finalize(archive, content.close)
        return archive
    if content.count(_DIRECTORY_ENTRY) > _MAX_ENTRIES:  # before zipfile builds an object for each
        raise _too_many(name)
    return _read_directory(io.BytesIO(content), name)


def _read_directory(file: io.BufferedIOBase, name: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except BaseException as error:
        file.close()
        if not isinstance(error, _DAMAGE):
            raise
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
