"""The cache of derived data on disk (indexes, decoded pixels): its folder and its size limit."""

import contextlib
import os
from pathlib import Path

from kidney_core.common import settings
from kidney_core.common.errors import DatasetError

_CACHED_FILES = ("pixels-*.npy", "index-*.npz", "kidneys-*.npy", "weights-*.safetensors")


def cache_folder() -> Path:
    """The folder of the cache (`settings.cache_folder`), created if missing.

    Raises: DatasetError when it cannot be created.
    """
    folder = settings.cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(
            f"The cache folder “{folder}” cannot be created ({error.strerror}). Set KIDNEY_CACHE to a writable folder."
        ) from error
    return folder


def limit_bytes() -> int:
    """The size limit of the cache in bytes: $KIDNEY_CACHE_GB gigabytes (10^9 bytes).

    Raises: DatasetError where the variable is not a positive number.
    """
    text = settings.CACHE_GB.value() or settings.CACHE_GB.default
    return settings.gigabytes_in_bytes(settings.CACHE_GB, text, error=DatasetError, example=20)


def make_room(n_bytes: int) -> None:
    """Delete the least recently used files until `n_bytes` more fit within the limit, or no file is left.

    A process that has a deleted file memory-mapped can go on using it.
    """
    files = []
    for path in (each for pattern in _CACHED_FILES for each in cache_folder().glob(pattern)):
        try:
            files.append((path.stat().st_mtime, path.stat().st_size, path))
        except FileNotFoundError:  # deleted by another process
            continue
    excess = sum(size for _, size, _ in files) + n_bytes - limit_bytes()
    for _, size, path in sorted(files):
        if excess <= 0:
            return
        path.unlink(missing_ok=True)
        excess -= size


def mark_used(path: Path) -> None:
    """Record that a cached file was used now, so that `make_room` deletes it last."""
    with contextlib.suppress(OSError):  # deleted, or a cache that this user may only read
        os.utime(path)
