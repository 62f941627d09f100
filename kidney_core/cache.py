"""Derived data on disk, which can be made again: where they lie, and how much of the disk they may take."""

import os
from pathlib import Path

from kidney_core.errors import DatasetError

_DEFAULT_LIMIT_GB = 20.0
_KEPT = ("pixels-*.npy", "index-*.npz")


def cache_folder() -> Path:
    """Where derived data (indexes, decoded pixels) are kept: $KIDNEY_CACHE, or the user's cache folder.

    Raises: DatasetError when it cannot be made.
    """
    base = (
        os.environ.get("KIDNEY_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "kidney-ct"
    )
    folder = Path(base)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(
            f"The cache folder “{folder}” cannot be made ({error.strerror}). Set KIDNEY_CACHE to a folder that can."
        ) from error
    return folder


def limit_bytes() -> int:
    """What the cache may take: $KIDNEY_CACHE_GB in units of 10^9 bytes, or 20. Raises DatasetError for what is no such number."""
    asked = os.environ.get("KIDNEY_CACHE_GB", "") or _DEFAULT_LIMIT_GB
    try:
        limit = float(asked)
    except ValueError:
        limit = -1.0
    if not 0 < limit < float("inf"):
        raise DatasetError(
            f"KIDNEY_CACHE_GB is “{asked}”, which is no number above 0. Set it to gigabytes, such as 20."
        )
    return int(limit * 1e9)


def make_room(n_bytes: int) -> None:
    """Delete what was not used for longest, until `n_bytes` more stay within the limit, or nothing is left to delete.

    A process that has a file of these mapped keeps it; only its name is gone.
    """
    found = []
    for path in (each for pattern in _KEPT for each in cache_folder().glob(pattern)):
        try:
            found.append((path.stat().st_mtime, path.stat().st_size, path))
        except FileNotFoundError:  # another process was faster
            continue
    excess = sum(size for _, size, _ in found) + n_bytes - limit_bytes()
    for _, size, path in sorted(found):
        if excess <= 0:
            return
        path.unlink(missing_ok=True)
        excess -= size


def touch(path: Path) -> None:
    """Note that a file of the cache is used now."""
    try:
        os.utime(path)
    except OSError:  # gone, or a cache that this user may only read: then others make room
        return
