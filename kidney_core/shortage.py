"""What a machine refuses, told in a sentence: room on a disk, leave to write there, memory."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kidney_core.errors import KidneyError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LITTLE_ROOM = 64 * 1024  # bytes, in which not even a small file is sure to find place
# As torch, the C++ library, the loader of shared objects and Python's threads say it.
_NO_MEMORY = re.compile(r"allocate memory|out of memory|bad_alloc|map segment|zero-fill pages|start new thread", re.I)


def is_full(error: BaseException) -> bool:
    """True for an error that says that a disk, or somebody's share of it, is full."""
    return isinstance(error, OSError) and error.errno in _FULL


def told(error: BaseException, where: Path, *, then: str = "resume") -> str | None:
    """What happened, where, and what to do; None for an error that is not the machine's.

    Args:
        where: the folder of the work, for an error that names no file.
        then: what to do once the cause is mended.
    """
    if _is_of_memory(error):
        return (
            f"Memory ran out while working on “{where.name}”. End other programs, then {then}; if it does not fit by "
            "itself, start a new run with a smaller batch size or image size."
        )
    if not isinstance(error, OSError):
        return None
    place = error.filename if isinstance(error.filename, str) else where
    if is_full(error):
        return f"The disk of “{place}” is full. Free some room there, then {then}: what was saved before is whole."
    if error.errno == errno.EROFS:
        return (
            f"“{place}” is on a disk that is read-only. Make that disk writable, or choose another folder, then {then}."
        )
    if isinstance(error, PermissionError):
        return f"“{place}” may not be read or written by this user. Check its permissions, then {then}."
    return f"“{place}” cannot be read or written ({error.strerror or error}). Check that it is there, then {then}."


def of_disk(folder: Path) -> str | None:
    """Why nothing can be written to a folder at present, or None where something can."""
    try:
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            return told(OSError(errno.EROFS, ""), folder)
        if shutil.disk_usage(folder).free < _LITTLE_ROOM:
            return told(OSError(errno.ENOSPC, ""), folder)
    except OSError:  # it is gone, or of a system that cannot tell
        pass
    return None


@contextmanager
def told_as(kind: type[KidneyError], where: Path) -> Iterator[None]:
    """Make what the system refuses within the block an error of that kind, with its sentence."""
    try:
        yield
    except OSError as error:
        raise kind(told(error, where, then="try again")) from error


def system_error(error: Exception) -> OSError | None:
    """The system's error behind one of a library that only names its number, such as safetensors; None for any other."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1]))) if found else None


def _is_of_memory(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ImportError) and _NO_MEMORY.search(str(error)) is not None
    )
