"""Model against model on the same slices: paired tests, corrected for their number.

The unit is the series. If two models are equally good, swapping their predictions on a whole series changes
nothing; the p value is the share of random swaps whose difference is at least as large as the observed one.
McNemar's test on slices is given beside it and is optimistic, since slices of one scan are not independent.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from kidney_core.common.errors import DatasetError
from kidney_core.metrics import evaluation, intervals
from kidney_core.metrics.intervals import Interval
from kidney_core.metrics.predictions import Predictions

N_SWAPS = 5000


@dataclass(frozen=True)
class Comparison:
    """One model against another.

    Attributes:
        difference: first minus second, with its 95 % interval by bootstrap over series where there are enough.
        p_series: of the swap test over series, uncorrected.
        p_corrected: the same, corrected over all pairs by Holm's method.
        p_slices: McNemar's exact test over slices, of right against wrong: optimistic.
    """

    first: str
    second: str
    difference: Interval
    p_series: float
    p_corrected: float
    p_slices: float


def compare(
    predictions: dict[str, Predictions], name: str, *, n_resamples: int = intervals.N_RESAMPLES, seed: int = 0
) -> list[Comparison]:
    """Every pair of models by one metric.

    Args:
        predictions: model -> its predictions of the same slices, with the columns path and series.
        name: a metric that follows from counts, in `intervals`' dotted names: "balanced_accuracy", "per_label.Stone.recall".

    Raises: DatasetError when two models were not tested on the same slices, labels and series.
    """
    paired = _aligned(predictions)
    counted = {model: intervals.count_series(table) for model, table in paired.items()}
    is_sound = intervals.is_sound(next(iter(counted.values())), name)
    pairs = []
    for first, second in combinations(paired, 2):
        one, two = counted[first], counted[second]
        weights = intervals.draw_weights(one.owner, n_resamples, seed=seed)
        drawn = _metric_of(one, weights, name) - _metric_of(two, weights, name)
        whole = np.ones((1, len(one.owner)))
        value = (_metric_of(one, whole, name) - _metric_of(two, whole, name))[0]
        low, high = map(float, np.percentile(drawn, intervals.ENDS)) if is_sound else (None, None)
        p_slices = mcnemar(paired[first], paired[second])
        difference = Interval(float(value), low, high)
        pairs.append((first, second, difference, _swap_test(one, two, name, seed), p_slices))
    corrected = holm([row[3] for row in pairs])
    return [Comparison(*row[:4], p, row[4]) for row, p in zip(pairs, corrected, strict=True)]


def mcnemar(one: Predictions, two: Predictions) -> float:
    """McNemar's exact p value of two models' predictions of the same slices in the same order. Source: McNemar 1947, Psychometrika 12:153."""
    only_one, only_two = int((one.is_right & ~two.is_right).sum()), int((~one.is_right & two.is_right).sum())
    return float(binomtest(only_one, only_one + only_two).pvalue) if only_one + only_two else 1.0


def holm(p_values: list[float]) -> list[float]:
    """p values corrected for their number. Source: Holm 1979, Scand J Statist 6:65."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, position in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        corrected[position] = largest
    return corrected


def _aligned(predictions: dict[str, Predictions]) -> dict[str, Predictions]:
    """The predictions in one order of slices."""
    order = sorted(next(iter(predictions.values())).table["path"])
    aligned = {}
    for model, each in predictions.items():
        if sorted(each.table["path"]) != order:
            raise DatasetError(
                f"“{model}” was not tested on the same slices as the others, so a paired test is not sound."
            )
        aligned[model] = each.in_order(order)
    reference = next(iter(aligned.values())).table
    for model, each in aligned.items():
        same_labels = (each.table["label"] == reference["label"]).all()
        pairs = pd.DataFrame({"one": reference["series"], "two": each.table["series"]}).drop_duplicates()
        if not same_labels or pairs["one"].duplicated().any() or pairs["two"].duplicated().any():
            raise DatasetError(
                f"“{model}” was tested with other labels or another grouping of slices into scans, so a paired test is "
                "not sound."
            )
    return aligned


def _metric_of(counted: intervals.SeriesCounts, weights: np.ndarray, name: str) -> np.ndarray:
    """One count-based metric under many weightings of the series: (n, S) -> (n,)."""
    return _rate_of(intervals.resampled_confusion(counted, weights), counted, name)


def _rate_of(confusion: np.ndarray, counted: intervals.SeriesCounts, name: str) -> np.ndarray:
    rates = evaluation.rates(confusion)
    if name in intervals.OVERALL:
        return rates[name]
    kind, *rest = name.split(".")
    if kind == "per_label":
        label, rate = rest
        return rates[rate][..., counted.labels.index(label)]
    return rates[f"{kind}_{rest[0]}"]


def _swap_test(one: intervals.SeriesCounts, two: intervals.SeriesCounts, name: str, seed: int) -> float:
    """Two-sided p value; counts the observed arrangement among the random ones, so it is never 0."""
    swapped = np.random.default_rng([seed, 1]).integers(0, 2, (N_SWAPS, len(one.owner))).astype(float)
    swapped = np.concatenate([np.zeros((1, len(one.owner))), swapped])  # first: as observed
    first, second = one.confusion.astype(float), two.confusion.astype(float)
    moved = np.einsum("bs,sij->bij", swapped, second - first, optimize=True)
    difference = _rate_of(first.sum(axis=0) + moved, one, name) - _rate_of(second.sum(axis=0) - moved, two, name)
    return float((np.abs(difference) >= np.abs(difference[0]) - 1e-12).mean())
