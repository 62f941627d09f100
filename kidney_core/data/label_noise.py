"""Label noise candidates: slices whose label the out-of-fold predictions of networks contradict with confidence.

Source of the rule: Northcutt et al. 2021, JAIR 70:1373 (confident learning): a label counts as contradicted where another one is at least
as probable as it is on average for slices that carry it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kidney_core.metrics.predictions import Predictions


def candidates(table: pd.DataFrame, predictions: Mapping[str, Predictions]) -> pd.DataFrame:
    """The slices whose label is contradicted, the most confident contradiction first.

    Args:
        table: of the dataset, with the columns path, label and series.
        predictions: network -> its predictions, each slice by a network that did not see its scan; the mean counts.

    Returns: rows (row, path, label, series, suggested, confidence, own_probability, n_networks); `row` is the position in the table.
    """
    joined = _mean_probabilities(table, list(predictions.values()))
    if joined is None:
        return pd.DataFrame(columns=_COLUMNS)
    rows, labels, probabilities, n_networks = joined
    own = np.array([labels.index(label) for label in table["label"].iloc[rows]])
    threshold = np.array(
        [probabilities[own == at, at].mean() if (own == at).any() else np.inf for at in range(len(labels))]
    )
    others = np.where(probabilities >= threshold, probabilities, 0.0)
    others[np.arange(len(own)), own] = 0
    contradicted = others.max(axis=1) > probabilities[np.arange(len(own)), own]
    found = table.iloc[rows[contradicted]][["path", "label", "series"]].assign(
        row=rows[contradicted],
        suggested=np.array(labels, dtype=object)[others[contradicted].argmax(axis=1)],
        confidence=others[contradicted].max(axis=1),
        own_probability=probabilities[np.arange(len(own)), own][contradicted],
        n_networks=n_networks[contradicted],
    )
    return found.sort_values("confidence", ascending=False, ignore_index=True)[_COLUMNS]


_COLUMNS = ["row", "path", "label", "series", "suggested", "confidence", "own_probability", "n_networks"]


def by_scan(table: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Candidates joined by scan, those with the largest share of contradicted slices first.

    Returns: rows (series, label, suggested, n_contradicted, n_slices, share, confidence, row): the most frequent suggestion, the mean
        confidence, and the row of its most confident slice.
    """
    columns = ["series", "label", "suggested", "n_contradicted", "n_slices", "share", "confidence", "row"]
    if not len(found):
        return pd.DataFrame(columns=columns)
    grouped = found.groupby(["series", "label"], sort=False)
    joined = grouped.agg(
        suggested=("suggested", lambda labels: labels.mode().iloc[0]),
        n_contradicted=("path", "size"),
        confidence=("confidence", "mean"),
        row=("row", "first"),
    ).reset_index()
    joined["n_slices"] = joined["series"].map(table.groupby("series").size())
    joined["share"] = joined["n_contradicted"] / joined["n_slices"]
    return joined.sort_values(["share", "confidence"], ascending=False, ignore_index=True)[columns]


def _mean_probabilities(
    table: pd.DataFrame, predictions: Sequence[Predictions]
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray, np.ndarray] | None:
    """(K,) rows with a prediction, the labels, (K, n_labels) mean probabilities, and (K,) by how many networks."""
    labels = tuple(sorted(set(table["label"])))
    row_of = {key: row for row, key in enumerate(zip(table["path"], table["label"], strict=True))}
    total, n_networks = np.zeros((len(table), len(labels))), np.zeros(len(table), int)
    for each in predictions:
        if not set(labels) <= set(each.labels):
            continue
        columns = [each.labels.index(label) for label in labels]
        keys = zip(each.table["path"], each.table["label"], strict=True)
        pairs = [(row_of[key], at) for at, key in enumerate(keys) if key in row_of]
        if not pairs:
            continue
        rows, ats = (np.array(numbers) for numbers in zip(*pairs, strict=True))
        total[rows] += each.probabilities[np.ix_(ats, np.array(columns))]
        n_networks[rows] += 1
    rows = np.flatnonzero(n_networks)
    return (rows, labels, total[rows] / n_networks[rows, None], n_networks[rows]) if len(rows) else None
