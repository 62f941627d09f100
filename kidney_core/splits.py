"""Two ways to divide a dataset, and what the difference means.

`random` is what the paper and nearly every publication on this dataset do: slices are drawn
one by one, so neighbours of nearly every test slice are in training. `grouped` keeps each series
on one side, which is the question a hospital asks: what about a scan the model has never seen?
"""

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from kidney_core.errors import DatasetError

RANDOM, GROUPED = "random", "grouped"
PROTOCOLS = (RANDOM, GROUPED)
TRAIN, VALIDATION, TEST = "train", "validation", "test"
PROTOCOL_TITLES = {
    RANDOM: "random split (the paper's protocol)",
    GROUPED: "grouped split (scans never seen)",
}


def split(
    table: pd.DataFrame, *, protocol: str, seed: int, test_fraction: float = 0.2, validation_fraction: float = 0.0
) -> np.ndarray:
    """Assign each slice to train, validation or test.

    Args:
        table: rows in file order with the columns `label` and `series`.
        protocol: "random" or "grouped".
        seed: the same seed gives the same split of the same table.
        test_fraction, validation_fraction: of all slices; approximate under "grouped".

    Returns:
        (N,) array of "train", "validation" and "test".

    Raises:
        DatasetError: too few slices or series of a class to have it on both sides.
        ValueError: an unknown protocol or impossible fractions.
    """
    if not 0 < test_fraction < 1 or not 0 <= validation_fraction < 1 - test_fraction:
        raise ValueError(f"fractions must leave something to train on, got {test_fraction=} {validation_fraction=}")
    if protocol == RANDOM:
        return _random_split(table, seed, test_fraction, validation_fraction)
    if protocol == GROUPED:
        return _grouped_split(table, seed, test_fraction, validation_fraction)
    raise ValueError(f"protocol must be one of {PROTOCOLS}, got {protocol!r}")


def shared_series_fraction(table: pd.DataFrame, parts: np.ndarray) -> float:
    """The leak: the share of test slices whose series also has slices in training, 0 to 1."""
    in_test = parts == TEST
    trained = set(table.loc[parts == TRAIN, "series"])
    return float(table.loc[in_test, "series"].isin(trained).mean()) if in_test.any() else 0.0


def _random_split(table: pd.DataFrame, seed: int, test_fraction: float, validation_fraction: float) -> np.ndarray:
    labels = table["label"].to_numpy()
    _require(table.groupby("label").size(), 3 if validation_fraction else 2, "slices")
    parts = np.full(len(table), TRAIN, dtype=object)
    rest, test = train_test_split(np.arange(len(table)), test_size=test_fraction, stratify=labels, random_state=seed)
    parts[test] = TEST
    if validation_fraction:
        share = validation_fraction / (1 - test_fraction)
        _, validation = train_test_split(rest, test_size=share, stratify=labels[rest], random_state=seed)
        parts[validation] = VALIDATION
    return parts


def _grouped_split(table: pd.DataFrame, seed: int, test_fraction: float, validation_fraction: float) -> np.ndarray:
    """Contiguous runs of series in file order, per class: neighbouring series are often one patient.

    The series of a class are laid on a circle in file order, each as long as it has slices, starting
    at a series drawn by the seed. Those whose middle lies in the first 20 % are the test part, the
    next stretch is the validation part: so each part has one seam, or two, per class.
    """
    owner = table.groupby("series")["label"].agg(lambda labels: labels.mode().iloc[0])  # a mixed series has one side
    _require(owner.value_counts(), 3 if validation_fraction else 2, "series")
    part_of: dict[int, str] = {}
    rng = np.random.default_rng(seed)
    sizes = table.groupby("series", sort=False).size()  # in file order
    for label in sorted(owner.unique()):
        series = [number for number in sizes.index if owner[number] == label]
        first = int(rng.integers(len(series)))
        series = series[first:] + series[:first]
        lengths = sizes[series].to_numpy()
        middle = (np.cumsum(lengths) - lengths / 2) / lengths.sum()
        least = 1 if validation_fraction else 0
        # One huge series must leave no part empty: each has at least one, training too.
        n_test = int(np.clip((middle < test_fraction).sum(), 1, len(series) - 1 - least))
        n_validation = (middle < test_fraction + validation_fraction).sum() - n_test
        n_validation = int(np.clip(n_validation, least, len(series) - 1 - n_test)) if least else 0
        drawn = [TEST] * n_test + [VALIDATION] * n_validation
        drawn += [TRAIN] * (len(series) - len(drawn))
        part_of.update(zip(series, drawn, strict=True))
    return table["series"].map(part_of).to_numpy()


def _require(counts: pd.Series, least: int, what: str) -> None:
    short = counts[counts < least]
    if len(short):
        label = short.index[0]
        raise DatasetError(
            f"The class {label} has {short.iloc[0]} {what}; at least {least} are needed to train and to test on it. "
            "Add images of that class, or choose another protocol or folder."
        )
