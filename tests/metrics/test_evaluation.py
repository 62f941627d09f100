"""Figures against hand-computed cases and scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from kidney_core.metrics import evaluation
from kidney_core.metrics.predictions import Predictions

LABELS = ("Cyst", "Normal", "Stone")


def predictions_of(y_true, probabilities, labels=LABELS):
    rows = pd.DataFrame({"path": [str(i) for i in range(len(y_true))], "label": y_true})
    return Predictions.from_probabilities(rows, np.array(probabilities, float), labels)


def test_figures_by_hand():
    # true Cyst: 2 right, 1 called Normal; true Normal: 1 right; no Stone anywhere.
    shown = predictions_of(
        ["Cyst", "Cyst", "Cyst", "Normal"], [[0.9, 0.1, 0], [0.6, 0.4, 0], [0.2, 0.8, 0], [0.3, 0.7, 0]]
    )
    found = evaluation.metrics(shown)
    assert found["confusion"] == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["per_label"]["Cyst"]["precision"] == 1.0
    assert found["per_label"]["Cyst"]["recall"] == pytest.approx(2 / 3)
    assert found["per_label"]["Cyst"]["f1"] == pytest.approx(0.8)
    assert found["per_label"]["Normal"]["precision"] == 0.5
    rates = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert found["per_label"]["Stone"] == {**rates, "roc_auc": None, "average_precision": None}
    # Cyst scores of the true ones .9 .6 .2 against .3: two of three pairs in order.
    assert found["per_label"]["Cyst"]["roc_auc"] == pytest.approx(2 / 3)
    # From the top: right, right, wrong, right.
    assert found["per_label"]["Cyst"]["average_precision"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    # Confidences .9 .6 .8 .7, each alone in its bin; the third is wrong.
    assert found["calibration_error"] == pytest.approx((0.1 + 0.4 + 0.8 + 0.3) / 4)
    assert found["macro"]["recall"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["weighted"]["precision"] == pytest.approx((3 * 1.0 + 1 * 0.5) / 4)


def test_figures_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    y_true = rng.choice(LABELS, 300, p=[0.6, 0.3, 0.1])
    probabilities = rng.dirichlet([1, 1, 1], 300)
    found = evaluation.metrics(predictions_of(y_true, probabilities))
    y_pred = np.array(LABELS)[probabilities.argmax(1)]
    reference = metrics.classification_report(y_true, y_pred, labels=LABELS, output_dict=True)
    for label in LABELS:
        for ours, theirs in (
            ("precision", "precision"),
            ("recall", "recall"),
            ("f1", "f1-score"),
            ("support", "support"),
        ):
            assert found["per_label"][label][ours] == pytest.approx(reference[label][theirs])
    for average in ("macro", "weighted"):
        assert found[average]["f1"] == pytest.approx(reference[f"{average} avg"]["f1-score"])
        area = metrics.roc_auc_score(y_true, probabilities, multi_class="ovr", average=average, labels=LABELS)
        assert found[average]["roc_auc"] == pytest.approx(area)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y_true, y_pred))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y_true, y_pred))


def test_report_table_has_labels_then_averages():
    shown = evaluation.report_table(evaluation.metrics(predictions_of(["Cyst", "Stone"], [[1, 0, 0], [0, 0, 1]])))
    assert shown.index.tolist() == ["Cyst", "Normal", "Stone", "macro average", "weighted average"]
    assert shown.loc["macro average", "support"] == 2


def test_a_series_of_two_labels_is_explained():
    rows = pd.DataFrame({"label": ["a", "a", "b"], "series": [1, 2, 2]})
    predictions = Predictions.from_probabilities(rows, np.full((3, 2), 0.5), ("a", "b"))
    assert evaluation.mixed_series_note(predictions.per_series()) == (
        "One scan has slices of two labels and counts once for each."
    )
    assert evaluation.mixed_series_note(predictions.subset(np.array([True, True, False])).per_series()) == ""
