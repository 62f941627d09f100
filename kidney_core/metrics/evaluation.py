"""Metrics of predictions. Rows are true, columns are predicted; every rate is derived from counts."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from kidney_core.metrics import calibration
from kidney_core.metrics.predictions import Predictions


def confusion_matrix(y_true: np.ndarray, y_pred: np.ndarray, n_labels: int) -> np.ndarray:
    """(n_labels, n_labels) counts of (N,) positions of labels, rows true, columns predicted."""
    return np.bincount(y_true * n_labels + y_pred, minlength=n_labels**2).reshape(n_labels, n_labels)


def rates(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Every rate that counts give: rows true, columns predicted, any number of matrices at once.

    Args:
        confusion: (..., n_labels, n_labels) counts or weighted counts.

    Returns:
        accuracy, balanced_accuracy and {macro,weighted}_{precision,recall,f1} of shape (...,);
        precision, recall, f1 and support of shape (..., n_labels). Balanced accuracy and macro averages are
        over the labels that have slices. A rate without a denominator is 0, as in scikit-learn.
    """
    counts = np.asarray(confusion, float)
    hits, support, predicted = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1), counts.sum(axis=-2)
    per_label = {
        "precision": _rate(hits, predicted),
        "recall": _rate(hits, support),
        "f1": _rate(2 * hits, support + predicted),
    }
    present = support > 0
    overall = {"accuracy": _rate(hits.sum(axis=-1), support.sum(axis=-1))}
    for name, values in per_label.items():
        overall[f"macro_{name}"] = _rate((values * present).sum(axis=-1), present.sum(axis=-1))
        overall[f"weighted_{name}"] = _rate((values * support).sum(axis=-1), support.sum(axis=-1))
    return {**overall, "balanced_accuracy": overall["macro_recall"], **per_label, "support": support}


def metrics(predictions: Predictions) -> dict[str, Any]:
    """Everything a page or a card shows of predictions.

    Returns:
        n, accuracy, balanced_accuracy, calibration_error (see `calibration.reliability`), confusion (counts),
        per_label {precision, recall, f1, support, roc_auc, average_precision}, macro and weighted {precision,
        recall, f1, roc_auc, average_precision}; see `rates`. An AUC or AP without both classes is None.
    """
    labels, y_true, probabilities = predictions.labels, predictions.y_true, predictions.probabilities
    counts = confusion_matrix(y_true, predictions.y_pred, len(labels))
    rate = rates(counts)
    ranking = {
        name: [_ranking_score(score, y_true == i, probabilities[:, i]) for i in range(len(labels))]
        for name, score in (("roc_auc", roc_auc_score), ("average_precision", average_precision_score))
    }
    averages: dict[str, dict[str, float | None]] = {
        kind: {name: float(rate[f"{kind}_{name}"]) for name in ("precision", "recall", "f1")}
        for kind in ("macro", "weighted")
    }
    for name, values in ranking.items():
        averages["macro"][name] = _average(values, np.ones(len(labels)))
        averages["weighted"][name] = _average(values, rate["support"])
    return {
        "n": int(counts.sum()),
        "accuracy": float(rate["accuracy"]),
        "balanced_accuracy": float(rate["balanced_accuracy"]),
        "calibration_error": calibration.reliability(probabilities, y_true).error,
        "labels": list(labels),
        "confusion": counts.tolist(),
        "per_label": {
            label: {
                **{name: float(rate[name][i]) for name in ("precision", "recall", "f1")},
                "support": int(rate["support"][i]),
                **{name: values[i] for name, values in ranking.items()},
            }
            for i, label in enumerate(labels)
        },
        **averages,
    }


def mixed_series_note(scans: Predictions) -> str:
    """Why `Predictions.per_series` has more rows than scans, in a sentence; empty where it has not."""
    n_more = len(scans) - scans.n_series()
    if not n_more:
        return ""
    some = "One scan has" if n_more == 1 else f"{n_more} scans have"
    return f"{some} slices of two labels and {'counts' if n_more == 1 else 'count'} once for each."


def one_vs_rest(predictions: Predictions) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(label, (N,) bool is it, (N,) its probability) of each label that some slices have and others have not."""
    return [
        (label, is_label, predictions.probabilities[:, i])
        for i, label in enumerate(predictions.labels)
        if 0 < (is_label := predictions.y_true == i).sum() < len(is_label)
    ]


def report_table(metrics: dict[str, Any]) -> pd.DataFrame:
    """The classification report of `metrics` as a table: labels, then macro and weighted averages."""
    rows = dict(metrics["per_label"])
    for name in ("macro", "weighted"):
        rows[f"{name} average"] = {**metrics[name], "support": metrics["n"]}
    table = pd.DataFrame.from_dict(rows, orient="index")
    # Cards of 0.2.0 hold no average precision.
    return table.reindex(columns=["precision", "recall", "f1", "support", "roc_auc", "average_precision"])


def _rate(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _ranking_score(
    measure: Callable[[np.ndarray, np.ndarray], float], is_label: np.ndarray, probability: np.ndarray
) -> float | None:
    return float(measure(is_label, probability)) if 0 < is_label.sum() < len(is_label) else None


def _average(values: list[float | None], weights: np.ndarray) -> float | None:
    """The weighted mean of the values that exist."""
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    if not sum(weight for _, weight in known):
        return None
    return float(np.average([value for value, _ in known], weights=[weight for _, weight in known]))
