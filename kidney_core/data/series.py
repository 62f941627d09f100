"""Group slices of the same scan into series by linking near-duplicates, and copies of one slice.

The public dataset has no patient identifiers. Its images are runs of neighbouring slices, and neighbours are so similar
that their thumbnails correlate above 0.95; linking such pairs recovers the series. Measured on all 12,446 images: 204
groups, none with two classes. Equalised, renamed and moved copies are linked too, see `copies` and `registration`.
"""

import numpy as np
import pandas as pd

from kidney_core.common import os_errors, spreadsheet
from kidney_core.common.cache import cache_folder, make_room
from kidney_core.common.errors import DatasetError
from kidney_core.data import copies, registration
from kidney_core.data.cached_array import load_array, save_array
from kidney_core.data.copies import LINKED
from kidney_core.data.dataset import Dataset, Progress
from kidney_core.imaging.planes import UNKNOWN, normalize_plane

# At 0.93 series of different classes begin to merge, at 0.97 hardly any splits: the count is stable in between.
LINK_CORRELATION = LINKED
_VERSION = 2  # raised when linking changes, so that older caches are not used
SERIES_FILE = "series.csv"


def group_series(dataset: Dataset, *, progress: Progress | None = None) -> np.ndarray:
    """Number the series of a dataset.

    Series are listed in `series.csv` in the dataset's folder (columns `path`, `series`) or, without such a file, found
    by likeness; what was found is cached.

    Args:
        progress: called with (steps done, steps in total) where they have to be found.

    Returns: (N,) int64, one number per row of `dataset.table`, numbered from 0 in the order of the table.

    Raises: DatasetError where `series.csv` is damaged, or lacks a column or a slice.
    """
    return _numbers(dataset, _read_series_file(dataset), progress)


def scan_table(dataset: Dataset, *, progress: Progress | None = None) -> pd.DataFrame:
    """The dataset's table with the columns `series` and `plane`; see `group_series`.

    Raises: DatasetError as `group_series`.
    """
    listed = _read_series_file(dataset)
    return dataset.table.assign(series=_numbers(dataset, listed, progress), plane=_planes(dataset, listed))


def _numbers(dataset: Dataset, listed: pd.DataFrame | None, progress: Progress | None) -> np.ndarray:
    series = _found_scans(dataset, progress) if listed is None else listed["series"].to_numpy()
    return pd.factorize(series)[0].astype(np.int64)


def _found_scans(dataset: Dataset, progress: Progress | None) -> np.ndarray:
    """(N,) numbers of the scans that likeness and names tell, from the cache where they were found before."""
    path = cache_folder() / f"scans-{_VERSION}-{dataset.fingerprint[:24]}.npy"
    groups = load_array(path, (len(dataset),), np.int64)
    if groups is None:
        groups = link_scans(dataset.thumbnails, dataset.table["path"].tolist(), progress=progress).astype(np.int64)
        with os_errors.reraise_as(DatasetError, path):
            make_room(groups.nbytes)
            save_array(path, groups)
    return groups


def _planes(dataset: Dataset, listed: pd.DataFrame | None) -> np.ndarray:
    """(N,) text: from the column `plane` of `series.csv` if there is one, else from the files."""
    if listed is None or "plane" not in listed:
        return dataset.table["plane"].to_numpy(object)
    return np.array([normalize_plane(text) or UNKNOWN for text in listed["plane"].fillna("")], object)


def link_near_duplicates(thumbnails: np.ndarray) -> np.ndarray:
    """Connected components of the graph that links thumbnails with a correlation above 0.95.

    Args:
        thumbnails: (N, h, w) uint8.

    Returns: (N,) component numbers.
    """
    return copies.components(len(thumbnails), [copies.alike(thumbnails)])


def link_scans(thumbnails: np.ndarray, paths: list[str], *, progress: Progress | None = None) -> np.ndarray:
    """The same with the links between copies of one slice, see `copies` and `registration`: (N,) component numbers.

    Args:
        paths: of the files, whose names may tell.
        progress: called with (steps done, steps in total).
    """
    report = progress or (lambda done, total: None)
    total = registration.N_STEPS + 1
    links = [copies.alike(thumbnails), copies.by_name(paths), copies.by_equalising(thumbnails)]
    report(1, total)
    groups = copies.components(len(thumbnails), links)
    moved = registration.by_registering(thumbnails, groups, progress=lambda done: report(1 + done, total))
    report(total, total)
    return copies.components(len(thumbnails), [*links, moved])


def _read_series_file(dataset: Dataset) -> pd.DataFrame | None:
    """The rows of `series.csv` in the order of `dataset.table`; None where there is no such file.

    Returns: N rows with text columns, among them `series`, and `plane` if the file has it.

    Raises: DatasetError as `group_series`.
    """
    path = dataset.root / SERIES_FILE
    if not path.is_file():
        return None
    try:
        listed = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:  # empty, ragged, not text
        raise DatasetError(
            f"“{path}” is not a table with the columns path and series ({error}). Correct it, or delete it to find the "
            "series automatically."
        ) from error
    if not {"path", "series"} <= set(listed.columns):
        raise DatasetError(
            f"“{path}” needs the columns path and series; it has {', '.join(listed.columns)}. Correct it, or delete it to "
            "find the series automatically."
        )
    listed["path"] = listed["path"].map(spreadsheet.unescape)  # the table may have been an export of the Dataset page
    rows = listed.drop_duplicates("path").set_index("path").reindex(dataset.table["path"])
    is_missing = (rows["series"].fillna("") == "").to_numpy()
    if is_missing.any():
        missing = dataset.table.loc[is_missing, "path"].iloc[0]
        raise DatasetError(
            f"“{path}” has no series for {missing}. Add a line for it, or delete the file to find the series automatically."
        )
    return rows.reset_index(drop=True)
