"""Areas under the ROC curve of two models on the same slices: their difference, resampled and swapped by whole series.

An area counts pairs of a slice of the label and another one. Summed over the series of the two, the counts are small tables, from which
every resample and every swap follows. Scores become ranks first, so that swapping does not compare two scales. Sources: Hanley & McNeil
1982, Radiology 143:29 (the area as a share of pairs); Venkatraman & Begg 1996, Biometrika 83:835 (swapping ranks).
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from kidney_core.metrics.intervals import SeriesCounts


@dataclass(frozen=True, eq=False)
class PairedAreas:
    """The ordered pairs of two models for one label.

    Attributes:
        won: (2, 2, S, S) for the model that ranks the slice of the label and the model that ranks the other one: over the pairs of
            two series, how often the first is ranked higher, ties counted half.
        positives, negatives: (S,) slices of each series that are of the label, and are not.
    """

    won: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray

    @classmethod
    def of(cls, one: SeriesCounts, two: SeriesCounts, label: int) -> "PairedAreas | None":
        """Of two models on the same slices in the same order; None where not both sides have slices."""
        truth, series, n_series = one.y_true == label, one.series, len(one.owner)
        if truth.all() or not truth.any():
            return None
        ranks = [rankdata(each.probabilities[:, label]) for each in (one, two)]
        won = np.empty((2, 2, n_series, n_series))
        others = [np.flatnonzero((series == number) & ~truth) for number in range(n_series)]
        for i, positive in enumerate(ranks):
            for j, negative in enumerate(ranks):
                for number, rows in enumerate(others):
                    below = np.sort(negative[rows])
                    at = positive[truth]
                    count = np.searchsorted(below, at, "left") + np.searchsorted(below, at, "right")
                    won[i, j, :, number] = np.bincount(series[truth], count / 2, n_series)
        return cls(won, np.bincount(series[truth], minlength=n_series), np.bincount(series[~truth], minlength=n_series))

    def difference(self, weights: np.ndarray) -> np.ndarray:
        """(n,) area of the first less that of the second in resamples, (n, S); NaN in one without both sides."""
        drawn = weights.astype(float)
        gap = ((drawn @ (self.won[0, 0] - self.won[1, 1])) * drawn).sum(axis=1)
        n_pairs = (drawn @ self.positives) * (drawn @ self.negatives)
        return np.divide(gap, n_pairs, out=np.full(len(gap), np.nan), where=n_pairs > 0)

    def swapped(self, swapped: np.ndarray) -> np.ndarray:
        """(n,) the same of all slices, the two models having changed places on some series: (n, S), 1 where they have."""
        n_pairs = float(self.positives.sum()) * float(self.negatives.sum())
        return (self._won_by(swapped) - self._won_by(1 - swapped)) / n_pairs

    def _won_by(self, model: np.ndarray) -> np.ndarray:
        """(n,) pairs won by what ranks each series with the first model, 0, or the second, 1."""
        sides = (1 - model, model)
        return sum(((sides[i] @ self.won[i, j]) * sides[j]).sum(axis=1) for i in range(2) for j in range(2))
