"""Intervals over series: against slow plain resampling, scikit-learn, and cases worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from kidney_core.metrics import evaluation, intervals, number_format
from kidney_core.metrics.predictions import Predictions

LABELS = ("Cyst", "Normal", "Stone", "Tumor")


def made_predictions(n_series=24, seed=0, skill=1.2):
    """Series of 3 to 12 slices whose slices share most of their error; scores are rounded, so that there are ties."""
    rng = np.random.default_rng(seed)
    rows, probabilities = [], []
    for number in range(n_series):
        label, mood = number % 4, rng.normal(0, 1, 4)
        for _ in range(int(rng.integers(3, 13))):
            logits = mood + rng.normal(0, 0.4, 4) + skill * np.eye(4)[label]
            p = np.exp(logits) / np.exp(logits).sum()
            p = np.round(p, 1) + 1e-3
            rows.append((f"{LABELS[label]}/{len(rows)}.png", LABELS[label], number))
            probabilities.append(p / p.sum())
    frame = pd.DataFrame(rows, columns=["path", "label", "series"])
    return Predictions.from_probabilities(frame, np.array(probabilities), LABELS)


def test_every_figure_of_the_whole_equals_evaluation_figures():
    predictions = made_predictions()
    reference = evaluation.metrics(predictions)
    found = intervals.intervals(predictions, n_resamples=50)
    assert len(found) == 2 + 2 * 5 + 4 * 5
    for name, interval in found.items():
        assert interval.value == pytest.approx(number_format.figure_of(reference, name)), name
        assert interval.low <= interval.high
        assert interval.low < interval.value < interval.high or interval.value in (interval.low, interval.high), name


def test_resampled_figures_equal_figures_of_really_repeated_slices():
    predictions = made_predictions(seed=3)
    counted = intervals.count_series(predictions)
    weights = intervals.draw_weights(counted.owner, 12, seed=5)
    fast = intervals.resampled_metrics(counted, weights)
    for position, row in enumerate(weights):
        parts = [
            predictions.subset(predictions.series == number) for number, times in enumerate(row) for _ in range(times)
        ]
        repeated = Predictions.concatenate(parts)
        slow = evaluation.metrics(repeated)
        for name, values in fast.items():
            assert values[position] == pytest.approx(number_format.figure_of(slow, name)), name
        is_stone = repeated.table["label"] == "Stone"
        for name, measure in (("roc_auc", roc_auc_score), ("average_precision", average_precision_score)):
            area = measure(is_stone, repeated.table["p_Stone"])
            assert fast[f"per_label.Stone.{name}"][position] == pytest.approx(area)


def test_each_resample_keeps_the_number_of_series_of_each_class():
    owner = np.array([0, 0, 0, 1, 1, 2])
    weights = intervals.draw_weights(owner, 500)
    for label, number in ((0, 3), (1, 2), (2, 1)):
        assert (weights[:, owner == label].sum(axis=1) == number).all()
    assert weights[:, 0].std() > 0


def test_no_interval_where_a_class_has_too_few_series_or_all_agree():
    predictions = made_predictions(n_series=40)
    few = predictions.subset(
        ~((predictions.table["label"] == "Tumor") & (predictions.series > 16))
    )  # 4 series of Tumor
    assert intervals.too_few_series(intervals.count_series(few)) == {"Tumor": pytest.approx(3.6, abs=0.1)}
    found = intervals.intervals(few, n_resamples=200)
    assert found["per_label.Tumor.recall"].low is None
    assert found["balanced_accuracy"].low is None
    assert found["macro.f1"].low is None
    assert found["accuracy"].low is not None  # rests on all scans together
    assert found["per_label.Cyst.recall"].low is not None
    never = predictions.with_columns(predicted=predictions.table["predicted"].replace("Stone", "Cyst"))
    recall = intervals.intervals(never, n_resamples=200)["per_label.Stone.recall"]
    assert recall == intervals.Interval(0.0, None, None)  # resampling cannot doubt what all series agree on


def test_a_scan_with_most_of_the_slices_is_nearly_alone():
    assert intervals.effective_number(np.array([10, 10, 10, 10])) == 4
    assert intervals.effective_number(np.array([172, 54, 54, 54, 54])) == pytest.approx(388**2 / (172**2 + 4 * 54**2))
    assert intervals.effective_number(np.array([])) == 0
    predictions = made_predictions(n_series=40)
    tumors = predictions.table["label"] == "Tumor"
    sizes = tumors.groupby(predictions.series).sum()
    largest = sizes.idxmax()
    kept = ~tumors | (predictions.series == largest) | ~predictions.table.assign(s=predictions.series).duplicated(["s"])
    uneven = predictions.subset(kept)  # one whole scan of Tumor, and one slice of each of the others
    assert uneven.n_series("Tumor") >= 5
    assert "Tumor" in intervals.too_few_series(intervals.count_series(uneven))
    assert intervals.intervals(uneven, n_resamples=200)["per_label.Tumor.recall"].low is None


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """20 series a class, whose recalls are drawn around 0.7: the 95 % interval holds 0.7 in about 95 % of the cases."""
    rng, covered, n_trials = np.random.default_rng(7), 0, 80
    rows = pd.DataFrame(
        {
            "path": [str(i) for i in range(400)],
            "label": ["Cyst"] * 200 + ["Normal"] * 200,
            "series": np.repeat(np.arange(40), 10),
        }
    )
    for _ in range(n_trials):
        right = rng.random(400) < np.repeat(rng.beta(3.5, 1.5, 40), 10)
        own = (rows["label"] == "Cyst").to_numpy()
        says_cyst = np.where(own, right, ~right).astype(float)
        table = Predictions.from_probabilities(rows, np.stack([says_cyst, 1 - says_cyst], axis=1), ("Cyst", "Normal"))
        recall = intervals.intervals(table, n_resamples=300)["per_label.Cyst.recall"]
        covered += recall.low <= 0.7 <= recall.high
    assert 68 <= covered <= 80  # binomial(80, 0.95): 76, and nearly always 68 or more


def test_interval_by_hand_of_two_series_a_class(monkeypatch):
    """One series all right and one all wrong, of equal size: accuracy is 0, 1/2 or 1 with odds 1:2:1."""
    monkeypatch.setattr(intervals, "MIN_SERIES", 2)
    rows = pd.DataFrame({"path": list("abcd"), "label": ["Cyst", "Cyst", "Normal", "Normal"], "series": [0, 1, 2, 3]})
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    table = Predictions.from_probabilities(rows, np.array([right, wrong, wrong, wrong]), ("Cyst", "Normal"))
    recall = intervals.intervals(table, n_resamples=4000)["per_label.Cyst.recall"]
    assert (recall.value, recall.low, recall.high) == (0.5, 0.0, 1.0)
    drawn = intervals.resampled_metrics(
        intervals.count_series(table), intervals.draw_weights(np.array([0, 0, 1, 1]), 4000)
    )["per_label.Cyst.recall"]
    shares = [(drawn == value).mean() for value in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_intervals_over_series_are_wider_than_over_slices_when_slices_are_alike():
    predictions = made_predictions(n_series=40, seed=1)
    over_series = intervals.intervals(predictions)["accuracy"]
    over_slices = intervals.intervals(predictions.with_columns(series=np.arange(len(predictions))))["accuracy"]
    assert over_series.high - over_series.low > 1.5 * (over_slices.high - over_slices.low)


def test_a_class_without_slices_has_no_figure():
    predictions = made_predictions()
    predictions = predictions.subset(predictions.table["label"] != "Stone")
    found = intervals.intervals(predictions, n_resamples=20)
    assert found["per_label.Stone.recall"] == intervals.Interval(None, None, None)
    assert found["per_label.Stone.roc_auc"] == intervals.Interval(None, None, None)
    assert found["balanced_accuracy"].low is not None


def test_intervals_are_reproducible():
    predictions = made_predictions()
    one, same, other = (intervals.intervals(predictions, n_resamples=100, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_per_series_averages_the_probabilities_of_a_series():
    rows = pd.DataFrame({"path": list("abc"), "label": ["Cyst", "Cyst", "Normal"], "series": [7, 7, 9]})
    slices = Predictions.from_probabilities(rows, np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]]), ("Cyst", "Normal"))
    scans = slices.per_series()
    assert scans.series.tolist() == [7, 9]
    assert scans.table["n_slices"].tolist() == [2, 1]
    assert scans.table["p_Cyst"].tolist() == pytest.approx([0.55, 0.4])
    assert scans.table["predicted"].tolist() == ["Cyst", "Normal"]
    assert evaluation.metrics(scans)["accuracy"] == 1.0
