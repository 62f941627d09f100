"""Ways to divide a dataset into training, validation and test parts.

`random` is the slice-level split of the paper and of nearly every publication on this dataset: slices are
drawn one by one, so neighbours of nearly every test slice are in training (data leakage). `grouped` is the
scan-level split: each series stays on one side, so the test measures performance on unseen scans. `folder` takes
the split that a dataset brings along in folders such as `train` and `test`; whether that leaks, the audit tells.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from kidney_core.common.errors import DatasetError

RANDOM, GROUPED, FOLDER = "random", "grouped", "folder"
PROTOCOLS = (RANDOM, GROUPED)  # those that every dataset allows
# How metrics were measured: under one split, or pooled over the folds of a scan-level cross-validation.
CROSS_VALIDATED = "cross-validated"
MEASURED = (RANDOM, FOLDER, GROUPED, CROSS_VALIDATED)
EXTERNAL = "external"  # a folder of the user's own, on no card
TRAIN, VALIDATION, TEST = "train", "validation", "test"
PROTOCOL_TITLES = {
    RANDOM: "random split (the paper's protocol)",
    GROUPED: "scan-level split (unseen scans)",
    FOLDER: "split as in the folder",
    CROSS_VALIDATED: "scan-level cross-validation (unseen scans)",
    EXTERNAL: "folder of your own",
}
PROTOCOL_NAMES = {
    RANDOM: "random split (paper)",
    GROUPED: "unseen scans",
    FOLDER: "split of the folder",
    CROSS_VALIDATED: "unseen scans, all folds",
    EXTERNAL: "own folder",
}


def unseen_protocol(measured: Iterable[str]) -> str | None:
    """The protocol of these that measures on unseen scans: over all folds before one split; None where none does."""
    protocols = set(measured)
    return next((name for name in (CROSS_VALIDATED, GROUPED) if name in protocols), None)


def split(
    table: pd.DataFrame,
    *,
    protocol: str,
    seed: int,
    test_fraction: float = 0.2,
    validation_fraction: float = 0.0,
    n_folds: int = 0,
    fold: int = 0,
) -> np.ndarray:
    """Assign each slice to train, validation or test.

    Args:
        table: rows in file order with the columns `label` and `series`, and `folder_part` for "folder".
        protocol: "random", "grouped" or "folder", which takes no folds, and no fraction of what the folder has.
        seed: the same seed gives the same split of the same table, and the same folds.
        test_fraction, validation_fraction: of all slices; approximate under "grouped". 0 for no such part.
        n_folds: 0 for one split; otherwise the test part is fold number `fold` of as many, whatever
            `test_fraction` says, and over all folds each slice is tested exactly once.

    Returns:
        (N,) array of "train", "validation" and "test".

    Raises:
        DatasetError: too few slices or series of a class to have it on both sides, or no split in the folder.
        ValueError: an unknown protocol or impossible fractions.
    """
    if n_folds:
        test_fraction = 1 / n_folds
    if n_folds == 1 or not 0 <= fold < max(n_folds, 1):
        raise ValueError(f"fold must be one of 2 folds or more, got {fold=} {n_folds=}")
    if not 0 <= test_fraction < 1 or not 0 <= validation_fraction < 1 - test_fraction:
        raise ValueError(f"fractions must leave something to train on, got {test_fraction=} {validation_fraction=}")
    if protocol == FOLDER:
        return _split_of_folder(table, seed, validation_fraction)
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {(*PROTOCOLS, FOLDER)}, got {protocol!r}")
    divide = _random_split if protocol == RANDOM else _grouped_split
    return divide(table, seed, test_fraction, validation_fraction, n_folds, fold)


def _split_of_folder(table: pd.DataFrame, seed: int, validation_fraction: float) -> np.ndarray:
    """The parts of the folder; without a test part, its validation part is tested. Scans of training validate, where none do."""
    if "folder_part" not in table:
        raise DatasetError(
            "This folder has no split of its own: it needs a folder test or val beside train, or in each class. Choose another split."
        )
    parts = table["folder_part"].to_numpy(object).copy()
    if not (parts == TEST).any():
        parts[parts == VALIDATION] = TEST
    lacking = [
        f"no slice of the class {label} to {purpose} on"
        for part, purpose in ((TRAIN, "train"), (TEST, "test"))
        for label in sorted(set(table["label"]) - set(table.loc[parts == part, "label"]))
    ]
    if lacking:
        raise DatasetError(
            f"The split of this folder has {', '.join(lacking)}; at least 1 of each class is needed in both parts. Add some, or "
            "choose another split."
        )
    if validation_fraction and not (parts == VALIDATION).any():
        trained = np.flatnonzero(parts == TRAIN)
        drawn = _grouped_split(table.iloc[trained].reset_index(drop=True), seed, validation_fraction, 0.0, 0, 0)
        parts[trained[drawn == TEST]] = VALIDATION
    return parts


def shared_series_fraction(table: pd.DataFrame, parts: np.ndarray) -> float:
    """Data leakage: the share of test slices whose series also has slices in training, 0 to 1."""
    in_test = parts == TEST
    in_training = set(table.loc[parts == TRAIN, "series"])
    return float(table.loc[in_test, "series"].isin(in_training).mean()) if in_test.any() else 0.0


def _random_split(
    table: pd.DataFrame, seed: int, test_fraction: float, validation_fraction: float, n_folds: int, fold: int
) -> np.ndarray:
    from sklearn.model_selection import StratifiedKFold, train_test_split  # here, since every page names protocols

    labels = table["label"].to_numpy()
    _require(table.groupby("label").size(), max(n_folds, 3 if validation_fraction else 2), "slice")
    parts = np.full(len(table), TRAIN, dtype=object)
    everything = np.arange(len(table))
    n_labels = len(set(labels))
    for share in (test_fraction, validation_fraction):
        if share and int(np.ceil(share * len(table))) < n_labels:
            raise DatasetError(
                f"{len(table)} slices are too few: {share:.0%} of them cannot hold all {n_labels} classes. Add images, or "
                "raise the fraction."
            )
    if n_folds:
        folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
        rest, test = list(folds.split(everything, labels))[fold]
    elif test_fraction:
        rest, test = train_test_split(everything, test_size=test_fraction, stratify=labels, random_state=seed)
    else:
        rest, test = everything, everything[:0]
    parts[test] = TEST
    if validation_fraction:
        share = validation_fraction / (1 - test_fraction)
        n_validation = int(np.ceil(share * len(rest)))
        if n_validation < n_labels:
            raise DatasetError(
                f"A validation part of {validation_fraction:.0%} would hold {n_validation} slices, fewer than the {n_labels} classes. "
                "Add images, or raise the fraction."
            )
        _require(
            table.loc[rest].groupby("label").size(), 2, "slice outside the test part", "slices outside the test part"
        )
        _, validation = train_test_split(rest, test_size=share, stratify=labels[rest], random_state=seed)
        parts[validation] = VALIDATION
    return parts


def _grouped_split(
    table: pd.DataFrame, seed: int, test_fraction: float, validation_fraction: float, n_folds: int, fold: int
) -> np.ndarray:
    """Contiguous runs of series in file order, per class: neighbouring series are often one patient.

    The series of a class are laid on a circle in file order, each as long as it has slices, starting
    at a series drawn by the seed. Those whose middle lies in the first 20 % are the test part, the
    next stretch is the validation part: so each part has one seam, or two, per class. Folds are
    neighbouring arcs of that circle, each as near to its share of the slices as whole series allow.
    """
    owner = table.groupby("series")["label"].agg(lambda labels: labels.mode().iloc[0])  # a mixed series has one side
    _require(owner.value_counts(), _least_series(n_folds, validates=bool(validation_fraction)), "scan")
    part_of: dict[int, str] = {}
    rng = np.random.default_rng(seed)
    sizes = table.groupby("series", sort=False).size()  # in file order
    for label in sorted(owner.unique()):
        series = [number for number in sizes.index if owner[number] == label]
        first = int(rng.integers(len(series)))
        series = series[first:] + series[:first]
        least = 1 if validation_fraction else 0
        if n_folds:
            starts = _arc_starts(sizes[series].to_numpy(), n_folds, longest=len(series) - 1 - least)
            n_test = starts[fold + 1] - starts[fold]
            series = series[starts[fold] :] + series[: starts[fold]]
        middle = _middles(sizes[series].to_numpy())
        if not n_folds:
            # One huge series must leave no part empty: each has at least one, training too.
            n_test = int(np.clip((middle < test_fraction).sum(), test_fraction > 0, len(series) - 1 - least))
        tested = sizes[series[:n_test]].sum() / sizes[series].sum() if n_folds else test_fraction
        n_validation = (middle < tested + validation_fraction).sum() - n_test
        n_validation = int(np.clip(n_validation, least, len(series) - 1 - n_test)) if least else 0
        drawn = [TEST] * n_test + [VALIDATION] * n_validation
        drawn += [TRAIN] * (len(series) - len(drawn))
        part_of.update(zip(series, drawn, strict=True))
    return table["series"].map(part_of).to_numpy()


def _least_series(n_folds: int, *, validates: bool) -> int:
    """How many series a class needs so that every part of every fold has one."""
    least = 3 if validates else 2
    if not n_folds:
        return least
    # Two folds hold all series between them, and each must leave one to train on and one to validate on.
    return max(n_folds + validates, 4 if n_folds == 2 and validates else least)


def _middles(lengths: np.ndarray) -> np.ndarray:
    """Where the middle of each series lies, as a share of all slices."""
    return (np.cumsum(lengths) - lengths / 2) / lengths.sum()


def _arc_starts(lengths: np.ndarray, n_folds: int, *, longest: int) -> list[int]:
    """The first series of each fold, and the end: n_folds + 1 positions; no fold is empty or longer than `longest`."""
    middles, starts = _middles(lengths), [0]
    for fold in range(1, n_folds):
        start = int((middles < fold / n_folds).sum())
        least = max(starts[-1] + 1, len(lengths) - (n_folds - fold) * longest)
        most = min(starts[-1] + longest, len(lengths) - (n_folds - fold))
        starts.append(int(np.clip(start, least, most)))
    return [*starts, len(lengths)]


def _require(counts: "pd.Series[int]", least: int, noun: str, plural: str = "") -> None:
    short = counts[counts < least]
    if len(short):
        found = ", ".join(f"{label} has {n} {noun if n == 1 else plural or noun + 's'}" for label, n in short.items())
        raise DatasetError(
            f"The class {found}; at least {least} of each are needed to train and to test on it. Add images, or choose another split or "
            "folder."
        )
