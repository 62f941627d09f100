"""The pixels of a dataset, decoded once: a memory-mapped array of uint8 squares in the cache folder."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kidney_core.common import os_errors
from kidney_core.common.cache import cache_folder, make_room
from kidney_core.common.errors import DatasetError
from kidney_core.common.files import write_atomically
from kidney_core.data import lesions
from kidney_core.data.cached_array import load_array
from kidney_core.data.dataset import DECODING_VERSION, Dataset
from kidney_core.data.dataset_kidneys import Progress, kidneys_of_dataset
from kidney_core.data.image_batches import for_each_batch
from kidney_core.imaging.framing import FRAMING_VERSION, ORIGINAL, WHOLE, KidneyBox, View
from kidney_core.imaging.painting import paint_over
from kidney_core.imaging.slices import Slice
from kidney_core.kidneys import finder as finders

# Of a slice: its row, its grey values (H, W) uint8 and its kidneys -> what a network sees.
Show = Callable[[int, Slice, tuple[KidneyBox, ...]], np.ndarray]

_decoding = threading.Lock()


def dataset_pixels(
    dataset: Dataset, view: View, *, progress_of: Progress = lambda title: None, title: str = "Decoding images"
) -> np.ndarray:
    """The slices of a dataset as a network sees them, in the order of its table: (N, *view.shape) uint8, read-only.

    The first call decodes them on all cores, later calls map the cached array; a damaged array is decoded again. Where the
    view needs kidneys, the installed finder finds them first.

    Args:
        progress_of: title of a task -> its progress callback, or None.

    Raises:
        SliceError: a file has become unreadable since the dataset was read.
        DatasetError: a file has been deleted since then, or the array cannot be written to the cache folder.
        CheckpointError: the view needs kidneys and no finder is installed.
    """
    return _cached(
        dataset,
        view,
        "pixels",
        lambda _, image, kidneys: view.as_array(view.frames(image.network_grey8(), kidneys)),
        progress_of=progress_of,
        title=title,
    )


def dataset_masks(dataset: Dataset, view: View, *, progress_of: Progress = lambda title: None) -> np.ndarray:
    """Where the kidney is in each image of `dataset_pixels`, for a view of each kidney: (N, 2, S, S) uint8, 0 or 1, read-only.

    Cached and raises as `dataset_pixels`.
    """

    def masks(position: int, image: Slice, kidneys: tuple[KidneyBox, ...]) -> np.ndarray:
        frames = view.frames(image.network_grey8(), kidneys) if kidneys else ()
        return view.masks_as_array(frames, kidneys).astype(np.uint8)

    return _cached(dataset, view, "masks", masks, progress_of=progress_of, title="Outlining kidneys")


def painted_pixels(
    dataset: Dataset, view: View, *, progress_of: Progress = lambda title: None
) -> tuple[np.ndarray, np.ndarray]:
    """The slices whose lesions are marked, with the lesions painted over.

    Cached and raises as `dataset_pixels`, and as `lesions.lesion_mask`.

    Returns: (P,) their rows in the dataset's table, and (P, *view.shape) uint8.
    """
    paths = dataset.table["path"]
    is_marked = np.array([lesions.has_lesion_file(dataset.root, path) for path in paths], bool)
    rows = np.flatnonzero(is_marked)
    if not len(rows):
        return rows, np.empty((0, *view.shape), np.uint8)
    marked = dataset.only(is_marked, why=f"lesions {lesions.version(dataset.root)}")

    def painted(position: int, image: Slice, kidneys: tuple[KidneyBox, ...]) -> np.ndarray:
        grey = image.network_grey8()
        lesion = lesions.lesion_mask(dataset.root, paths.iloc[rows[position]], image.pixels.shape)
        without = grey if lesion is None else paint_over(grey, image.upright.picture(lesion))
        return view.as_array(view.frames(without, kidneys))

    title = "Painting lesions over"
    return rows, _cached(marked, view, "painted", painted, progress_of=progress_of, title=title)


def _cached(
    dataset: Dataset,
    view: View,
    name: str,
    show: Show,
    *,
    progress_of: Progress,
    title: str,
) -> np.ndarray:
    """What `show` gives for each slice: (N, *view.shape) uint8."""
    finder = finders.open_installed() if view.needs_kidneys else None
    kidneys: list[tuple[KidneyBox, ...]] = [()] * len(dataset)
    if finder:
        kidneys = kidneys_of_dataset(dataset, finder, progress_of=progress_of)
    names = [f"{name}-{DECODING_VERSION}", dataset.fingerprint[:24], str(view.size_px)]
    names += [f"{view.framing}{FRAMING_VERSION}"] if view.framing != WHOLE else []
    names += [view.greys] if view.greys != ORIGINAL else []
    names += [finder.digest[:12]] if finder else []
    path = cache_folder() / f"{'-'.join(names)}.npy"
    shape = (len(dataset), *view.shape)
    # Two sessions that need the same folder decode it once.
    with _decoding, os_errors.reraise_as(DatasetError, path):
        while (array := load_array(path, shape)) is None:
            make_room(int(np.prod(shape)))
            write_atomically(path, lambda partial: _decode(dataset, shape, show, kidneys, partial, progress_of(title)))
    return array


def _decode(
    dataset: Dataset,
    shape: tuple[int, ...],
    show: Show,
    kidneys: list[tuple[KidneyBox, ...]],
    path: Path,
    progress: Callable[[int, int], None] | None,
) -> None:
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:  # writing to a mapped page on a full disk would kill this process
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)

    def fit(start: int, images: list[Slice]) -> None:
        for position, image in enumerate(images, start=start):
            pixels[position] = show(position, image, kidneys[position])

    for_each_batch(dataset, fit, progress=progress)
    pixels.flush()
