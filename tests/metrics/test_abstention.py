"""Abstention: thresholds by label that keep their promise on scans that did not choose them."""

import numpy as np
import pandas as pd
import pytest

from kidney_core.metrics import abstention
from kidney_core.metrics.predictions import Predictions

LABELS = ("Cyst", "Normal", "Tumor")


def predictions_of(scans, *, n_slices=10, folds=True):
    """Of (label, predicted, confidence) a scan, the same for all its slices."""
    rows, probabilities = [], []
    for number, (label, predicted, confidence) in enumerate(scans):
        p = np.full(len(LABELS), (1 - confidence) / 2)
        p[LABELS.index(predicted)] = confidence
        rows += [{"path": f"{number}-{i}", "label": label, "series": number, "plane": "axial"} for i in range(n_slices)]
        probabilities += [p] * n_slices
    table = pd.DataFrame(rows)
    if folds:
        table["fold"] = table["series"] % 5
    return Predictions.from_probabilities(table, np.array(probabilities), LABELS)


def test_a_label_is_answered_from_the_confidence_on_that_kept_its_error():
    sure = [("Cyst", "Cyst", 0.9)] * 30 + [("Normal", "Normal", 0.95)] * 30
    unsure = [("Cyst", "Cyst", 0.6), ("Tumor", "Cyst", 0.6)] * 10  # half of these are wrong
    entry = abstention.describe(predictions_of(sure + unsure), "cross-validated")
    assert entry["thresholds"]["Cyst"] == pytest.approx(0.9)
    assert entry["thresholds"]["Normal"] == pytest.approx(0.95)
    assert entry["thresholds"]["Tumor"] is None  # never predicted
    assert entry["error"] == 0
    assert entry["coverage"] == pytest.approx(600 / 800)
    assert entry["by_label"]["Cyst"]["n_scans"] == 30


def test_a_label_whose_nested_error_is_too_high_is_never_answered():
    """Every fold but one is right; what the others allow is wrong there."""
    scans = [("Normal" if number % 5 == 0 and number < 60 else "Cyst", "Cyst", 0.9) for number in range(100)]
    tested = predictions_of(scans)
    rows = tested.table.assign(fold=np.where(tested.table["label"] == "Normal", 0, 1 + tested.table["series"] % 4))
    entry = abstention.describe(Predictions.from_probabilities(rows, tested.probabilities, LABELS), "cross-validated")
    assert entry["by_label"]["Cyst"]["error"] > 0.1
    assert entry["thresholds"]["Cyst"] is None
    assert entry["coverage"] == 0
    assert entry["error"] is None


def test_few_scans_give_no_threshold_and_no_answer_is_given_below_one_half():
    few = abstention.describe(predictions_of([("Cyst", "Cyst", 0.9)] * 4 + [("Normal", "Normal", 0.9)] * 30), "grouped")
    assert few["thresholds"]["Cyst"] is None
    assert few["by_label"]["Cyst"]["interval"] == [None, None]
    mixed = [("Cyst", "Cyst", 0.4)] * 30 + [("Cyst", "Cyst", 0.8)] * 30
    weak = abstention.describe(predictions_of(mixed), "grouped")
    assert weak["thresholds"]["Cyst"] == 0.5
    assert weak["coverage"] == 0.5


def test_missed_lesions_are_those_that_are_answered_normal():
    scans = [("Normal", "Normal", 0.9)] * 48 + [("Tumor", "Normal", 0.9)] * 2 + [("Tumor", "Tumor", 0.9)] * 8
    entry = abstention.describe(predictions_of(scans, folds=False), "grouped")
    assert entry["missed"] == {"Cyst": 0.0, "Tumor": 0.2} or entry["missed"] == {"Tumor": 0.2}
    low, high = entry["by_label"]["Normal"]["interval"]
    assert low < entry["by_label"]["Normal"]["error"] == 0.04 < high


def test_cards_of_0_5_have_one_threshold_for_all_labels():
    assert abstention.threshold_of({"threshold": 0.7}, "Cyst") == 0.7
    assert abstention.threshold_of({"threshold": None}, "Cyst") is None
    assert abstention.threshold_of({"thresholds": {"Cyst": 0.6, "Stone": None}}, "Cyst") == 0.6
    assert abstention.threshold_of({"thresholds": {"Cyst": 0.6, "Stone": None}}, "Stone") is None
