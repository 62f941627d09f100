"""Other folders that a run trains on too, without anything of the scans that it is measured by."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from kidney_core import splits
from kidney_core.dataset import Dataset, read_dataset
from kidney_core.errors import RunError
from kidney_core.framing import View
from kidney_core.pixel_cache import dataset_pixels
from kidney_core.recipes import TrainingConfig
from kidney_core.series import LINK_CORRELATION, scan_table, unit_thumbnails


@dataclass(frozen=True)
class Extra:
    """What may be trained on of a folder.

    Attributes:
        pixels: (N, S, S) uint8 squares as the network sees them.
        y: (N,) int64, positions in the labels of the dataset that it is added to.
        series: (N,) the scan of each slice, numbered within the folder.
        sha256: (N,) of the files.
        n_left_out: slices that must not be trained on.
        fingerprint: of the whole folder, as the dataset's.
    """

    pixels: np.ndarray = field(repr=False)
    y: np.ndarray = field(repr=False)
    series: np.ndarray = field(repr=False)
    sha256: list[str] = field(repr=False)
    n_left_out: int
    fingerprint: str


def read_extra(
    folder: str,
    dataset: Dataset,
    part: np.ndarray,
    config: TrainingConfig,
    report: Callable[[str], Callable[[int, int], None]],
) -> Extra:
    """Read a folder whose slices are added to the training part of a dataset.

    Args:
        part: (N,) part of each slice of the dataset.

    Raises: DatasetError; RunError for a class that the dataset does not have.
    """
    extra = read_dataset(folder, progress=report("Reading extra images"))
    unknown = sorted(set(extra.labels) - set(dataset.labels))
    if unknown:
        raise RunError(f"The extra data “{folder}” have the class “{unknown[0]}”, which “{config.data}” does not have.")
    scans = scan_table(extra)
    kept = _usable(extra, scans, dataset, part, config.protocol)
    view = View(config.image_size_px, config.framing)
    return Extra(
        pixels=dataset_pixels(extra, view, progress=report("Decoding extra images"))[kept],
        y=scans["label"].map(dataset.labels.index).to_numpy(np.int64)[kept],
        series=scans.loc[kept, "series"].to_numpy(),
        sha256=scans.loc[kept, "sha256"].tolist(),
        n_left_out=int((~kept).sum()),
        fingerprint=extra.fingerprint,
    )


def _usable(extra: Dataset, scans: pd.DataFrame, dataset: Dataset, part: np.ndarray, protocol: str) -> np.ndarray:
    """(N,) True for each extra slice that may be trained on beside the training part; `scans` is their `scan_table`.

    Copies and near-twins of held-out slices are left out, which another contrast or size does not hide. Under "grouped"
    so are their whole scans, and the scans beside those in file order, often the same patient's, unless they are in
    training anyway.
    """
    ours, theirs = unit_thumbnails(dataset.thumbnails), unit_thumbnails(extra.thumbnails)

    def like(rows: np.ndarray) -> np.ndarray:
        copies = extra.table["sha256"].isin(dataset.table.loc[rows, "sha256"]).to_numpy()
        return copies | ((theirs @ ours[rows].T).max(axis=1, initial=-1.0) > LINK_CORRELATION)

    like_held_out = like(part != splits.TRAIN)
    if protocol == splits.RANDOM:
        return ~like_held_out
    held_out = set(scans.loc[like_held_out, "series"])
    trained = set(scans.loc[like(part == splits.TRAIN), "series"]) - held_out
    beside = set()
    for _, series in scans.groupby("label")["series"]:
        in_file_order = series.drop_duplicates().tolist()
        for one, other in itertools.pairwise(in_file_order):
            beside |= {other} if one in held_out else set()
            beside |= {one} if other in held_out else set()
    return ~scans["series"].isin(held_out | (beside - trained)).to_numpy()
