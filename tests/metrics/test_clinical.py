"""The clinical figures: every one against scikit-learn or counted by hand, and their intervals against really repeated scans."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, confusion_matrix, precision_score, recall_score, roc_curve

from kidney_core.metrics import (
    class_calibration,
    clinical,
    clinical_tables,
    contrasts,
    decision_curve,
    intervals,
    operating_points,
    prediction_sets,
)
from kidney_core.metrics.predictions import Predictions
from tests.metrics.test_intervals import LABELS, made_predictions


@pytest.fixture(scope="module")
def predictions():
    return made_predictions(n_series=48, seed=2)


@pytest.fixture(scope="module")
def assessed(predictions):
    return clinical.assess(predictions, n_resamples=200)


def asked_of(predictions, name):
    """Truth, score and predicted side of a question, worked out again."""
    label, y_pred = predictions.table["label"], predictions.table["predicted"]
    if name == contrasts.ABNORMAL:
        return (
            (label != "Normal").to_numpy(),
            1 - predictions.table["p_Normal"].to_numpy(),
            (y_pred != "Normal").to_numpy(),
        )
    return (label == name).to_numpy(), predictions.table[f"p_{name}"].to_numpy(), (y_pred == name).to_numpy()


def repeated(predictions, weights):
    """The slices of a resample, as often as it has them."""
    parts = [
        predictions.subset(predictions.series == number) for number, times in enumerate(weights) for _ in range(times)
    ]
    return Predictions.concatenate(parts)


def test_each_label_and_abnormal_are_asked(predictions):
    assert [each.name for each in contrasts.contrasts_of(predictions)] == ["Abnormal", *LABELS]
    for each in contrasts.contrasts_of(predictions):
        truth, score, said = asked_of(predictions, each.name)
        assert (each.truth == truth).all()
        assert each.score == pytest.approx(score)
        assert (each.predicted == said).all()


def test_a_label_called_abnormal_is_asked_once():
    rows = pd.DataFrame({"label": ["Normal", "Abnormal"] * 5, "series": range(10)})
    two = Predictions.from_probabilities(rows, np.array([[0.7, 0.3], [0.4, 0.6]] * 5), ["Normal", "Abnormal"])
    assert [each.name for each in contrasts.contrasts_of(two)] == ["Normal", "Abnormal"]


def test_the_figures_of_an_export_have_names(assessed):
    figures = clinical.as_numbers(assessed)["figures"]["Stone"]
    for name in (
        "slope",
        "sensitivity at specificity 0.9",
        "specificity at sensitivity 0.95",
        "PPV at most probable label, prevalence as tested",
        "NPV at specificity 0.9, prevalence 0.1",
        "net benefit at 0.2",
    ):
        assert figures[name] is not None, name


def test_a_question_that_all_slices_answer_alike_is_left_out(predictions):
    some = predictions.subset(np.isin(predictions.y_true, [0, 2]))
    assert [each.name for each in contrasts.contrasts_of(some)] == ["Cyst", "Stone"]


@pytest.mark.parametrize("name", ["Abnormal", *LABELS])
@pytest.mark.parametrize("level", operating_points.LEVELS)
def test_sensitivity_at_a_specificity_and_the_reverse_agree_with_scikit_learn(predictions, assessed, name, level):
    truth, score, _ = asked_of(predictions, name)
    false, true, thresholds = roc_curve(truth, score, drop_intermediate=False)
    point = assessed.point(name, operating_points.SPECIFICITY, level)
    assert point.sensitivity.value == pytest.approx(true[1 - false >= level - 1e-9].max())
    assert point.specificity.value >= level - 1e-9
    if point.threshold is not None:
        assert recall_score(truth, score >= point.threshold) == pytest.approx(point.sensitivity.value)
        assert point.threshold in thresholds
    other = assessed.point(name, operating_points.SENSITIVITY, level)
    assert other.specificity.value == pytest.approx((1 - false)[true >= level - 1e-9].max())
    assert recall_score(truth, score >= other.threshold) == pytest.approx(other.sensitivity.value)


@pytest.mark.parametrize("name", ["Abnormal", *LABELS])
def test_predictive_values_at_the_tested_prevalence_are_scikit_learns_precisions(predictions, assessed, name):
    truth, _, said = asked_of(predictions, name)
    point = assessed.point(name, operating_points.PREDICTED)
    assert point.sensitivity.value == pytest.approx(recall_score(truth, said))
    assert point.specificity.value == pytest.approx(recall_score(~truth, ~said))
    positive, negative = point.predictive_values(float(truth.mean()))
    assert positive.value == pytest.approx(precision_score(truth, said))
    assert negative.value == pytest.approx(precision_score(~truth, ~said))


def test_predictive_values_by_hand():
    """Sensitivity 90 %, specificity 80 %, 10 of 100 ill: 9 found, 18 false alarms, 1 missed, 72 left alone."""
    positive, negative = operating_points.predictive_values(np.array([0.9, 0.8]), 0.1)
    assert positive == pytest.approx(9 / 27)
    assert negative == pytest.approx(72 / 73)
    assert np.isnan(operating_points.predictive_values(np.array([0.0, 1.0]), 0.1)[0])


@pytest.mark.parametrize("name", ["Abnormal", *LABELS])
def test_calibration_agrees_with_scikit_learn(predictions, assessed, name):
    truth, score, _ = asked_of(predictions, name)
    x = logit(np.clip(score, class_calibration.CLIPPED_AT, 1 - class_calibration.CLIPPED_AT))
    found = assessed.calibration[name]
    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x[:, None], truth)
    assert found.slope.value == pytest.approx(fitted.coef_[0, 0], rel=1e-4)
    assert found.intercept.value == pytest.approx(brentq(lambda a: (expit(a + x) - truth).sum(), -20, 20), abs=1e-6)
    assert found.observed_expected.value == pytest.approx(truth.sum() / score.sum())
    brier = brier_score_loss(truth, score)
    assert found.brier.value == pytest.approx(brier)
    assert found.scaled_brier.value == pytest.approx(
        1 - brier / brier_score_loss(truth, np.full(len(truth), truth.mean()))
    )


@pytest.mark.parametrize("name", ["Abnormal", *LABELS])
@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.7])
def test_net_benefit_is_counted_as_vickers_and_elkin_do(predictions, assessed, name, threshold):
    truth, score, _ = asked_of(predictions, name)
    (_, alarms), (_, hits) = confusion_matrix(truth, score >= threshold)
    n, odds = len(truth), threshold / (1 - threshold)
    curve = assessed.decision_curve(name, thresholds=(threshold,))
    assert curve.net_benefit[0].value == pytest.approx(hits / n - alarms / n * odds)
    treat_all = truth.mean() - (1 - truth.mean()) * odds
    assert curve.treat_all[0] == pytest.approx(treat_all)
    assert curve.gain[0].value == pytest.approx(hits / n - alarms / n * odds - max(treat_all, 0))


def test_net_benefit_at_another_prevalence_is_that_of_slices_drawn_so(predictions, assessed):
    """Every slice without a stone three times: what is computed for that prevalence is what is measured there."""
    truth, score, _ = asked_of(predictions, "Stone")
    times = np.where(truth, 1, 3)
    wanted = truth.sum() / times.sum()
    moved = decision_curve.at_prevalence(score, truth.mean(), wanted)
    acted, odds = moved >= 0.2, 0.2 / 0.8
    by_hand = (times * (acted & truth)).sum() / times.sum() - (times * (acted & ~truth)).sum() / times.sum() * odds
    curve = assessed.decision_curve("Stone", thresholds=(0.2,), prevalence=float(wanted))
    assert curve.net_benefit[0].value == pytest.approx(by_hand)
    assert decision_curve.at_prevalence(score, 0.25, 0.25) == pytest.approx(score)


def test_a_perfect_test_gains_the_prevalence_and_a_useless_one_nothing():
    truth = np.arange(40) % 4 == 0
    for score, gained in ((np.where(truth, 0.9, 0.1), 0.25), (np.full(40, 0.25), 0.0)):
        asked = contrasts.Contrast("Stone", truth, score, score > 0.5, np.arange(40), 40)
        curve = decision_curve.decision_curve(asked, np.ones((3, 40), np.int16), thresholds=(0.5,))
        assert curve.net_benefit[0].value == pytest.approx(gained)
        assert curve.useful_range() is None  # all resamples agree: no interval


def test_the_intervals_are_those_of_really_repeated_scans(predictions):
    """A slow reference: each resample's scans copied, and every figure computed of them from scratch."""
    asked = {each.name: each for each in contrasts.contrasts_of(predictions)}
    weights = intervals.draw_weights(intervals.count_series(predictions).owner, 8, seed=3)
    of = asked["Stone"]
    points = operating_points.operating_points(of, weights)
    fits = class_calibration.recalibration(of, weights)
    near = class_calibration.recalibration(
        of, weights, start=class_calibration.recalibration(of, np.ones((1, of.n_series)))[0]
    )
    assert near == pytest.approx(fits, rel=2e-3, abs=2e-3)
    for position, row in enumerate(weights):
        again = {each.name: each for each in contrasts.contrasts_of(repeated(predictions, row))}["Stone"]
        ones = np.ones((1, again.n_series), np.int16)
        for slow, fast in zip(operating_points.operating_points(again, ones), points, strict=True):
            assert fast.drawn[:, position] == pytest.approx(slow.whole), fast.rule
        assert fits[position] == pytest.approx(class_calibration.recalibration(again, ones)[0], rel=1e-6)


def test_every_interval_holds_its_figure_or_is_left_out(assessed):
    numbers = clinical.as_numbers(assessed)
    n_with = 0
    for name, ranges in numbers["intervals"].items():
        for figure, (low, high) in ranges.items():
            value = numbers["figures"][name][figure]
            assert (low is None) == (high is None)
            if low is not None:
                n_with += 1
                assert low <= high
                assert low - 0.2 < value < high + 0.2, (name, figure)
    assert n_with > 100


def test_few_scans_give_figures_without_intervals():
    found = clinical.assess(made_predictions(n_series=12, seed=1), n_resamples=100)
    for ranges in clinical.as_numbers(found)["intervals"]["Stone"].values():
        assert ranges == [None, None]
    assert found.calibration["Stone"].brier.value is not None


def test_scores_that_separate_a_label_have_no_slope():
    truth = np.arange(40) % 4 == 0
    asked = contrasts.Contrast("Stone", truth, np.where(truth, 0.9, 0.1), truth, np.arange(40), 40)
    found = class_calibration.class_calibration(asked, intervals.draw_weights(truth.astype(int), 50))
    assert found.slope.value is None
    assert found.brier.value == pytest.approx(0.01)


def test_grouped_reliability_by_hand():
    """Eight slices in two groups of four: mean probability .2 and .8, observed 1/4 and 3/4."""
    score = np.array([0.1, 0.2, 0.2, 0.3, 0.7, 0.8, 0.8, 0.9])
    truth = np.array([0, 1, 0, 0, 1, 1, 1, 0], bool)
    found = class_calibration.grouped_reliability(
        contrasts.Contrast("Stone", truth, score, truth, np.arange(8), 8), n_groups=2
    )
    assert found.confidence == pytest.approx([0.2, 0.8])
    assert found.accuracy == pytest.approx([0.25, 0.75])
    assert found.count.tolist() == [4, 4]
    assert found.error == pytest.approx(0.05)


def test_coverage_of_prediction_sets_has_an_interval_around_it():
    entry = prediction_sets.describe(made_predictions(n_series=100, seed=4), "grouped", level=0.8)
    for label, (low, high) in entry["intervals"].items():
        assert low <= entry["covered"][label] <= high


def test_the_tables_say_what_the_figures_are(assessed):
    table = clinical_tables.operating_table(assessed, operating_points.SPECIFICITY, 0.9, 0.1).set_index("Finding")
    point = assessed.point("Stone", operating_points.SPECIFICITY, 0.9)
    assert table.loc["Stone", "Sensitivity %"].startswith(f"{100 * point.sensitivity.value:.1f}")
    assert table.loc["Stone", "Threshold"] == f"{point.threshold:.3f}"
    assert table.loc["Stone", "Prevalence %"] == "10.0"
    assert isinstance(table, pd.DataFrame)
    assert list(clinical_tables.calibration_table(assessed)["Finding"]) == ["Abnormal", *LABELS]
    assert len(clinical_tables.report_tables(assessed)) == 4 + 1 + 5 + 2
