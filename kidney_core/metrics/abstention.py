"""When a model abstains: a confidence threshold for each label, so that few of its answers are wrong on unseen scans.

The thresholds are chosen by resampling whole scans, since slices of a scan err together: in nine of ten resamples the error has to be
accepted. What they are worth is measured nested: the answers for each group of scans with thresholds that were chosen on the other
groups. A label whose nested error is above the accepted one is never answered. Sources: Geifman & El-Yaniv 2017, arXiv:1705.08500;
Bates et al. 2021, arXiv:2101.02703 (upper bounds of a risk); Stone 1974, JRSS B 36:111 (nested cross-validation).
"""

from typing import Any

import numpy as np

from kidney_core.common.labels import NORMAL
from kidney_core.metrics import intervals
from kidney_core.metrics.predictions import Predictions

ACCEPTED_ERROR = 0.1  # of the answers on unseen scans
MIN_SCANS = intervals.MIN_SERIES  # behind the answers of a label; an error rate of fewer says little
MIN_CONFIDENCE = 0.5  # an answer that is more probably wrong than right is not given, however few are wrong
_N_GROUPS = 5  # of scans, where predictions know no folds
_N_RESAMPLES = 500
_CERTAINTY = 90.0  # percent of the resamples in which a threshold keeps the accepted error


def describe(predictions: Predictions, protocol: str, *, accepted_error: float = ACCEPTED_ERROR) -> dict[str, Any]:
    """The entry `abstention` of a card.

    Returns: protocol; accepted_error; thresholds, by label (None where that label is never answered); and, all nested: coverage, the
    share of the slices that are answered; error, the share of these answers that is wrong, with its interval; by_label, of each
    label's answers n, n_scans, error and interval, also where they are too often wrong to be given; missed, of each lesion the share of
    its slices that is answered Normal.
    """
    series, _ = predictions.series_positions()
    y_true, y_pred, confidence = predictions.y_true, predictions.y_pred, predictions.probabilities.max(axis=1)
    everything = np.ones(len(y_true), bool)
    n_labels = len(predictions.labels)

    def fit(rows: np.ndarray) -> np.ndarray:
        return _thresholds(confidence[rows], y_pred[rows], y_true[rows], series[rows], n_labels, accepted_error)

    answered = np.zeros(len(y_true), bool)
    groups = scan_groups(predictions, series)
    for group in np.unique(groups):
        inside = groups == group
        answered |= inside & (confidence >= fit(~inside)[y_pred])
    is_wrong, by_label = y_pred != y_true, {}
    for position, label in enumerate(predictions.labels):
        own = answered & (y_pred == position)
        by_label[label] = {"n": int(own.sum()), "n_scans": len(np.unique(series[own])), **_error(is_wrong, own, series)}
    kept = {label for label, row in by_label.items() if row["n_scans"] >= MIN_SCANS and row["error"] <= accepted_error}
    thresholds = dict(zip(predictions.labels, fit(everything), strict=True))
    given = answered & np.isin(y_pred, [predictions.labels.index(label) for label in kept])
    return {
        "protocol": protocol,
        "accepted_error": accepted_error,
        "thresholds": {
            label: float(value) if label in kept and np.isfinite(value) else None for label, value in thresholds.items()
        },
        "coverage": round(float(given.mean()), 4),
        **_error(is_wrong, given, series),
        "by_label": by_label,
        "missed": _missed(predictions, given),
    }


def threshold_of(abstention: dict[str, Any], label: str) -> float | None:
    """The threshold of a label by a card's entry; None where it is never answered. Cards of 0.5 have one threshold for all labels."""
    value = abstention["thresholds"].get(label) if "thresholds" in abstention else abstention["threshold"]
    return None if value is None else float(value)


def scan_groups(predictions: Predictions, series: np.ndarray) -> np.ndarray:
    """(N,) the fold of each slice, or a group of whole scans."""
    if "fold" in predictions.table:
        return predictions.table["fold"].to_numpy()
    return series % _N_GROUPS


def _thresholds(
    confidence: np.ndarray,
    y_pred: np.ndarray,
    y_true: np.ndarray,
    series: np.ndarray,
    n_labels: int,
    accepted_error: float,
) -> np.ndarray:
    """(n_labels,) the lowest threshold at which the error of the answers is accepted in `_CERTAINTY` of the resamples; inf without one."""
    chosen = np.full(n_labels, np.inf)
    for label in range(n_labels):
        own = np.flatnonzero(y_pred == label)
        order = own[np.argsort(-confidence[own], kind="stable")]
        scans, of_scan = np.unique(series[order], return_inverse=True)
        if len(scans) < MIN_SCANS:
            continue
        weights = _resampled(len(scans))[:, of_scan]
        n_answers, n_wrong = np.cumsum(weights, axis=1), np.cumsum(weights * (y_true[order] != label), axis=1)
        error = np.percentile(n_wrong / np.maximum(n_answers, 1), _CERTAINTY, axis=0)
        n_scans = np.cumsum(np.isin(np.arange(len(order)), np.unique(of_scan, return_index=True)[1]))
        last_of_ties = np.append(np.diff(confidence[order]) != 0, True)
        accepted = np.flatnonzero((error <= accepted_error) & (n_scans >= MIN_SCANS) & last_of_ties)
        if len(accepted):
            chosen[label] = max(MIN_CONFIDENCE, confidence[order][accepted[-1]])
    return chosen


def _resampled(n_scans: int) -> np.ndarray:
    """How often each resample holds each scan, whatever its label: (n_resamples, n_scans)."""
    return intervals.draw_weights(np.zeros(n_scans, np.int64), _N_RESAMPLES).astype(np.float32)


def _error(is_wrong: np.ndarray, answered: np.ndarray, series: np.ndarray) -> dict[str, Any]:
    """The share of the answers that is wrong, and its 95 % interval by resampling scans; None where there are none, or too few."""
    if not answered.any():
        return {"error": None, "interval": [None, None]}
    error = round(float(is_wrong[answered].mean()), 4)
    if len(np.unique(series[answered])) < MIN_SCANS:
        return {"error": error, "interval": [None, None]}
    ends = np.percentile(intervals.resampled_means(is_wrong[answered], series[answered], _N_RESAMPLES), intervals.ENDS)
    return {"error": error, "interval": [round(float(end), 4) for end in ends]}


def _missed(predictions: Predictions, answered: np.ndarray) -> dict[str, float]:
    """Lesion -> the share of its slices that is answered Normal."""
    if NORMAL not in predictions.labels:
        return {}
    as_normal = answered & (predictions.y_pred == predictions.labels.index(NORMAL))
    return {
        label: round(float(as_normal[predictions.y_true == position].mean()), 4)
        for position, label in enumerate(predictions.labels)
        if label != NORMAL and (predictions.y_true == position).any()
    }
