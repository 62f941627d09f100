"""Questions with two answers that predictions of several labels hold: each label against the rest, and abnormal against normal.

What a reviewer asks of a diagnostic test is asked of such a question. Source: Mongan et al. 2020, Radiol Artif Intell 2:e200029, and its
update, CLAIM 2024; Collins et al. 2024, BMJ 385:e078378 (TRIPOD+AI); Maier-Hein et al. 2024, Nat Methods 21:195 (Metrics Reloaded).
"""

from dataclasses import dataclass

import numpy as np

from kidney_core.common.labels import NORMAL
from kidney_core.metrics import intervals
from kidney_core.metrics.predictions import Predictions

ABNORMAL = "Abnormal"


@dataclass(frozen=True, eq=False)
class Contrast:
    """One question: is a slice of a label, or abnormal?

    Attributes:
        name: the label, or "Abnormal".
        truth: (N,) bool, whether it is.
        score: (N,) the calibrated probability that it is, 0 to 1.
        predicted: (N,) bool, whether the most probable label says so.
        series: (N,) position of each slice's series.
        n_series: number of series, S.
    """

    name: str
    truth: np.ndarray
    score: np.ndarray
    predicted: np.ndarray
    series: np.ndarray
    n_series: int

    @property
    def prevalence(self) -> float:
        """The share of the slices of which it is true."""
        return float(self.truth.mean())

    @property
    def is_sound(self) -> bool:
        """Whether both sides have enough series for intervals, see `intervals`."""
        sides = (np.bincount(self.series[side], minlength=self.n_series) for side in (self.truth, ~self.truth))
        return all(intervals.has_enough_series(sizes) for sizes in sides)

    def per_series(self, values: np.ndarray) -> np.ndarray:
        """The sums of values of slices over each series: (N, K) -> (S, K)."""
        sums = np.zeros((self.n_series, values.shape[1]))
        np.add.at(sums, self.series, values)
        return sums


def contrasts_of(predictions: Predictions) -> list[Contrast]:
    """The questions that some slices answer with yes and others with no: abnormal first, then the labels.

    Raises: ValueError where series are unknown.
    """
    series, n_series = predictions.series_positions()
    labels, y_true, y_pred = predictions.labels, predictions.y_true, predictions.y_pred
    found = []
    if NORMAL in labels and ABNORMAL not in labels:
        normal = labels.index(NORMAL)
        score = 1 - predictions.probabilities[:, normal]
        found.append(Contrast(ABNORMAL, y_true != normal, score, y_pred != normal, series, n_series))
    for position, label in enumerate(labels):
        score = predictions.probabilities[:, position]
        found.append(Contrast(label, y_true == position, score, y_pred == position, series, n_series))
    return [each for each in found if 0 < each.truth.sum() < len(each.truth)]
