"""Where the kidneys of a dataset's slices are; a slice through the pelvis that is labelled Tumor teaches the scan, not the disease."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from kidney_core.common import os_errors
from kidney_core.common.cache import cache_folder
from kidney_core.common.errors import DatasetError
from kidney_core.data.cached_array import load_array, save_array
from kidney_core.data.dataset import DECODING_VERSION, Dataset
from kidney_core.data.image_batches import for_each_batch
from kidney_core.imaging.framing import MASK_PX, Frame, KidneyBox
from kidney_core.imaging.slices import Slice
from kidney_core.kidneys.finder import KidneyFinder

Progress = Callable[[str], Callable[[int, int], None] | None]
_N_NUMBERS = 5  # of a kidney: top, left, height, width and median; all 0 where there is none


def kidneys_of_dataset(
    dataset: Dataset, finder: KidneyFinder, *, progress_of: Progress = lambda title: None
) -> list[tuple[KidneyBox, ...]]:
    """The kidneys of each slice, in the order of the dataset's table.

    Each slice is judged by itself. The result is cached by dataset and finder; 7,000 slices take about 2 minutes on 2 cores.

    Args:
        progress_of: title of a task -> its progress callback, or None.

    Raises:
        SliceError: a file has become unreadable since the dataset was read.
        DatasetError: a file has been deleted since then, or the result cannot be written to the cache folder.
    """
    if dataset.part_of:
        whole, rows = dataset.part_of
        kidneys = kidneys_of_dataset(whole, finder, progress_of=progress_of)
        return [kidneys[row] for row in rows]
    path, path_of_masks = _paths(dataset, finder)
    shape, shape_of_masks = (len(dataset), 2, _N_NUMBERS), (len(dataset), 2, MASK_PX * MASK_PX // 8)
    with os_errors.reraise_as(DatasetError, path):
        numbers, masks = load_array(path, shape, np.float32), load_array(path_of_masks, shape_of_masks)
        if numbers is None or masks is None:
            numbers, masks = np.zeros(shape, np.float32), np.zeros(shape_of_masks, np.uint8)
            _find(dataset, finder, numbers, masks, progress_of("Finding kidneys"))
            save_array(path_of_masks, masks)
            save_array(path, numbers)
    return [_boxes(*row) for row in zip(numbers, masks, strict=True)]


def are_known(dataset: Dataset, finder: KidneyFinder) -> bool:
    """Whether the kidneys of a dataset were found before, so that asking for them takes no time."""
    return all(path.is_file() for path in _paths(dataset.part_of[0] if dataset.part_of else dataset, finder))


def _paths(dataset: Dataset, finder: KidneyFinder) -> tuple[Path, Path]:
    key = f"{DECODING_VERSION}-{dataset.fingerprint[:24]}-{finder.digest[:12]}.npy"
    return cache_folder() / f"kidneys-{key}", cache_folder() / f"kidney-masks-{key}"


def _find(
    dataset: Dataset,
    finder: KidneyFinder,
    numbers: np.ndarray,
    masks: np.ndarray,
    progress: Callable[[int, int], None] | None,
) -> None:
    def find(start: int, images: list[Slice]) -> None:
        greys = [image.network_grey8() for image in images]
        for position, (grey, found) in enumerate(zip(greys, finder.find(greys), strict=True), start=start):
            for box in found.find().boxes(grey):
                frame = box.frame
                numbers[position, box.place] = (frame.top, frame.left, frame.height, frame.width, box.median)
                masks[position, box.place] = np.packbits(box.mask) if box.mask is not None else 0

    for_each_batch(dataset, find, progress=progress)


def _boxes(numbers: np.ndarray, masks: np.ndarray) -> tuple[KidneyBox, ...]:
    """(2, 5) numbers and (2, 512) packed masks -> the kidneys of a slice."""
    return tuple(
        KidneyBox(place, Frame(*map(int, row[:4])), float(row[4]), _unpacked(masks[place]))
        for place, row in enumerate(numbers)
        if row[2]
    )


def _unpacked(mask: np.ndarray) -> np.ndarray:
    return np.unpackbits(mask).reshape(MASK_PX, MASK_PX).astype(bool)


def visible_kidneys(
    dataset: Dataset, finder: KidneyFinder, *, progress_of: Progress = lambda title: None
) -> np.ndarray:
    """The number of kidneys that each slice shows: (N,) int, 0 to 2. Raises as `kidneys_of_dataset`."""
    return np.array([len(each) for each in kidneys_of_dataset(dataset, finder, progress_of=progress_of)])


def only_with_kidneys(dataset: Dataset, finder: KidneyFinder, *, progress_of: Progress = lambda title: None) -> Dataset:
    """The slices of a dataset that show a kidney. Raises as `kidneys_of_dataset`, and DatasetError where none does."""
    n_kidneys = visible_kidneys(dataset, finder, progress_of=progress_of)
    if not n_kidneys.any():
        raise DatasetError(
            f"No slice of “{dataset.root}” shows a kidney. Choose another folder, or train on all slices."
        )
    return dataset.only(n_kidneys > 0, why=f"kidneys of {finder.digest}")


def summarize(dataset: Dataset, n_kidneys: np.ndarray) -> pd.DataFrame:
    """Slices without a visible kidney by label and plane: columns label, plane, slices, without, share."""
    table = dataset.table[["label", "plane"]].assign(without=np.asarray(n_kidneys) == 0)
    grouped = table.groupby(["label", "plane"], sort=False)["without"]
    summary = grouped.agg(slices="size", without="sum").reset_index()
    return summary.assign(share=summary["without"] / summary["slices"])
