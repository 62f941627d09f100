"""Model against model: hand-computed p values, and what a fair test must not do."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import permutation_test, rankdata
from sklearn.metrics import roc_auc_score

from kidney_core.metrics import comparison, intervals, paired_areas
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
    (found,) = comparison.compare({"one": one, "two": two}, "accuracy").tests
    assert found.difference.value == 1.0
    assert found.p_series == pytest.approx(0.25, abs=0.02)
    assert found.p_slices == pytest.approx(2 / 2**6)


def test_a_model_against_itself_differs_by_nothing():
    predictions = made_predictions()
    shuffled = Predictions.from_table(predictions.table.sample(frac=1, random_state=0))
    (found,) = comparison.compare({"one": predictions, "same": shuffled}, "macro.f1").tests
    assert found.difference == comparison.Interval(0.0, 0.0, 0.0)
    assert found.p_series == found.p_corrected == found.p_slices == 1.0


def test_a_better_model_is_found_and_three_models_make_three_corrected_pairs():
    tables = {name: made_predictions(n_series=60, skill=skill) for name, skill in (("a", 3.0), ("b", 0.5), ("c", 0.4))}
    found = comparison.compare(tables, "balanced_accuracy").tests
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
        (found,) = comparison.compare({"one": one, "two": two}, "accuracy").tests
        below += found.p_series < 0.2
    assert 3 <= below <= 22  # binomial(60, 0.2): 12, and nearly always within 3 to 22


def test_a_pair_is_tested_on_the_slices_it_shares_whatever_else_is_chosen():
    """The third shares nothing with the others, and is named; the second lacks some slices of the first."""
    first = made_predictions(n_series=40)
    some = first.subset(first.series < 30)
    elsewhere = first.with_columns(path=[f"other/{i}" for i in range(len(first))])
    found = comparison.compare({"a": first, "b": some, "c": elsewhere}, ["accuracy", "macro.f1"])
    assert [(each.first, each.second, each.figure) for each in found.tests] == [
        ("a", "b", "accuracy"),
        ("a", "b", "macro.f1"),
    ]
    assert {(each.n_slices, each.n_series) for each in found.tests} == {(len(some), 30)}
    assert [(each.first, each.second) for each in found.left_out] == [("a", "c"), ("b", "c")]
    assert "no test slice in common" in found.left_out[0].reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda one: one.with_columns(label="Cyst"), "had other labels when one of them was tested"),
        (lambda one: Predictions.from_table(one.table.drop(columns="series")), "scans of one of them are unknown"),
        (lambda one: one.with_columns(p_Other=0.0), "know different labels: Cyst, Normal, Stone, Tumor, and Cyst"),
    ],
)
def test_what_cannot_be_compared_is_named_with_its_reason(change, reason):
    predictions = made_predictions()
    found = comparison.compare({"one": predictions, "two": change(predictions)}, "accuracy")
    assert not found.tests
    assert reason in found.left_out[0].reason


def test_equal_names_in_other_data_are_not_equal_slices():
    predictions = made_predictions()
    found = comparison.compare({"one": predictions, "two": predictions}, "accuracy", data={"one": "x", "two": "y"})
    assert not found.tests
    assert found.left_out == [comparison.LeftOut("one", "two", comparison.ELSEWHERE)]


def test_two_groupings_into_scans_are_joined():
    """One knows 0 0 1 1 2 2, the other 0 0 0 0 1 1 under other numbers: what either joins is one scan."""
    one = answers(["Cyst"] * 6, ["Cyst"] * 6, [0, 0, 1, 1, 2, 2])
    two = answers(["Cyst"] * 6, ["Stone"] * 6, [7, 7, 7, 7, 4, 4])
    (found,) = comparison.compare({"one": one, "two": two}, "accuracy").tests
    assert found.n_series == 2
    assert found.p_series == pytest.approx(0.5, abs=0.03)  # of four swaps two are as extreme
    (alone,) = comparison.compare({"one": one, "two": two.with_columns(series=0)}, "accuracy").tests
    assert alone.p_series == 1.0


def test_labels_in_another_order_change_nothing():
    one = made_predictions()
    order = [2, 0, 3, 1]
    labels = [LABELS[i] for i in order]
    two = Predictions.from_probabilities(one.table[["path", "label", "series"]], one.probabilities[:, order], labels)
    for each in comparison.compare({"one": one, "two": two}, ["accuracy", "per_label.Stone.roc_auc"]).tests:
        assert each.difference.value == 0
        assert each.p_series == 1.0


def test_everything_that_was_tested_is_corrected_for():
    tables = {name: made_predictions(n_series=40, skill=skill) for name, skill in (("a", 2.0), ("b", 0.5), ("c", 0.4))}
    found = comparison.compare_all(tables)
    assert len(found.tests) == 3 * len(comparison.figures_of(LABELS)) == 3 * 20
    assert [each.p_corrected_all for each in found.tests] == comparison.holm([each.p_series for each in found.tests])
    for figure in ("accuracy", "per_label.Stone.roc_auc"):
        own = found.of(figure)
        assert [each.p_corrected for each in own] == comparison.holm([each.p_series for each in own])


def test_differences_of_areas_are_scikit_learns_and_their_swaps_are_really_swapped():
    one, two = made_predictions(n_series=16, seed=4), made_predictions(n_series=16, seed=4, skill=0.6)
    counted = [intervals.count_series(each) for each in (one, two)]
    areas = paired_areas.PairedAreas.of(*counted, 2)
    truth = one.y_true == 2
    ranks = [rankdata(each.probabilities[:, 2]) for each in (one, two)]
    value = roc_auc_score(truth, ranks[0]) - roc_auc_score(truth, ranks[1])
    (found,) = comparison.compare({"one": one, "two": two}, "per_label.Stone.roc_auc").tests
    assert found.difference.value == pytest.approx(value)
    swaps = np.random.default_rng(0).integers(0, 2, (5, 16))
    for swap, fast in zip(swaps, areas.swapped(swaps.astype(float)), strict=True):
        moved = swap[counted[0].series] == 1
        first, second = np.where(moved, ranks[1], ranks[0]), np.where(moved, ranks[0], ranks[1])
        assert fast == pytest.approx(roc_auc_score(truth, first) - roc_auc_score(truth, second))
    weights = intervals.draw_weights(counted[0].owner, 5, seed=1)
    for row, fast in zip(weights, areas.difference(weights), strict=True):
        times = row[counted[0].series]
        slow = [roc_auc_score(truth, each, sample_weight=times) for each in ranks]
        assert fast == pytest.approx(slow[0] - slow[1])


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy"])
def test_the_swap_test_agrees_with_scipy(name):
    """SciPy's paired permutation test, given the whole scans as its samples."""
    asked = made_predictions(n_series=16, seed=4)
    labels, series = asked.table["label"].to_numpy(object), asked.series
    rng = np.random.default_rng(1)
    one = answers(labels, np.where(rng.random(len(labels)) < 0.55, labels, "Cyst"), series)
    two = answers(labels, np.where(rng.random(len(labels)) < 0.35, labels, "Cyst"), series)
    (found,) = comparison.compare({"one": one, "two": two}, name).tests
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
