"""Model against model on the same slices: paired tests of every figure, corrected for all that were made.

The unit is the series. If two models are equally good, swapping their predictions on a whole series changes
nothing; the p value is the share of random swaps whose difference is at least as large as the observed one.
McNemar's test on slices is given beside it and is optimistic, since slices of one scan are not independent.

Every pair is tested on the slices that both were tested on. Where the two group slices into scans differently, what either of them
joins is one unit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import binomtest

from kidney_core.common.errors import DatasetError
from kidney_core.metrics import evaluation, intervals, paired_areas
from kidney_core.metrics.intervals import Interval
from kidney_core.metrics.predictions import Predictions

N_SWAPS = 5000
ELSEWHERE = "They were tested on different data. Evaluate both on one folder, under “Your folder”."


@dataclass(frozen=True)
class Comparison:
    """One model against another, by one figure.

    Attributes:
        figure: in `intervals`' dotted names.
        difference: first minus second, with its 95 % interval by bootstrap over series where there are enough.
        p_series: of the swap test over series, uncorrected.
        p_corrected: the same, corrected over all pairs for this figure by Holm's method.
        p_corrected_all: the same, corrected over all pairs and all figures.
        p_slices: McNemar's exact test over slices, of right against wrong: optimistic; the same for every figure.
        n_slices, n_series: that both were tested on.
    """

    first: str
    second: str
    figure: str
    difference: Interval
    p_series: float
    p_corrected: float
    p_corrected_all: float
    p_slices: float
    n_slices: int
    n_series: int


@dataclass(frozen=True)
class LeftOut:
    """Two models that cannot be compared, and why, in a sentence."""

    first: str
    second: str
    reason: str


@dataclass(frozen=True)
class Compared:
    """Every pair of models: the tests that were made, by pair and then by figure, and the pairs that cannot be tested."""

    tests: list[Comparison]
    left_out: list[LeftOut]

    def of(self, figure: str) -> list[Comparison]:
        """The tests of one figure."""
        return [each for each in self.tests if each.figure == figure]


def figures_of(labels: Sequence[str]) -> tuple[str, ...]:
    """Every figure that models which know these labels can be compared by, in `intervals`' dotted names."""
    per_label = [f"per_label.{label}.{name}" for name in ("recall", "precision", "f1", "roc_auc") for label in labels]
    return ("accuracy", "balanced_accuracy", "macro.f1", "weighted.f1", *per_label)


def compare(
    predictions: Mapping[str, Predictions],
    figures: str | Sequence[str],
    *,
    data: Mapping[str, str] | None = None,
    n_resamples: int = intervals.N_RESAMPLES,
    seed: int = 0,
) -> Compared:
    """Every pair of models by some figures.

    Args:
        predictions: model -> its predictions, with the columns path and series.
        figures: of `figures_of`; one that a pair does not have, since a label has no slice, is left out for that pair.
        data: model -> what tells one dataset from another; equal file names in different datasets are not equal slices.
    """
    names = (figures,) if isinstance(figures, str) else tuple(figures)
    tests: list[Comparison] = []
    left_out: list[LeftOut] = []
    for first, second in combinations(predictions, 2):
        try:
            if data and data[first] != data[second]:
                raise DatasetError(ELSEWHERE)
            pair = paired(predictions[first], predictions[second])
        except DatasetError as error:
            left_out.append(LeftOut(first, second, str(error)))
            continue
        tests += _compare_pair(first, second, pair, names, n_resamples, seed)
    overall = holm([each.p_series for each in tests])
    tests = [replace(each, p_corrected_all=p) for each, p in zip(tests, overall, strict=True)]
    for name in names:
        rows = [row for row, each in enumerate(tests) if each.figure == name]
        for row, p in zip(rows, holm([tests[row].p_series for row in rows]), strict=True):
            tests[row] = replace(tests[row], p_corrected=p)
    return Compared(tests, left_out)


def compare_all(
    predictions: Mapping[str, Predictions],
    *,
    data: Mapping[str, str] | None = None,
    n_resamples: int = intervals.N_RESAMPLES,
    seed: int = 0,
) -> Compared:
    """Every pair of models by every figure that any of them has; see `compare`."""
    labels = dict.fromkeys(label for each in predictions.values() for label in each.labels)
    return compare(predictions, figures_of(tuple(labels)), data=data, n_resamples=n_resamples, seed=seed)


def paired(one: Predictions, two: Predictions) -> tuple[Predictions, Predictions]:
    """What two models predicted for the slices that both were tested on, in one order and with one grouping into scans.

    Raises: DatasetError where they know different labels, share no slice, or one of them has other labels for the slices.
    """
    if set(one.labels) != set(two.labels):
        raise DatasetError(f"They know different labels: {', '.join(one.labels)}, and {', '.join(two.labels)}.")
    for each in (one, two):
        if "path" not in each.table or each.series is None:
            raise DatasetError(
                "The slices or scans of one of them are unknown: an older version stored it. Publish it again."
            )
    shared = sorted(set(one.table["path"]) & set(two.table["path"]))
    if not shared:
        raise DatasetError("They have no test slice in common. Evaluate both on one folder, under “Your folder”.")
    first, second = one.in_order(shared), two.in_order(shared)
    if (first.table["label"].to_numpy() != second.table["label"].to_numpy()).any():
        raise DatasetError("The same slices had other labels when one of them was tested.")
    if first.labels != second.labels:
        order = [second.labels.index(label) for label in first.labels]
        known = second.table[[name for name in ("path", "label", "series") if name in second.table]]
        second = Predictions.from_probabilities(known, second.probabilities[:, order], first.labels)
    series = _joined(first.series_positions()[0], second.series_positions()[0])
    return first.with_columns(series=series), second.with_columns(series=series)


def _joined(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """(N,) the finest grouping that splits no group of either: (N,) positions each."""
    n_one, n_two = one.max() + 1, two.max() + 1
    edges = coo_array((np.ones(len(one)), (one, two + n_one)), shape=(n_one + n_two, n_one + n_two))
    return connected_components(edges, directed=False)[1][one]


def _compare_pair(
    first: str, second: str, pair: tuple[Predictions, Predictions], names: Sequence[str], n_resamples: int, seed: int
) -> list[Comparison]:
    """The tests of two models on the same slices; p values are not corrected yet."""
    one, two = (intervals.count_series(each) for each in pair)
    weights = intervals.draw_weights(one.owner, n_resamples, seed=seed)
    whole = np.ones((1, len(one.owner)))
    swapped = _swaps(len(one.owner), seed)
    rates = [evaluation.rates(intervals.resampled_confusion(each, weights)) for each in (one, two)]
    point = [evaluation.rates(intervals.resampled_confusion(each, whole)) for each in (one, two)]
    moved = [evaluation.rates(each) for each in _swapped_confusions(one, two, swapped)]
    p_slices, sizes = mcnemar(*pair), (len(pair[0]), len(one.owner))
    rows = []
    for name in names:
        label = name.split(".")[1] if name.startswith("per_label.") else None
        if label is not None and label not in pair[0].present_labels:
            continue
        if name.endswith(".roc_auc"):
            areas = paired_areas.PairedAreas.of(one, two, one.labels.index(label or ""))
            if areas is None:
                continue
            value, drawn, differences = areas.difference(whole)[0], areas.difference(weights), areas.swapped(swapped)
        else:
            value = float((_rate_of(point[0], one, name) - _rate_of(point[1], two, name))[0])
            drawn = _rate_of(rates[0], one, name) - _rate_of(rates[1], two, name)
            differences = _rate_of(moved[0], one, name) - _rate_of(moved[1], two, name)
        p = float((np.abs(differences) >= np.abs(differences[0]) - 1e-12).mean())
        found = _difference(float(value), drawn, is_sound=intervals.is_sound(one, name))
        rows.append(Comparison(first, second, name, found, p, p, p, p_slices, *sizes))
    return rows


def _difference(value: float, drawn: np.ndarray, *, is_sound: bool) -> Interval:
    known = drawn[~np.isnan(drawn)]
    if not is_sound or len(known) < 0.9 * len(drawn):
        return Interval(value, None, None)
    low, high = map(float, np.percentile(known, intervals.ENDS))
    return Interval(value, low, high)


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


def _rate_of(rates: dict[str, np.ndarray], counted: intervals.SeriesCounts, name: str) -> np.ndarray:
    """(n,) one figure of what `evaluation.rates` gives."""
    if name in intervals.OVERALL:
        return rates[name]
    kind, *rest = name.split(".")
    if kind == "per_label":
        label, rate = rest
        return rates[rate][..., counted.labels.index(label)]
    return rates[f"{kind}_{rest[0]}"]


def _swaps(n_series: int, seed: int) -> np.ndarray:
    """(1 + N_SWAPS, S) 1 where the two models change places; the first row is as observed, so that p is never 0."""
    swapped = np.random.default_rng([seed, 1]).integers(0, 2, (N_SWAPS, n_series)).astype(float)
    return np.concatenate([np.zeros((1, n_series)), swapped])


def _swapped_confusions(
    one: intervals.SeriesCounts, two: intervals.SeriesCounts, swapped: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(n, n_labels, n_labels) counts of what is called the first and the second model under each swap."""
    first, second = one.confusion.astype(float), two.confusion.astype(float)
    moved = np.einsum("bs,sij->bij", swapped, second - first, optimize=True)
    return first.sum(axis=0) + moved, second.sum(axis=0) - moved
