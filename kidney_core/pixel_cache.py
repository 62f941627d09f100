"""A dataset decoded once: a memory-mapped array of uint8 squares, kept beside the dataset's fingerprint."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kidney_core.cache import cache_folder, make_room, touch
from kidney_core.dataset import DECODING, Dataset, gone
from kidney_core.errors import SliceError
from kidney_core.files import write_whole
from kidney_core.framing import FRAMES, WHOLE, View
from kidney_core.preprocessing import square_of
from kidney_core.slices import TOGETHER, read_slices

_decoding = threading.Lock()


def dataset_pixels(dataset: Dataset, view: View, *, progress: Callable[[int, int], None] | None = None) -> np.ndarray:
    """The grey squares of a dataset, as a network sees them, in the order of its table: (N, size_px, size_px) uint8, read-only.

    Decoded by all cores on the first call, memory-mapped from the cache folder afterwards, where a
    damaged file is made anew.
    Raises: SliceError when a file has become unreadable since the dataset was read, DatasetError when it is gone; OSError
        where the cache folder cannot take the array.
    """
    framed = "" if view.framing == WHOLE else f"-{view.framing}{FRAMES}"
    path = cache_folder() / f"pixels-{DECODING}-{dataset.fingerprint[:24]}-{view.size_px}{framed}.npy"
    shape = (len(dataset), view.size_px, view.size_px)
    with _decoding:  # two sessions that ask for one folder decode it once
        while (pixels := _load(path, shape)) is None:
            make_room(int(np.prod(shape)))
            write_whole(path, lambda partial: _decode(dataset, view, shape, partial, progress))
    return pixels


def _load(path: Path, shape: tuple[int, int, int]) -> np.ndarray | None:
    """The array, or None where there is none, or one that was damaged."""
    try:
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, EOFError, ValueError):
        return None
    if pixels.shape != shape or pixels.dtype != np.uint8:
        return None
    touch(path)
    return pixels


def _decode(
    dataset: Dataset,
    view: View,
    shape: tuple[int, int, int],
    path: Path,
    progress: Callable[[int, int], None] | None,
) -> None:
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:  # a page that finds no room on a full disk would be the end of this process
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)

    paths = [dataset.root / path for path in dataset.table["path"]]

    def decode(start: int) -> int:
        some = paths[start : start + TOGETHER]
        for position, found in enumerate(read_slices(some), start=start):
            if isinstance(found, SliceError):
                if isinstance(found.__cause__, FileNotFoundError):
                    raise gone(dataset.root, paths[position]) from found
                raise found
            pixels[position] = square_of(found[0], view)
        return start + len(some)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        told = 0
        for done in pool.map(decode, range(0, len(dataset), TOGETHER)):
            if progress and (done - told >= 100 or done == len(dataset)):
                progress(done, len(dataset))
                told = done
    pixels.flush()
