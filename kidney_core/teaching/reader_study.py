"""A small reader study: how well readers do before and after the model's answer, and whether they follow it when it is wrong.

Readers and cases are both drawn for the intervals, since another class would read other cases.
Source: Gallas, Academic Radiology 2006, 13:353-362 (multi-reader multi-case bootstrap).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kidney_core.common.labels import NORMAL
from kidney_core.metrics.intervals import Interval
from kidney_core.teaching.class_results import Answered
from kidney_core.teaching.seats import CONFIDENCES

N_RESAMPLES = 2000
MIN_READINGS = 5  # below which no interval is given
ENDS = (2.5, 97.5)
PROBABILITY_OF_CONFIDENCE = {1: 0.2, 2: 0.4, 3: 0.6, 4: 0.8, 5: 1.0}  # how a confidence of 1 to 5 is read


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % interval; `n` is what it is a share of."""

    name: str
    interval: Interval
    n: int
    help: str


@dataclass(frozen=True)
class Curve:
    """A ROC curve for telling a finding from Normal, with its area; no curve where the cases are all of one kind."""

    false_positive: np.ndarray
    true_positive: np.ndarray
    area: Interval


@dataclass(frozen=True)
class CalibrationPoint:
    """How often answers of one confidence were correct."""

    confidence: int
    accuracy: float
    n: int


def before_and_after(rows: Sequence[Answered]) -> list[Rate]:
    """Accuracy before and after the model's answer, the gain, and how often readers followed it; of cases answered twice."""
    rows = [each for each in rows if each.reading.second is not None]
    if not rows:
        return []
    truth = np.array([each.case.label for each in rows], object)
    first = np.array([each.reading.first.label for each in rows], object) == truth
    second = np.array([each.reading.final.label for each in rows], object) == truth
    model = np.array([each.model.guess.label for each in rows], object) == truth
    weights = _weights(rows)
    everything = np.ones(len(rows))
    misled, helped = first & ~model, ~first & model
    return [
        _rate("Accuracy before", first, everything, weights, "First answers with the correct class."),
        _rate("Accuracy after", second, everything, weights, "Second answers with the correct class."),
        _rate("Gain", second.astype(float) - first, everything, weights, "Accuracy after minus accuracy before."),
        _rate("Accuracy of the model", model, everything, weights, "The model alone on the same cases."),
        _rate(
            "Automation bias",
            misled & ~second,
            misled,
            weights,
            "Correct first answers that became wrong after a wrong answer of the model (negative consultations).",
        ),
        _rate(
            "Errors corrected",
            helped & second,
            helped,
            weights,
            "Wrong first answers that became correct after a correct answer of the model (positive consultations).",
        ),
    ]


def reader_curve(rows: Sequence[Answered]) -> Curve | None:
    """The ROC curve of all first answers together: the confidence counts for a finding, or against it with the answer Normal."""
    scores = [_finding_score(each) for each in rows]
    return _curve(np.array([each.case.label != NORMAL for each in rows]), np.array(scores, float), _weights(rows))


def model_curve(rows: Sequence[Answered]) -> Curve | None:
    """The ROC curve of the model by its probability of a finding, on the cases of these rows; each case counts once."""
    once = list({each.number: each for each in rows if each.model.is_fair}.values())
    truth = np.array([each.case.label != NORMAL for each in once])
    return _curve(truth, np.array([each.model.finding for each in once]), _weights(once, of_readers=False))


def reader_calibration(rows: Sequence[Answered]) -> list[CalibrationPoint]:
    """How often first answers of each confidence have the correct class."""
    return _calibration(
        np.array([each.reading.confidence for each in rows]),
        np.array([each.reading.first.label == each.case.label for each in rows]),
    )


def model_calibration(rows: Sequence[Answered]) -> list[CalibrationPoint]:
    """The same of the model's answers; a probability counts for the confidence that is read as the nearest one."""
    once = list({each.number: each for each in rows if each.model.is_fair}.values())
    steps = np.array([PROBABILITY_OF_CONFIDENCE[each] for each in CONFIDENCES])
    nearest = [CONFIDENCES[int(np.abs(steps - each.model.confidence).argmin())] for each in once]
    return _calibration(np.array(nearest), np.array([each.model.guess.label == each.case.label for each in once]))


def _finding_score(each: Answered) -> int:
    confidence = each.reading.confidence
    return -confidence if each.reading.first.label == NORMAL else confidence


def _weights(rows: Sequence[Answered], *, of_readers: bool = True) -> np.ndarray:
    """(N_RESAMPLES, N) how often each answer is in each resample of readers and cases."""
    generator = np.random.default_rng(0)
    drawn = _drawn([each.number for each in rows], generator)
    return drawn * _drawn([each.student for each in rows], generator) if of_readers else drawn


def _drawn(owners: Sequence[object], generator: np.random.Generator) -> np.ndarray:
    """(N_RESAMPLES, N) how often the owner of each answer was drawn; all once where there is only one."""
    names = list(dict.fromkeys(owners))
    position = [names.index(each) for each in owners]
    if len(names) < 2:
        return np.ones((N_RESAMPLES, len(owners)))
    return generator.multinomial(len(names), np.full(len(names), 1 / len(names)), N_RESAMPLES)[:, position].astype(
        float
    )


def _rate(name: str, part: np.ndarray, whole: np.ndarray, weights: np.ndarray, text: str) -> Rate:
    """The weighted share of `part` in `whole`, both (N,)."""
    part, whole = part.astype(float), whole.astype(float)
    n = int(whole.sum())
    value = float(part.sum() / n) if n else None
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = (weights @ part) / (weights @ whole)
    return Rate(name, _interval(value, drawn, n), n, text)


def _interval(value: float | None, drawn: np.ndarray, n: int) -> Interval:
    known = drawn[np.isfinite(drawn)]
    if value is None or n < MIN_READINGS or len(known) < 0.9 * len(drawn) or np.ptp(known) == 0:
        return Interval(value, None, None)
    low, high = np.percentile(known, ENDS)
    return Interval(value, float(low), float(high))


def _curve(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> Curve | None:
    if not truth.any() or truth.all():
        return None
    from sklearn.metrics import auc, roc_curve

    false_positive, true_positive, _ = roc_curve(truth, scores, drop_intermediate=False)
    positive, negative = scores[truth], scores[~truth]
    above = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    heavy, light = weights[:, truth], weights[:, ~truth]
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = ((heavy @ above) * light).sum(axis=1) / (heavy.sum(axis=1) * light.sum(axis=1))
    area = _interval(float(auc(false_positive, true_positive)), drawn, len(scores))
    return Curve(false_positive, true_positive, area)


def _calibration(confidence: np.ndarray, is_right: np.ndarray) -> list[CalibrationPoint]:
    return [
        CalibrationPoint(each, float(is_right[confidence == each].mean()), int((confidence == each).sum()))
        for each in CONFIDENCES
        if (confidence == each).any()
    ]
