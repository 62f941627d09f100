"""Prediction sets: all labels that cannot be ruled out, such as "Normal or Cyst", so that few sets lack the true label.

Split conformal prediction with a threshold for each label (Mondrian), so that every label is covered and not just the frequent ones.
Scans and not slices are exchangeable: each scan weighs the same, and the correction for a finite sample counts scans. What the sets are
worth on unseen scans is measured nested, as in `abstention`. Sources: Vovk 2012, arXiv:1209.2673 (label-conditional); Dunn et al.
2018, arXiv:1809.07441 (groups of dependent observations, pooled by their distribution functions).
"""

from typing import Any

import numpy as np

from kidney_core.metrics import intervals
from kidney_core.metrics.abstention import scan_groups
from kidney_core.metrics.predictions import Predictions

LEVEL = 0.9  # of the slices of a label, whose sets are to hold it


def describe(predictions: Predictions, protocol: str, *, level: float = LEVEL) -> dict[str, Any]:
    """The entry `prediction_sets` of a card.

    Returns: protocol; level; thresholds, by label the lowest probability at which it is in a set; and, nested: covered, by label the
    share of its slices whose set holds it; intervals, the 95 % interval of each; sizes, the shares of sets of 0, 1, 2, … labels; mean_size.
    """
    series, _ = predictions.series_positions()
    n_labels, groups = len(predictions.labels), scan_groups(predictions, series)
    is_in_set = np.zeros((len(predictions), n_labels), bool)
    for group in np.unique(groups):
        inside = groups == group
        limits = _thresholds(predictions.subset(~inside), series[~inside], level)
        is_in_set[inside] = predictions.probabilities[inside] >= limits
    holds_truth = is_in_set[np.arange(len(predictions)), predictions.y_true]
    sizes = np.bincount(is_in_set.sum(axis=1), minlength=n_labels + 1) / len(predictions)
    return {
        "protocol": protocol,
        "level": level,
        "thresholds": dict(zip(predictions.labels, _thresholds(predictions, series, level).tolist(), strict=True)),
        "covered": {
            label: round(float(holds_truth[predictions.y_true == position].mean()), 4)
            for position, label in enumerate(predictions.labels)
            if (predictions.y_true == position).any()
        },
        "intervals": {
            label: _interval(holds_truth[own], series[own])
            for position, label in enumerate(predictions.labels)
            if (own := predictions.y_true == position).any()
        },
        "sizes": [round(float(share), 4) for share in sizes],
        "mean_size": round(float(is_in_set.sum(axis=1).mean()), 3),
    }


def _interval(is_covered: np.ndarray, series: np.ndarray) -> list[float | None]:
    """The 95 % interval of a coverage by resampling scans; [None, None] where there are too few of them, or all agree."""
    drawn = intervals.resampled_means(is_covered.astype(float), series)
    sizes = np.unique(series, return_counts=True)[1]
    found = intervals.interval_of(float(is_covered.mean()), drawn, sound=intervals.has_enough_series(sizes))
    return [None if end is None else round(end, 4) for end in (found.low, found.high)]


def set_of(entry: dict[str, Any], probabilities: dict[str, float]) -> tuple[str, ...]:
    """The labels that a card's entry cannot rule out, most probable first; may be empty.

    Args:
        probabilities: label -> its calibrated probability.
    """
    kept = [label for label, value in probabilities.items() if value >= entry["thresholds"][label]]
    return tuple(sorted(kept, key=lambda label: -probabilities[label]))


def _thresholds(predictions: Predictions, series: np.ndarray, level: float) -> np.ndarray:
    """(n_labels,) the probability that a label has on `level` of its slices, each scan weighing the same; 0 with too few scans."""
    limits = np.zeros(len(predictions.labels))
    for position in range(len(predictions.labels)):
        own = predictions.y_true == position
        scans, of_scan, sizes = np.unique(series[own], return_inverse=True, return_counts=True)
        if level * (len(scans) + 1) > len(scans):
            continue
        rank = level * (len(scans) + 1) / len(scans)
        probability = predictions.probabilities[own, position]
        order = np.argsort(-probability, kind="stable")
        weight = np.cumsum(1 / sizes[of_scan[order]] / len(scans))
        limits[position] = probability[order][min(np.searchsorted(weight, rank - 1e-9), len(order) - 1)]
    return limits
