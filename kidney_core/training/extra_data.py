"""Further folders to train on, without any image of the scans that the run is validated and tested on."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from kidney_core.common.errors import RunError
from kidney_core.data import dataset_kidneys
from kidney_core.data.copies import unit_vectors
from kidney_core.data.dataset import Dataset, read_dataset
from kidney_core.data.pixel_cache import dataset_masks, dataset_pixels
from kidney_core.data.series import LINK_CORRELATION, scan_table
from kidney_core.kidneys import finder
from kidney_core.metrics import splits
from kidney_core.runs.recipes import TrainingConfig


@dataclass(frozen=True)
class ExtraData:
    """The images of a folder that may be trained on.

    Attributes:
        pixels: (N, *view.shape) uint8, as the network sees them.
        y: (N,) int64, positions in the labels of the dataset that it is added to.
        series: (N,) the scan of each slice, numbered within the folder.
        sha256: (N,) of the files.
        n_left_out: slices that must not be trained on.
        fingerprint: of the whole folder, as the dataset's.
    """

    pixels: np.ndarray = field(repr=False)
    masks: np.ndarray | None = field(repr=False)
    y: np.ndarray = field(repr=False)
    series: np.ndarray = field(repr=False)
    sha256: list[str] = field(repr=False)
    n_left_out: int
    fingerprint: str


def read_extra_data(
    folder: str,
    dataset: Dataset,
    parts: np.ndarray,
    config: TrainingConfig,
    progress_of: Callable[[str], Callable[[int, int], None]],
) -> ExtraData:
    """Read a folder whose slices are added to the training part of a dataset.

    Args:
        parts: (N,) part of each slice of the dataset.
        progress_of: title of a task -> its progress callback.

    Raises: DatasetError; RunError for a class that the dataset does not have.
    """
    extra = read_dataset(folder, labelling=config.extra_labelling, progress=progress_of("Reading extra images"))
    if config.only_kidneys:
        extra = dataset_kidneys.only_with_kidneys(extra, finder.open_installed(), progress_of=progress_of)
    unknown = sorted(set(extra.labels) - set(dataset.labels))
    if unknown:
        raise RunError(
            f"The extra data “{folder}” have the class “{unknown[0]}”, which “{config.data}” does not have. Say what it stands for, "
            "with the option extra_classes, or on the Dataset page."
        )
    table = scan_table(extra)
    usable = _usable(extra, table, dataset, parts, config.protocol)
    return ExtraData(
        pixels=dataset_pixels(extra, config.view, progress_of=progress_of, title="Decoding extra images")[usable],
        masks=dataset_masks(extra, config.view, progress_of=progress_of)[usable] if config.drawn_lesions else None,
        y=table["label"].map(dataset.labels.index).to_numpy(np.int64)[usable],
        series=table.loc[usable, "series"].to_numpy(),
        sha256=table.loc[usable, "sha256"].tolist(),
        n_left_out=int((~usable).sum()),
        fingerprint=extra.fingerprint,
    )


def _usable(extra: Dataset, table: pd.DataFrame, dataset: Dataset, parts: np.ndarray, protocol: str) -> np.ndarray:
    """(N,) True for each extra slice that may be trained on; `table` is the `scan_table` of the extra data.

    Exact copies and near-duplicates of held-out slices are left out, also those of another contrast or size. With
    unseen scans ("grouped") so are their whole scans, and the neighbouring scans in file order, often of the same
    patient, unless they are in training anyway.
    """
    ours, theirs = unit_vectors(dataset.thumbnails), unit_vectors(extra.thumbnails)

    def duplicates(rows: np.ndarray) -> np.ndarray:
        copies = extra.table["sha256"].isin(dataset.table.loc[rows, "sha256"]).to_numpy()
        return copies | ((theirs @ ours[rows].T).max(axis=1, initial=-1.0) > LINK_CORRELATION)

    duplicates_held_out = duplicates(parts != splits.TRAIN)
    if protocol == splits.RANDOM:
        return ~duplicates_held_out
    held_out = set(table.loc[duplicates_held_out, "series"])
    trained = set(table.loc[duplicates(parts == splits.TRAIN), "series"]) - held_out
    neighbours = set()
    for _, series in table.groupby("label")["series"]:
        in_file_order = series.drop_duplicates().tolist()
        for one, next_one in itertools.pairwise(in_file_order):
            neighbours |= {next_one} if one in held_out else set()
            neighbours |= {one} if next_one in held_out else set()
    return ~table["series"].isin(held_out | (neighbours - trained)).to_numpy()
