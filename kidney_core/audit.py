"""What a dataset gives away: near-twins across a split, exact copies, contradictions, and the no-learning line.

    python -m kidney_core.audit FOLDER

Every slice is compared with every other one by the correlation of their 32 x 32 thumbnails, once.
Five folds under each protocol then tell how many test slices have a near-twin in training, and how
often the label of the most similar training slice is right: what any model must beat, since it
learns nothing.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kidney_core import evaluation, splits
from kidney_core.dataset import Dataset, read_dataset
from kidney_core.errors import KidneyError, command
from kidney_core.series import LINK_CORRELATION, SERIES_FILE, scan_table, unit_thumbnails

N_FOLDS = 5
_BLOCK = 512


@dataclass(frozen=True)
class ProtocolAudit:
    """What one protocol's folds show.

    Attributes:
        twin_fraction: share of the test slices with a training slice that correlates above 0.95, 0 to 1. Under
            "grouped" it is 0 by definition where series were found by that likeness, and says something where
            `series.csv` names them.
        neighbour: the figures of 1-nearest-neighbour on thumbnails, as `evaluation.figures` gives them.
        nearest: (N,) row of the most similar training slice of each slice.
        correlation: (N,) float32, how similar it is.
    """

    twin_fraction: float
    neighbour: dict[str, Any] = field(repr=False)
    nearest: np.ndarray = field(repr=False)
    correlation: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Audit:
    """The leaks of a dataset.

    Attributes:
        table: one row a slice with path, label, sha256, series, plane.
        scans_are_listed: the scans are those that `series.csv` names, not found by likeness.
        series: one row a series: series, label, n_slices, first (row of its first slice), n_labels.
        copies: rows (path, copy_of, same_label) of files whose bytes are those of an earlier file.
        contradictions: rows (path, label, twin, twin_label, correlation), slices that correlate above 0.95
            with a slice of another label; the most similar one is named.
        protocols: protocol -> what its folds show; a protocol that the data do not allow is missing.
        problems: why a protocol is missing, in words.
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
        seed: of the folds.
        progress: called with (slices compared, slices in all).
    """
    table = scan_table(dataset)
    folds, problems = {}, {}
    for protocol in splits.PROTOCOLS:
        try:
            folds[protocol] = fold_numbers(table, protocol=protocol, seed=seed, n_folds=n_folds)
        except KidneyError as error:
            problems[protocol] = str(error)
    label_number = table["label"].map(dataset.labels.index).to_numpy()
    nearest = _nearest(dataset.thumbnails, {"label": label_number, **folds}, progress)
    twin, correlation = nearest.pop("label")
    return Audit(
        dataset=dataset,
        table=table,
        scans_are_listed=(dataset.root / SERIES_FILE).is_file(),
        series=_describe_series(table),
        copies=_copies(table),
        contradictions=_contradictions(table, twin, correlation),
        protocols={protocol: _audit_protocol(table, dataset.labels, *found) for protocol, found in nearest.items()},
        problems=problems,
    )


def fold_numbers(table: pd.DataFrame, *, protocol: str, seed: int, n_folds: int) -> np.ndarray:
    """(N,) the fold in which each slice is tested. Raises DatasetError as `splits.split`."""
    number = np.zeros(len(table), np.int64)
    for fold in range(n_folds):
        parts = splits.split(table, protocol=protocol, seed=seed, n_folds=n_folds, fold=fold)
        number[parts == splits.TEST] = fold
    return number


def _nearest(
    thumbnails: np.ndarray, groups: dict[str, np.ndarray], progress: Callable[[int, int], None] | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each numbering (N,) of the slices: the most similar slice of another number, and its correlation."""
    unit = unit_thumbnails(thumbnails)
    found = {name: (np.zeros(len(unit), np.int64), np.zeros(len(unit), np.float32)) for name in groups}
    for start in range(0, len(unit), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(unit)))
        likeness = unit[rows] @ unit.T  # (block, N)
        for name, number in groups.items():
            other = np.where(number[rows, None] == number[None, :], np.float32(-2), likeness)
            position = other.argmax(axis=1)
            found[name][0][rows] = position
            found[name][1][rows] = other[np.arange(len(position)), position]
        if progress:
            progress(rows.stop, len(unit))
    return found


def _audit_protocol(
    table: pd.DataFrame, labels: tuple[str, ...], nearest: np.ndarray, correlation: np.ndarray
) -> ProtocolAudit:
    answered = table["label"].to_numpy(object)[nearest]
    one_hot = (answered[:, None] == np.array(labels, dtype=object)[None, :]).astype(float)
    predictions = evaluation.prediction_table(table[["path", "label", "series"]], one_hot, labels)
    twins = float((correlation > LINK_CORRELATION).mean())
    return ProtocolAudit(twins, evaluation.figures(predictions), nearest, correlation)


def _describe_series(table: pd.DataFrame) -> pd.DataFrame:
    rows = table.reset_index(names="row").groupby("series", sort=False)
    return rows.agg(
        label=("label", lambda labels: labels.mode().iloc[0]),
        n_slices=("label", "size"),
        first=("row", "first"),
        n_labels=("label", "nunique"),
    ).reset_index()


def _copies(table: pd.DataFrame) -> pd.DataFrame:
    first = table.drop_duplicates("sha256").set_index("sha256")
    again = table[table.duplicated("sha256")]
    original = first.loc[again["sha256"]]
    return pd.DataFrame(
        {
            "path": again["path"].to_numpy(),
            "copy_of": original["path"].to_numpy(),
            "same_label": again["label"].to_numpy() == original["label"].to_numpy(),
        }
    )


def _contradictions(table: pd.DataFrame, twin: np.ndarray, correlation: np.ndarray) -> pd.DataFrame:
    label, path = table["label"].to_numpy(object), table["path"].to_numpy(object)
    rows = np.flatnonzero(correlation > LINK_CORRELATION)
    found = pd.DataFrame(
        {
            "path": path[rows],
            "label": label[rows],
            "twin": path[twin[rows]],
            "twin_label": label[twin[rows]],
            "correlation": correlation[rows],
        }
    )
    return found.sort_values("correlation", ascending=False, ignore_index=True)


def planes_per_class(found: Audit) -> pd.DataFrame:
    """How many slices of each class were cut in which plane: labels in rows, planes in columns."""
    return pd.crosstab(found.table["label"], found.table["plane"]).reindex(found.dataset.labels)


def summary(found: Audit) -> str:
    """The audit as lines of text."""
    dataset, series = found.dataset, found.series
    how = "listed in series.csv" if found.scans_are_listed else "found by likeness"
    planes = planes_per_class(found)
    lines = [f"{dataset.root}: {len(dataset):,} slices in {len(series):,} series, {how}"]
    lines.append(
        f"{'class':12} {'slices':>7} {'series':>7} {'median slices a series':>23} {'longest':>8}"
        + "".join(f" {plane:>9}" for plane in planes)
    )
    for label, count in dataset.counts().items():
        own = series.loc[series["label"] == label, "n_slices"]
        lines.append(
            f"{label:12} {count:7,} {len(own):7,} {own.median():23.0f} {own.max():8,}"
            + "".join(f" {planes.loc[label, plane]:9,}" for plane in planes)
        )
    lines.append(f"series with two labels: {(series['n_labels'] > 1).sum()}")
    wrong = int((~found.copies["same_label"]).sum())
    lines.append(f"exact copies: {len(found.copies)} (with another label: {wrong})")
    lines.append(f"slices with a look-alike of another label: {len(found.contradictions)}")
    lines.append(f"unreadable files: {len(dataset.unreadable)}")
    lines.append("")
    lines.append(f"{'five folds':38} {'test slices with a':>18}  {'median':>8}   nearest neighbour on 32 x 32 pixels,")
    lines.append(f"{'':38} {'twin in training':>18}  {'likeness':>8}   no learning: accuracy / balanced")
    for protocol, shown in found.protocols.items():
        near = shown.neighbour
        lines.append(
            f"{splits.PROTOCOL_TITLES[protocol]:38} {100 * shown.twin_fraction:16.2f} %  {np.median(shown.correlation):8.3f}   "
            f"{100 * near['accuracy']:.2f} % / {100 * near['balanced_accuracy']:.2f} %"
        )
    lines += [f"{splits.PROTOCOL_TITLES[protocol]}: {problem}" for protocol, problem in found.problems.items()]
    return "\n".join(lines)


@command
def main(arguments: list[str] | None = None) -> int:
    """Audit a folder from the command line."""
    parser = argparse.ArgumentParser(description="Audit a dataset for leaks between training and test.")
    parser.add_argument("folder", type=Path, help="folder with one folder of images per class")
    parser.add_argument("--seed", type=int, default=0, help="of the folds (default 0)")
    options = parser.parse_args(arguments)

    def progress_of(what: str) -> Callable[[int, int], None] | None:
        if not sys.stderr.isatty():
            return None
        return lambda done, total: print(
            f"{what}: {done:,} of {total:,}", end="\n" if done == total else "\r", file=sys.stderr, flush=True
        )

    dataset = read_dataset(options.folder, progress=progress_of("Reading images"))
    print(summary(audit(dataset, seed=options.seed, progress=progress_of("Comparing slices"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
