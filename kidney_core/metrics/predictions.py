"""The predictions of one model on labelled slices, as a value; the only file that knows the columns of a stored table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kidney_core.common.files import read_table
from kidney_core.metrics import calibration

PROBABILITY_PREFIX = "p_"


def probability_column(label: str) -> str:
    """The column of a label's probability: "Cyst" -> "p_Cyst"."""
    return PROBABILITY_PREFIX + label


def labels_of(table: pd.DataFrame) -> tuple[str, ...]:
    """The labels that a table has a probability of, in the model's order."""
    return tuple(name[len(PROBABILITY_PREFIX) :] for name in table.columns if name.startswith(PROBABILITY_PREFIX))


def probabilities_of(table: pd.DataFrame) -> np.ndarray:
    """(N, n_labels) probabilities of a table, in the model's order."""
    return table[[probability_column(label) for label in labels_of(table)]].to_numpy(float)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one model predicted for N labelled slices, or scans. Made by the constructors below, never by hand.

    Attributes:
        table: (N rows) label, predicted and p_<label>; path, series, plane, temperature, fold and n_slices where known.
        labels: in the model's order.
        probabilities: (N, n_labels), rows sum to 1.
        y_true: (N,) position of each true label in `labels`.
        series: (N,) the number of each slice's series; None where it is unknown.
    """

    table: pd.DataFrame
    labels: tuple[str, ...]
    probabilities: np.ndarray
    y_true: np.ndarray
    series: np.ndarray | None

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> "Predictions":
        """Parse a table as it is stored.

        Raises: ValueError when a column is missing, or a slice has a label that the model does not know.
        """
        missing = {"label", "predicted"} - set(table.columns)
        if missing:
            raise ValueError(f"it has no column “{min(missing)}”")
        labels = labels_of(table)
        series = table["series"].to_numpy() if "series" in table else None
        return cls(table, labels, probabilities_of(table), _positions(table["label"], labels), series)

    @classmethod
    def from_probabilities(cls, rows: pd.DataFrame, probabilities: np.ndarray, labels: Sequence[str]) -> "Predictions":
        """Join what is known of each slice to what the model predicted.

        Args:
            rows: (N, …) with the column label; path, series, plane and temperature where known.
            probabilities: (N, n_labels), rows sum to 1.
        """
        table = rows.reset_index(drop=True).copy()
        table["predicted"] = np.array(labels, dtype=object)[probabilities.argmax(axis=1)]
        for column, label in enumerate(labels):
            table[probability_column(label)] = probabilities[:, column]
        return cls.from_table(table)

    @classmethod
    def read_csv(cls, source: Path | BytesIO) -> "Predictions":
        """Read a stored table. Raises ValueError as `from_table`, and for a file that is no CSV table."""
        return cls.from_table(read_table(source))

    @classmethod
    def concatenate(cls, parts: Iterable["Predictions"]) -> "Predictions":
        """Stack predictions for the same labels."""
        return cls.from_table(pd.concat([part.table for part in parts], ignore_index=True))

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def y_pred(self) -> np.ndarray:
        """(N,) position of each predicted label in `labels`."""
        return _positions(self.table["predicted"], self.labels)

    @property
    def is_right(self) -> np.ndarray:
        """(N,) bool: the predicted label is the true one."""
        return self.y_true == self.y_pred

    @property
    def confidence(self) -> np.ndarray:
        """(N,) the probability of the most probable label."""
        return self.probabilities.max(axis=1)

    @property
    def present_labels(self) -> tuple[str, ...]:
        """The labels that slices have, in the model's order."""
        return tuple(self.labels[position] for position in np.unique(self.y_true))

    @property
    def has_temperature(self) -> bool:
        """Whether the temperature behind the probabilities is known; the oldest versions did not store it."""
        return "temperature" in self.table

    def csv_bytes(self, *, digits: int = 6) -> bytes:
        """The table as the content of a CSV file, numbers with so many significant digits."""
        return self.table.to_csv(index=False, float_format=f"%.{digits}g").encode()

    def rounded(self, digits: int) -> "Predictions":
        """The same predictions as a CSV file with so many significant digits holds them."""
        return Predictions.read_csv(BytesIO(self.csv_bytes(digits=digits)))

    def subset(self, mask: "np.ndarray | pd.Series[bool]") -> "Predictions":
        """The rows where the mask, (N,) bool, holds."""
        mask = np.asarray(mask)
        series = None if self.series is None else self.series[mask]
        return Predictions(self.table[mask], self.labels, self.probabilities[mask], self.y_true[mask], series)

    def in_order(self, paths: Iterable[str]) -> "Predictions":
        """The same predictions, one row for each path and in that order. Raises KeyError for a path without one."""
        return Predictions.from_table(self.table.set_index("path").loc[list(paths)].reset_index())

    def with_columns(self, **columns: Any) -> "Predictions":
        """The same predictions with more facts about each slice, such as temperature and fold."""
        return Predictions.from_table(self.table.assign(**columns))

    def uncalibrated(self) -> np.ndarray:
        """(N, n_labels) probabilities as the network gave them, before the temperature in the column `temperature`."""
        return calibration.calibrate(self.probabilities, 1 / self.table["temperature"].to_numpy()[:, None])

    def best_temperature(self) -> float:
        """The temperature that calibrates these predictions best, whatever the one in the column `temperature` is."""
        return calibration.fit_temperature(self.uncalibrated(), self.y_true)

    def recalibrated(self, temperatures: np.ndarray) -> "Predictions":
        """The same predictions under other temperatures, (N,)."""
        probabilities = calibration.calibrate(self.uncalibrated(), temperatures[:, None])
        columns = {probability_column(label): probabilities[:, i] for i, label in enumerate(self.labels)}
        return self.with_columns(**columns, temperature=temperatures)

    def n_series(self, label: str | None = None) -> int:
        """The number of series, or of those with a slice of the label; 0 where series are unknown."""
        if self.series is None:
            return 0
        return len(np.unique(self.series if label is None else self.series[self.table["label"] == label]))

    def per_series(self) -> "Predictions":
        """One row a series with the mean probabilities of its slices; a series with two labels has a row for each.

        The table has the columns series, label, n_slices, predicted and p_<label>.

        Raises: ValueError where series are unknown.
        """
        self.series_positions()
        columns = [probability_column(label) for label in self.labels]
        grouped = self.table.groupby(["series", "label"], sort=False)
        rows = grouped.size().rename("n_slices").reset_index()
        return Predictions.from_probabilities(rows, grouped[columns].mean().to_numpy(), self.labels)

    def series_positions(self) -> tuple[np.ndarray, int]:
        """(N,) position of each slice's series, and the number of series. Raises ValueError where series are unknown."""
        if self.series is None:
            raise ValueError("predictions must have a column series, so that slices of one scan are known")
        positions, names = pd.factorize(self.series)
        return positions, len(names)


def _positions(names: pd.Series, labels: tuple[str, ...]) -> np.ndarray:
    """(N,) positions of names in `labels`. Raises ValueError for a name that is not among them."""
    position = {label: i for i, label in enumerate(labels)}
    unknown = set(names) - set(position)
    if unknown:
        raise ValueError(f"{names.name} must be one of {labels}, got {min(map(str, unknown))!r}")
    return names.map(position).to_numpy(np.int64)
