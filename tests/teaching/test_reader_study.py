"""Figures of a reader study, counted by hand, and against a slow reference."""

import itertools

import numpy as np
import pytest

from kidney_core.teaching import class_results, reader_study
from kidney_core.teaching.cases import Guess
from kidney_core.teaching.fair_answers import Basis, ModelAnswer
from kidney_core.teaching.seats import Reading
from tests.teaching.test_quiz import case


def model(label, basis=Basis.OUT_OF_FOLD, probability=0.8):
    other = "Normal" if label != "Normal" else "Cyst"
    return ModelAnswer(Guess(label, None), {label: probability, other: 1 - probability}, basis)


def read(first, second=None, confidence=3):
    again = None if second is None else Guess(second, None)
    return Reading(Guess(first, None), confidence, 5.0, again, None if second is None else confidence, None)


# Two cases of Stone and two of Normal; the model errs on the second and the fourth.
CASES = [case(), case(), case("Normal", lesion=False), case("Normal", lesion=False)]
ANSWERS = dict(enumerate([model("Stone"), model("Normal"), model("Normal"), model("Cyst")]))


def rows(readings):
    return class_results.answered(readings, CASES, ANSWERS)


def test_gain_automation_bias_and_corrected_errors_are_counted():
    readings = {
        # right, then misled; wrong, then corrected
        "a": {
            0: read("Cyst", "Stone"),
            1: read("Stone", "Normal"),
            2: read("Normal", "Normal"),
            3: read("Normal", "Normal"),
        },
        "b": {0: read("Cyst", "Cyst"), 1: read("Stone", "Normal"), 2: read("Tumor", "Normal"), 3: read("Cyst", "Cyst")},
    }
    found = {rate.name: rate for rate in reader_study.before_and_after(rows(readings))}
    assert found["Accuracy before"].interval.value == pytest.approx(4 / 8)
    assert found["Accuracy after"].interval.value == pytest.approx(4 / 8)
    assert found["Gain"].interval.value == 0
    assert found["Accuracy of the model"].interval.value == pytest.approx(4 / 8)
    assert found["Automation bias"].interval.value == pytest.approx(2 / 3)  # of a1, a3, b1
    assert found["Automation bias"].n == 3
    assert found["Automation bias"].interval.low is None  # too few for an interval
    assert found["Errors corrected"].interval.value == pytest.approx(2 / 3)  # of a0, b0, b2


def test_without_second_answers_there_is_no_study():
    assert reader_study.before_and_after(rows({"a": {0: read("Cyst")}})) == []


def test_where_the_model_never_erred_automation_bias_cannot_be_told():
    found = reader_study.before_and_after(rows({"a": {0: read("Stone", "Stone")}}))
    bias = next(rate for rate in found if rate.name == "Automation bias")
    assert bias.interval.value is None
    assert bias.n == 0


def test_the_interval_holds_the_spread_of_readers_and_cases():
    generator = np.random.default_rng(3)
    readings = {
        str(reader): {at: read(*("Stone" if generator.random() < 0.7 else "Cyst" for _ in range(2))) for at in range(2)}
        for reader in range(20)
    }
    before = reader_study.before_and_after(rows(readings))[0].interval
    assert before.low < before.value < before.high
    answers = np.array([[each[at].first.label == "Stone" for at in range(2)] for each in readings.values()])
    means = []
    for _ in range(4000):  # readers and cases drawn with replacement, one by one
        readers, cases = generator.integers(0, 20, 20), generator.integers(0, 2, 2)
        means.append(answers[readers][:, cases].mean())
    assert (before.low, before.high) == pytest.approx(
        tuple(np.percentile(means, [2.5, 97.5])), abs=0.06
    )  # shares come in steps of .05


def test_the_area_of_readers_is_the_share_of_pairs_in_order():
    readings = {
        "a": {0: read("Stone", confidence=5), 1: read("Normal", confidence=1), 2: read("Normal", confidence=4)},
        "b": {0: read("Cyst", confidence=1), 3: read("Cyst", confidence=1)},
    }
    curve = reader_study.reader_curve(rows(readings))
    positive, negative = [5, -1, 1], [-4, 1]
    pairs = [(p > n) + 0.5 * (p == n) for p, n in itertools.product(positive, negative)]
    assert curve.area.value == pytest.approx(sum(pairs) / len(pairs))


def test_a_curve_needs_both_kinds_of_cases():
    assert reader_study.reader_curve(rows({"a": {0: read("Stone")}})) is None


def test_the_model_counts_once_a_case_and_only_where_it_plays_fair():
    answers = {**ANSWERS, 3: model("Cyst", Basis.SEEN)}
    readings = {name: {at: read("Stone") for at in range(4)} for name in ("a", "b", "c")}
    these = class_results.answered(readings, CASES, answers)
    # findings: .8 (case 0) and .2 (case 1) against .2 (case 2): one pair right, one tie
    assert reader_study.model_curve(these).area.value == pytest.approx(0.75)
    assert [(each.confidence, each.accuracy, each.n) for each in reader_study.model_calibration(these)] == [
        (4, pytest.approx(2 / 3), 3)
    ]


def test_calibration_counts_first_answers_by_confidence():
    readings = {
        "a": {0: read("Stone", confidence=5), 1: read("Cyst", confidence=5), 2: read("Normal", confidence=2)},
    }
    found = reader_study.reader_calibration(rows(readings))
    assert [(each.confidence, each.accuracy, each.n) for each in found] == [(2, 1.0, 1), (5, 0.5, 2)]
