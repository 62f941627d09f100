"""Audit a dataset for data leakage: near-duplicates across splits, exact copies, contradictory labels, a 1-NN baseline.

    kidney-ct audit FOLDER

Every slice is compared once with every other one by the correlation of their 32 x 32 thumbnails. For five folds under
each split, the audit then gives the fraction of test slices with a near-duplicate in training, and the accuracy of the
label of the most similar training slice: the baseline that a model must beat, since it involves no learning.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from kidney_core.common.entry_point import command, progress_printer
from kidney_core.common.errors import KidneyError
from kidney_core.common.labels import order_labels
from kidney_core.common.typed_paths import path_argument
from kidney_core.data import remembered_labels
from kidney_core.data.copies import unit_vectors
from kidney_core.data.dataset import Dataset, read_dataset
from kidney_core.data.series import LINK_CORRELATION, SERIES_FILE, scan_table
from kidney_core.metrics import evaluation, splits
from kidney_core.metrics.predictions import Predictions

N_FOLDS = 5
_BLOCK = 512


@dataclass(frozen=True)
class ProtocolAudit:
    """The result for the folds of one protocol, or for the split of the folder.

    Attributes:
        tested: (M,) the rows of the tested slices: all of them, but for the split of the folder.
        near_duplicate_fraction: fraction (0 to 1) of test slices that correlate above 0.95 with a training slice, or have a slice of
            their scan in training, such as a flipped copy. Under "grouped" it is 0 by definition where series were found by
            likeness, and meaningful where `series.csv` lists them.
        baseline: the `evaluation.metrics` of 1-nearest-neighbour classification on thumbnails.
        nearest: (N,) int64, the row of the most similar training slice of each slice, where it is tested.
        correlation: (N,) float32, the correlation with it, -1 to 1.
    """

    tested: np.ndarray = field(repr=False)
    near_duplicate_fraction: float
    baseline: dict[str, Any] = field(repr=False)
    nearest: np.ndarray = field(repr=False)
    correlation: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
        table: one row per slice with path, label, sha256, series, plane.
        scans_are_listed: True where the scans are listed in `series.csv`, False where they were found by correlation.
        series: one row per series: series, label, n_slices, first (row of its first slice), n_labels.
        copies: rows (path, copy_of, same_label) of files with the same bytes as an earlier file.
        contradictions: rows (path, label, near_duplicate, near_duplicate_label, correlation) of slices that correlate
            above 0.95 with a slice of another label; `near_duplicate` is the most similar one.
        protocols: the result of each protocol; a protocol that the data do not allow is missing.
        problems: protocol -> a sentence on why it is missing.
    """

    dataset: Dataset
    table: pd.DataFrame = field(repr=False)
    scans_are_listed: bool
    series: pd.DataFrame = field(repr=False)
    copies: pd.DataFrame = field(repr=False)
    contradictions: pd.DataFrame = field(repr=False)
    protocols: dict[str, ProtocolAudit]
    problems: dict[str, str]


def audit(
    dataset: Dataset, *, seed: int = 0, n_folds: int = N_FOLDS, progress: Callable[[int, int], None] | None = None
) -> Audit:
    """Compare every slice of a dataset with every other one.

    Args:
        seed: seed of the folds.
        n_folds: number of folds of each protocol.
        progress: called with (steps done, steps in total) while scans are found, then with (slices compared, slices in total).

    Raises: DatasetError for a damaged `series.csv`.
    """
    table = scan_table(dataset, progress=progress)
    folds, problems = {}, {}
    for protocol in splits.PROTOCOLS:
        try:
            folds[protocol] = fold_numbers(table, protocol=protocol, seed=seed, n_folds=n_folds)
        except KidneyError as error:
            problems[protocol] = str(error)
    tested = dict.fromkeys(folds, np.arange(len(table)))
    if "folder_part" in table:
        try:
            parts = splits.split(table, protocol=splits.FOLDER, seed=seed)
            folds[splits.FOLDER] = (parts != splits.TRAIN).astype(np.int64)
            tested[splits.FOLDER] = np.flatnonzero(parts == splits.TEST)
        except KidneyError as error:
            problems[splits.FOLDER] = str(error)
    y = table["label"].map(dataset.labels.index).to_numpy()
    nearest = _nearest_in_other_groups(dataset.thumbnails, {"label": y, **folds}, progress)
    near_duplicate, correlation = nearest.pop("label")
    return Audit(
        dataset=dataset,
        table=table,
        scans_are_listed=(dataset.root / SERIES_FILE).is_file(),
        series=_describe_series(table),
        copies=_copies(table),
        contradictions=_contradictions(table, near_duplicate, correlation),
        protocols={
            protocol: _audit_protocol(table, dataset.labels, tested[protocol], folds[protocol], *result)
            for protocol, result in nearest.items()
        },
        problems=problems,
    )


def audit_parts(table: pd.DataFrame, thumbnails: np.ndarray, parts: np.ndarray) -> ProtocolAudit:
    """The result for one split of slices that somebody made, by parts as `splits.split` gives them.

    Args:
        table: (N rows) with the columns path, label and series.
        thumbnails: (N, h, w) uint8.
        parts: (N,).
    """
    group, tested = (parts != splits.TRAIN).astype(np.int64), np.flatnonzero(parts == splits.TEST)
    nearest = _nearest_in_other_groups(thumbnails, {"split": group}, None)["split"]
    return _audit_protocol(table, order_labels(set(table["label"])), tested, group, *nearest)


def fold_numbers(table: pd.DataFrame, *, protocol: str, seed: int, n_folds: int) -> np.ndarray:
    """The fold in which each slice is in the test set, (N,) int64 from 0. Raises DatasetError as `splits.split`."""
    numbers = np.zeros(len(table), np.int64)
    for fold in range(n_folds):
        parts = splits.split(table, protocol=protocol, seed=seed, n_folds=n_folds, fold=fold)
        numbers[parts == splits.TEST] = fold
    return numbers


def _nearest_in_other_groups(
    thumbnails: np.ndarray, groupings: dict[str, np.ndarray], progress: Callable[[int, int], None] | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each grouping, (N,) group numbers: the row of the most similar slice of another group, and its correlation."""
    unit = unit_vectors(thumbnails)
    nearest = {name: np.zeros(len(unit), np.int64) for name in groupings}
    highest = {name: np.zeros(len(unit), np.float32) for name in groupings}
    for start in range(0, len(unit), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(unit)))
        correlation = unit[rows] @ unit.T  # (block, N)
        for name, group in groupings.items():
            allowed = np.where(group[rows, None] == group[None, :], np.float32(-2), correlation)
            nearest[name][rows] = allowed.argmax(axis=1)
            highest[name][rows] = allowed.max(axis=1)
        if progress:
            progress(rows.stop, len(unit))
    return {name: (nearest[name], highest[name]) for name in groupings}


def _audit_protocol(
    table: pd.DataFrame,
    labels: tuple[str, ...],
    tested: np.ndarray,
    group: np.ndarray,
    nearest: np.ndarray,
    correlation: np.ndarray,
) -> ProtocolAudit:
    predicted = table["label"].to_numpy(object)[nearest[tested]]
    one_hot = (predicted[:, None] == np.array(labels, dtype=object)[None, :]).astype(float)
    predictions = Predictions.from_probabilities(table[["path", "label", "series"]].iloc[tested], one_hot, labels)
    shared = table.assign(group=group).groupby("series")["group"].transform("nunique").to_numpy()[tested] > 1
    near_duplicate_fraction = float(((correlation[tested] > LINK_CORRELATION) | shared).mean())
    return ProtocolAudit(tested, near_duplicate_fraction, evaluation.metrics(predictions), nearest, correlation)


def _describe_series(table: pd.DataFrame) -> pd.DataFrame:
    rows = table.reset_index(names="row").groupby("series", sort=False)
    return rows.agg(
        label=("label", lambda labels: labels.mode().iloc[0]),
        n_slices=("label", "size"),
        first=("row", "first"),
        n_labels=("label", "nunique"),
    ).reset_index()


def _copies(table: pd.DataFrame) -> pd.DataFrame:
    originals = table.drop_duplicates("sha256").set_index("sha256")
    copies = table[table.duplicated("sha256")]
    original = originals.loc[copies["sha256"]]
    return pd.DataFrame(
        {
            "path": copies["path"].to_numpy(),
            "copy_of": original["path"].to_numpy(),
            "same_label": copies["label"].to_numpy() == original["label"].to_numpy(),
        }
    )


def _contradictions(table: pd.DataFrame, near_duplicate: np.ndarray, correlation: np.ndarray) -> pd.DataFrame:
    label, path = table["label"].to_numpy(object), table["path"].to_numpy(object)
    rows = np.flatnonzero(correlation > LINK_CORRELATION)
    contradictions = pd.DataFrame(
        {
            "path": path[rows],
            "label": label[rows],
            "near_duplicate": path[near_duplicate[rows]],
            "near_duplicate_label": label[near_duplicate[rows]],
            "correlation": correlation[rows],
        }
    )
    return contradictions.sort_values("correlation", ascending=False, ignore_index=True)


def planes_per_class(result: Audit) -> pd.DataFrame:
    """The number of slices of each class and plane: labels in rows, planes in columns."""
    return pd.crosstab(result.table["label"], result.table["plane"]).reindex(result.dataset.labels)


def summary(result: Audit) -> str:
    """An audit as lines of text."""
    return "\n".join([*_series_lines(result), "", *_protocol_lines(result)])


def _series_lines(result: Audit) -> list[str]:
    """The slices and series of each class, and the numbers of copies, contradictions and unreadable files."""
    dataset, series = result.dataset, result.series
    source = "listed in series.csv" if result.scans_are_listed else "found by correlation"
    planes = planes_per_class(result)
    lines = [f"{dataset.root}: {len(dataset):,} slices in {len(series):,} scans, {source}"]
    lines.append(
        f"{'class':12} {'slices':>7} {'scans':>7} {'median slices/scan':>21} {'longest':>8}"
        + "".join(f" {plane:>9}" for plane in planes)
    )
    for label, count in dataset.counts().items():
        n_slices = series.loc[series["label"] == label, "n_slices"]
        lines.append(
            f"{label:12} {count:7,} {len(n_slices):7,} {n_slices.median():21.0f} {n_slices.max():8,}"
            + "".join(f" {n:9,}" for n in planes.loc[label])
        )
    n_wrong = int((~result.copies["same_label"]).sum())
    lines.append(f"scans with two labels: {(series['n_labels'] > 1).sum()}")
    lines.append(f"exact copies: {len(result.copies)} (with another label: {n_wrong})")
    lines.append(f"slices with a near-duplicate of another label: {len(result.contradictions)}")
    lines.append(f"unreadable files: {len(dataset.unreadable)}")
    return lines


def _protocol_lines(result: Audit) -> list[str]:
    """The near-duplicates and the 1-NN baseline of each protocol, or why it is missing."""
    lines = [
        f"{'five folds':38} {'test slices with a':>18}  {'median':>11}   1-NN baseline on 32 x 32 pixels:",
        f"{'':38} {'near-duplicate':>18}  {'correlation':>11}   accuracy / balanced accuracy",
    ]
    for protocol, audited in result.protocols.items():
        accuracy, balanced = audited.baseline["accuracy"], audited.baseline["balanced_accuracy"]
        lines.append(
            f"{splits.PROTOCOL_TITLES[protocol]:38} {100 * audited.near_duplicate_fraction:16.2f} %  "
            f"{np.median(audited.correlation[audited.tested]):11.3f}   {100 * accuracy:.2f} % / {100 * balanced:.2f} %"
        )
    return lines + [f"{splits.PROTOCOL_TITLES[protocol]}: {problem}" for protocol, problem in result.problems.items()]


@command
def main(arguments: list[str] | None = None) -> int:
    """Audit a folder from the command line."""
    parser = argparse.ArgumentParser(description="Audit a dataset for data leakage between training and test.")
    parser.add_argument("folder", type=path_argument, help="folder with one folder of images per class")
    parser.add_argument("--seed", type=int, default=0, help="seed of the folds (default 0)")
    remembered_labels.add_options(parser)
    options = parser.parse_args(arguments)

    labelling = remembered_labels.chosen(options.folder, classes=options.classes, table=options.table)
    dataset = read_dataset(options.folder, labelling=labelling, progress=progress_printer("Reading images"))
    print(summary(audit(dataset, seed=options.seed, progress=progress_printer("Comparing slices"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
