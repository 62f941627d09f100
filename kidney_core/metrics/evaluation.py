"""Figures from predictions. Rows are true, columns are predicted; every rate is derived from counts."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.metrics import confusion_matrix as _confusion_matrix

from kidney_core import calibration

PROBABILITY_PREFIX = "p_"


def prediction_table(rows: pd.DataFrame, probabilities: np.ndarray, labels: tuple[str, ...]) -> pd.DataFrame:
    """One row a slice: the columns of `rows`, then `predicted` and `p_<label>` for each label.

    Args:
        rows: (N, …) with the columns path, label, and series where known.
        probabilities: (N, n_labels), rows sum to 1.
    """
    table = rows.reset_index(drop=True).copy()
    table["predicted"] = np.array(labels, dtype=object)[probabilities.argmax(axis=1)]
    for column, label in enumerate(labels):
        table[PROBABILITY_PREFIX + label] = probabilities[:, column]
    return table


def labels_of(predictions: pd.DataFrame) -> tuple[str, ...]:
    """The labels of a prediction table, in the model's order."""
    return tuple(name[len(PROBABILITY_PREFIX) :] for name in predictions.columns if name.startswith(PROBABILITY_PREFIX))


def probabilities_of(predictions: pd.DataFrame) -> np.ndarray:
    """(N, n_labels) probabilities of a prediction table."""
    return predictions[[PROBABILITY_PREFIX + label for label in labels_of(predictions)]].to_numpy(float)


def uncalibrated(predictions: pd.DataFrame) -> np.ndarray:
    """(N, n_labels) probabilities as the network gave them, before the temperature in the table's column `temperature`."""
    return calibration.calibrate(probabilities_of(predictions), 1 / predictions["temperature"].to_numpy()[:, None])


def fitting_temperature(predictions: pd.DataFrame) -> float:
    """The temperature that calibrates these answers best, whatever the one in their column `temperature` is."""
    return calibration.fit_temperature(uncalibrated(predictions), true_positions(predictions))


def true_positions(predictions: pd.DataFrame) -> np.ndarray:
    """(N,) position of each slice's true label among the model's labels.

    Raises: ValueError for a label that the model does not know.
    """
    position = {label: i for i, label in enumerate(labels_of(predictions))}
    unknown = set(predictions["label"]) - set(position)
    if unknown:
        raise ValueError(f"label must be one of {tuple(position)}, got {sorted(unknown)[0]!r}")
    return predictions["label"].map(position).to_numpy(np.int64)


def confusion_matrix(y_true: np.ndarray, y_pred: np.ndarray, labels: tuple[str, ...]) -> np.ndarray:
    """(n_labels, n_labels) counts, rows true, columns predicted."""
    return _confusion_matrix(y_true, y_pred, labels=list(labels))


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
    found = {
        "precision": _rate(hits, predicted),
        "recall": _rate(hits, support),
        "f1": _rate(2 * hits, support + predicted),
    }
    present = support > 0
    overall = {"accuracy": _rate(hits.sum(axis=-1), support.sum(axis=-1))}
    for name, values in list(found.items()):
        overall[f"macro_{name}"] = _rate((values * present).sum(axis=-1), present.sum(axis=-1))
        overall[f"weighted_{name}"] = _rate((values * support).sum(axis=-1), support.sum(axis=-1))
    return {**overall, "balanced_accuracy": overall["macro_recall"], **found, "support": support}


def figures(predictions: pd.DataFrame) -> dict[str, Any]:
    """Everything a page or a card shows of a prediction table.

    Returns:
        n, accuracy, balanced_accuracy, calibration_error (see `calibration.reliability`), confusion (counts),
        per_label {precision, recall, f1, support, roc_auc, average_precision}, macro and weighted {precision,
        recall, f1, roc_auc, average_precision}; see `rates`. An area without both classes is None.
    """
    labels = labels_of(predictions)
    y_true = predictions["label"].to_numpy(object)
    counts = confusion_matrix(y_true, predictions["predicted"].to_numpy(object), labels)
    probabilities = probabilities_of(predictions)
    found = rates(counts)
    areas = {
        name: [_area(score, y_true == label, probabilities[:, i]) for i, label in enumerate(labels)]
        for name, score in (("roc_auc", roc_auc_score), ("average_precision", average_precision_score))
    }
    averages = {
        kind: {name: float(found[f"{kind}_{name}"]) for name in ("precision", "recall", "f1")}
        for kind in ("macro", "weighted")
    }
    for name, values in areas.items():
        averages["macro"][name] = _average(values, np.ones(len(labels)))
        averages["weighted"][name] = _average(values, found["support"])
    return {
        "n": int(counts.sum()),
        "accuracy": float(found["accuracy"]),
        "balanced_accuracy": float(found["balanced_accuracy"]),
        "calibration_error": calibration.reliability(probabilities, true_positions(predictions)).error,
        "labels": list(labels),
        "confusion": counts.tolist(),
        "per_label": {
            label: {
                **{name: float(found[name][i]) for name in ("precision", "recall", "f1")},
                "support": int(found["support"][i]),
                **{name: values[i] for name, values in areas.items()},
            }
            for i, label in enumerate(labels)
        },
        **averages,
    }


def per_series(predictions: pd.DataFrame) -> pd.DataFrame:
    """One row a series: the mean of its slices' probabilities, and its label.

    Args:
        predictions: with the column `series`; a series of two labels is answered once for each.

    Returns: a prediction table with the columns series, label, n_slices, predicted, p_<label>.
    """
    labels = labels_of(predictions)
    columns = [PROBABILITY_PREFIX + label for label in labels]
    grouped = predictions.groupby(["series", "label"], sort=False)
    rows = grouped.size().rename("n_slices").reset_index()
    return prediction_table(rows, grouped[columns].mean().to_numpy(), labels)


def split_series(table: pd.DataFrame) -> str:
    """Why there are more rows in a table of `per_series` than series, in a sentence; empty where there are not."""
    n_more = len(table) - table["series"].nunique()
    if not n_more:
        return ""
    some = "One series has" if n_more == 1 else f"{n_more} series have"
    return f"{some} slices of two labels and {'counts' if n_more == 1 else 'count'} once for each."


def report_table(result: dict[str, Any]) -> pd.DataFrame:
    """The classification report of `figures` as a table: labels, then macro and weighted averages."""
    rows = dict(result["per_label"])
    for name in ("macro", "weighted"):
        rows[f"{name} average"] = {**result[name], "support": result["n"]}
    table = pd.DataFrame.from_dict(rows, orient="index")
    # Cards of 0.2.0 hold no average precision.
    return table.reindex(columns=["precision", "recall", "f1", "support", "roc_auc", "average_precision"])


def _rate(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _area(measure: Callable[[np.ndarray, np.ndarray], float], is_label: np.ndarray, score: np.ndarray) -> float | None:
    return float(measure(is_label, score)) if 0 < is_label.sum() < len(is_label) else None


def _average(values: list[float | None], weights: np.ndarray) -> float | None:
    """The weighted mean of the values that exist."""
    known = [i for i, value in enumerate(values) if value is not None]
    if not known or not weights[known].sum():
        return None
    return float(np.average([values[i] for i in known], weights=weights[known]))
