"""Prediction sets hold the true label as often as they promise, for every label, on scans that did not set the thresholds."""

import numpy as np
import pandas as pd
import pytest

from kidney_core.metrics import prediction_sets
from kidney_core.metrics.predictions import Predictions

LABELS = ("Cyst", "Normal", "Stone", "Tumor")


def predictions_of(n_scans=60, per_scan=10, *, seed=0, sharpness=2.0):
    """Scans whose slices err together; Tumor is the hardest label."""
    rng = np.random.default_rng(seed)
    rows, logits = [], []
    for scan in range(4 * n_scans):
        label = scan % 4
        of_scan = rng.normal(0, 1.5, 4)
        for _ in range(per_scan):
            own = of_scan + rng.normal(0, 0.5, 4)
            own[label] += sharpness * (0.5 if label == 3 else 1)
            logits.append(own)
            rows.append({"label": LABELS[label], "series": scan, "fold": (scan // 4) % 5})
    values = np.exp(logits)
    return Predictions.from_probabilities(pd.DataFrame(rows), values / values.sum(axis=1, keepdims=True), LABELS)


def test_every_label_is_covered_on_new_scans():
    entry = prediction_sets.describe(predictions_of(), "cross-validated")
    new = predictions_of(400, seed=1)
    sets = [prediction_sets.set_of(entry, dict(zip(LABELS, row, strict=True))) for row in new.probabilities]
    held = np.array([LABELS[truth] in each for truth, each in zip(new.y_true, sets, strict=True)])
    for position, label in enumerate(LABELS):
        assert held[new.y_true == position].mean() == pytest.approx(0.9, abs=0.06)
        assert entry["covered"][label] == pytest.approx(0.9, abs=0.06)
    # The hardest label is let in at a lower probability.
    assert entry["thresholds"]["Tumor"] < entry["thresholds"]["Normal"]
    assert entry["mean_size"] == pytest.approx(np.mean([len(each) for each in sets]), abs=0.25)
    assert sum(entry["sizes"]) == pytest.approx(1, abs=1e-3)


def test_a_long_scan_weighs_as_much_as_a_short_one():
    low, high = np.array([0.1, 0.3, 0.3, 0.3]), np.array([0.7, 0.1, 0.1, 0.1])
    rows = [("Cyst", 0)] * 500 + [("Cyst", scan) for scan in range(1, 40)]
    probabilities = np.array([low] * 500 + [high] * 39)
    table = pd.DataFrame(rows, columns=["label", "series"])
    entry = prediction_sets.describe(Predictions.from_probabilities(table, probabilities, LABELS), "grouped")
    assert entry["thresholds"]["Cyst"] == pytest.approx(0.7)


def test_with_too_few_scans_a_label_is_never_ruled_out():
    table = pd.DataFrame({"label": ["Cyst"] * 8, "series": range(8)})
    entry = prediction_sets.describe(Predictions.from_probabilities(table, np.full((8, 4), 0.25), LABELS), "grouped")
    assert entry["thresholds"]["Cyst"] == 0
    assert prediction_sets.set_of(entry, {"Cyst": 0.01, "Normal": 0.9, "Stone": 0.05, "Tumor": 0.04})[0] == "Normal"
