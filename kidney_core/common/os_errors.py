"""Errors of the operating system as sentences for the user: a full disk, missing permission, no memory."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kidney_core.common.errors import KidneyError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_MIN_FREE_BYTES = 64 * 1024  # with less, even a small file may not fit
# The words of torch, the C++ library, the loader of shared objects and Python's threads.
_NO_MEMORY = re.compile(r"allocate memory|out of memory|bad_alloc|map segment|zero-fill pages|start new thread", re.I)


def is_disk_full(error: BaseException) -> bool:
    """True for an error that says that a disk or a user's quota is full."""
    return isinstance(error, OSError) and error.errno in _DISK_FULL


def describe(error: BaseException, where: Path, *, then: str = "resume") -> str | None:
    """A sentence on what happened, where, and what to do; None for an error that is not the system's.

    Args:
        where: the folder in use, for an error that names no file.
        then: what the user should do once the cause is fixed.
    """
    if _is_out_of_memory(error):
        return (
            f"Memory ran out while working on “{where.name}”. Close other programs, then {then}; if that is not enough, "
            "start a new run with a smaller batch size or image size."
        )
    if not isinstance(error, OSError):
        return None
    place = error.filename if isinstance(error.filename, str) else where
    if is_disk_full(error):
        return f"The disk of “{place}” is full. Free some space there, then {then}: nothing saved before is lost."
    if error.errno == errno.EROFS:
        return f"“{place}” is on a read-only disk. Make that disk writable, or choose another folder, then {then}."
    if isinstance(error, PermissionError):
        return f"You have no permission to read or write “{place}”. Check its permissions, then {then}."
    return f"“{place}” cannot be read or written ({error.strerror or error}). Check that it exists, then {then}."


def describe_disk(folder: Path) -> str | None:
    """A sentence on why nothing can be written to a folder now; None where writing works."""
    try:
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            return describe(OSError(errno.EROFS, ""), folder)
        if shutil.disk_usage(folder).free < _MIN_FREE_BYTES:
            return describe(OSError(errno.ENOSPC, ""), folder)
    except OSError:  # the folder is gone, or its file system has no such statistics
        pass
    return None


@contextmanager
def reraise_as(kind: type[KidneyError], where: Path) -> Iterator[None]:
    """Turn an OSError within the block into a KidneyError of that kind, with the sentence of `describe`."""
    try:
        yield
    except OSError as error:
        raise kind(describe(error, where, then="try again")) from error


def system_error(error: Exception) -> OSError | None:
    """The OSError behind a library's error that only states its number, as safetensors does; None for any other."""
    match = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(match[1]), os.strerror(int(match[1]))) if match else None


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ImportError) and _NO_MEMORY.search(str(error)) is not None
    )
