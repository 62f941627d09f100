"""Model against model: hand-computed p values, and what a fair test must not do."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import permutation_test

from kidney_core.common.errors import DatasetError
from kidney_core.metrics import comparison
from kidney_core.metrics.predictions import Predictions
from tests.metrics.test_intervals import LABELS, made_predictions


def answers(labels, predicted, series):
    """A prediction table of certain answers."""
    rows = pd.DataFrame({"path": [str(i) for i in range(len(labels))], "label": labels, "series": series})
    one_hot = np.array([[float(label == answer) for label in LABELS] for answer in predicted])
    return Predictions.from_probabilities(rows, one_hot, LABELS)


def test_holm_by_hand():
    assert comparison.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert comparison.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert comparison.holm([]) == []


def test_mcnemar_by_hand():
    """6 slices only the first gets right, 1 only the second: p = 2 (C(7,0) + C(7,1)) / 2^7."""
    labels = ["Cyst"] * 8
    one = answers(labels, ["Cyst"] * 6 + ["Stone", "Cyst"], range(8))
    two = answers(labels, ["Stone"] * 6 + ["Cyst", "Cyst"], range(8))
    assert comparison.mcnemar(one, two) == pytest.approx(2 * (1 + 7) / 2**7)
    assert comparison.mcnemar(one, one) == 1.0


def test_swap_test_by_hand():
    """Three series, the first model better in each: of the 8 swaps, two are as extreme, so p = 1/4."""
    labels, series = ["Cyst"] * 6, [0, 0, 1, 1, 2, 2]
    one = answers(labels, ["Cyst"] * 6, series)
    two = answers(labels, ["Stone"] * 6, series)
    (found,) = comparison.compare({"one": one, "two": two}, "accuracy")
    assert found.difference.value == 1.0
    assert found.p_series == pytest.approx(0.25, abs=0.02)
    assert found.p_slices == pytest.approx(2 / 2**6)


def test_a_model_against_itself_differs_by_nothing():
    predictions = made_predictions()
    shuffled = Predictions.from_table(predictions.table.sample(frac=1, random_state=0))
    (found,) = comparison.compare({"one": predictions, "same": shuffled}, "macro.f1")
    assert found.difference == comparison.Interval(0.0, 0.0, 0.0)
    assert found.p_series == found.p_corrected == found.p_slices == 1.0


def test_a_better_model_is_found_and_three_models_make_three_corrected_pairs():
    tables = {name: made_predictions(n_series=60, skill=skill) for name, skill in (("a", 3.0), ("b", 0.5), ("c", 0.4))}
    found = comparison.compare(tables, "balanced_accuracy")
    assert [(each.first, each.second) for each in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found[0].p_corrected < 0.01
    assert found[0].difference.low > 0
    assert all(each.p_corrected >= each.p_series for each in found)


def test_the_swap_test_is_right_about_as_often_as_it_says():
    """Two equally good models, many times: p below 0.2 in about every fifth case, not more."""
    below = 0
    for trial in range(60):
        asked = made_predictions(n_series=16, seed=trial)
        labels, series = asked.table["label"].to_numpy(), asked.series
        rng = np.random.default_rng(trial)
        one, two = (answers(labels, rng.choice(LABELS, len(labels)), series) for _ in range(2))
        (found,) = comparison.compare({"one": one, "two": two}, "accuracy")
        below += found.p_series < 0.2
    assert 3 <= below <= 22  # binomial(60, 0.2): 12, and nearly always within 3 to 22


@pytest.mark.parametrize(
    "change",
    [
        lambda predictions: predictions.with_columns(series=0),
        lambda predictions: predictions.with_columns(series=np.arange(len(predictions))),
        lambda predictions: predictions.with_columns(label="Cyst"),
    ],
)
def test_compare__error_other_labels_or_another_grouping(change):
    predictions = made_predictions()
    with pytest.raises(DatasetError, match="other labels or another grouping"):
        comparison.compare({"one": predictions, "two": change(predictions)}, "accuracy")


def test_compare__error_different_slices():
    predictions = made_predictions()
    with pytest.raises(DatasetError, match="“two” was not tested on the same slices"):
        comparison.compare({"one": predictions, "two": predictions.subset(np.arange(len(predictions)) > 0)}, "accuracy")


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy"])
def test_the_swap_test_agrees_with_scipy(name):
    """SciPy's paired permutation test, given the whole scans as its samples."""
    asked = made_predictions(n_series=16, seed=4)
    labels, series = asked.table["label"].to_numpy(object), asked.series
    rng = np.random.default_rng(1)
    one = answers(labels, np.where(rng.random(len(labels)) < 0.55, labels, "Cyst"), series)
    two = answers(labels, np.where(rng.random(len(labels)) < 0.35, labels, "Cyst"), series)
    (found,) = comparison.compare({"one": one, "two": two}, name)
    right = [each.is_right.astype(float) for each in (one, two)]
    n_of = pd.Series(labels).map(pd.Series(labels).value_counts()).to_numpy() * 4  # four classes, weighted alike
    weight = np.full(len(labels), 1 / len(labels)) if name == "accuracy" else 1 / n_of
    per_scan = [np.bincount(series, share * weight) for share in right]
    reference = permutation_test(
        per_scan,
        lambda a, b, axis: np.sum(a, axis=axis) - np.sum(b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    print(f"{name}: p={found.p_series:.4f}, SciPy's exact p={reference.pvalue:.4f}")
    assert found.difference.value == pytest.approx(reference.statistic)
    assert found.p_series == pytest.approx(reference.pvalue, abs=0.006)
