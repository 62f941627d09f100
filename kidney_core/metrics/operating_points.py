"""What a test is worth at one threshold: sensitivity and specificity, and predictive values at a chosen prevalence.

The threshold that keeps a given specificity, or sensitivity, is chosen on the slices it is then measured on, and anew in every
resample; so the interval covers the choice, and the figure itself is a little too good for new scans.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kidney_core.metrics import intervals
from kidney_core.metrics.contrasts import Contrast
from kidney_core.metrics.intervals import Interval

PREDICTED, SPECIFICITY, SENSITIVITY = "most probable label", "specificity", "sensitivity"
LEVELS = (0.8, 0.9, 0.95, 0.99)
_CHUNK = 250
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class OperatingPoint:
    """A threshold, and what it gives.

    Attributes:
        rule: PREDICTED, or what is held at `level` or more: SPECIFICITY or SENSITIVITY.
        threshold: the lowest score that counts as positive; None for the most probable label, and where none is positive.
        drawn: (2, n_resamples) sensitivity and specificity of each resample.
        whole: (2,) the same of all slices.
        is_sound: whether there are enough series for intervals.
    """

    rule: str
    level: float | None
    threshold: float | None
    drawn: np.ndarray
    whole: np.ndarray
    is_sound: bool

    @cached_property
    def sensitivity(self) -> Interval:
        """The share of the positive slices that are found; given at least `level` or measured."""
        return self._interval(self.whole[0], self.drawn[0])

    @cached_property
    def specificity(self) -> Interval:
        """The share of the negative slices that are left alone."""
        return self._interval(self.whole[1], self.drawn[1])

    def predictive_values(self, prevalence: float) -> tuple[Interval, Interval]:
        """Positive and negative predictive value where a share `prevalence` of the slices is positive."""
        whole, drawn = predictive_values(self.whole, prevalence), predictive_values(self.drawn, prevalence)
        return self._interval(whole[0], drawn[0]), self._interval(whole[1], drawn[1])

    def _interval(self, value: float, drawn: np.ndarray) -> Interval:
        return intervals.interval_of(float(value), drawn, sound=self.is_sound)


def predictive_values(rates: np.ndarray, prevalence: float) -> np.ndarray:
    """Sensitivity and specificity, (2, …), -> positive and negative predictive value, (2, …); NaN where nothing is so predicted.

    Source: Bayes' theorem; Altman & Bland 1994, BMJ 309:102.
    """
    sensitivity, specificity = rates
    hits, alarms = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    misses, rejections = (1 - sensitivity) * prevalence, specificity * (1 - prevalence)
    return np.stack([_share(hits, hits + alarms), _share(rejections, rejections + misses)])


def operating_points(
    contrast: Contrast,
    weights: np.ndarray,
    *,
    specificities: tuple[float, ...] = LEVELS,
    sensitivities: tuple[float, ...] = LEVELS,
) -> list[OperatingPoint]:
    """The most probable label, then sensitivity at each specificity, then specificity at each sensitivity.

    At a specificity of at least s, sensitivity is the largest of the empirical ROC curve whose false positive rate is at most 1 - s;
    and the other way round. Nothing is interpolated. Source: Pepe 2003, The Statistical Evaluation of Medical Tests, section 4.3.

    Args:
        weights: (n_resamples, S) of `intervals.draw_weights`.
    """
    curve = _Curve.of(contrast)
    rules = [(SPECIFICITY, level) for level in specificities] + [(SENSITIVITY, level) for level in sensitivities]
    drawn = np.empty((len(rules), 2, len(weights)))
    for start in range(0, len(weights), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        drawn[:, :, chunk] = curve.at(rules, weights[chunk])[0]
    whole, chosen = curve.at(rules, np.ones((1, contrast.n_series), np.int16))
    sound = contrast.is_sound
    points = [OperatingPoint(PREDICTED, None, None, *_of_predicted(contrast, weights), sound)]
    for position, (rule, level) in enumerate(rules):
        threshold = curve.threshold(int(chosen[position, 0]))
        points.append(OperatingPoint(rule, level, threshold, drawn[position], whole[position, :, 0], sound))
    return points


def _of_predicted(contrast: Contrast, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(2, n_resamples) and (2,) sensitivity and specificity of the most probable label."""
    truth, said = contrast.truth, contrast.predicted
    counts = contrast.per_series(np.stack([truth & said, truth, ~truth & ~said, ~truth], axis=1).astype(float))

    def rates(weights: np.ndarray) -> np.ndarray:
        hits, positives, rejections, negatives = (weights.astype(float) @ counts).T
        return np.stack([_share(hits, positives), _share(rejections, negatives)])

    return rates(weights), rates(np.ones((1, contrast.n_series)))[:, 0]


@dataclass(frozen=True, eq=False)
class _Curve:
    """The slices of a contrast by falling score; `ends` are the last slices of each score, which are accepted together."""

    score: np.ndarray
    truth: np.ndarray
    series: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, contrast: Contrast) -> "_Curve":
        order = np.argsort(-contrast.score, kind="stable")
        score = contrast.score[order]
        ends = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
        return cls(score, contrast.truth[order], contrast.series[order], ends)

    def at(self, rules: list[tuple[str, float]], weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(rules, 2, n) sensitivity and specificity, and (rules, n) position in `ends` of the threshold, -1 for none."""
        drawn = weights[:, self.series].astype(np.int32)
        hits = np.cumsum(drawn * self.truth, axis=1, dtype=np.int32)[:, self.ends]
        alarms = np.cumsum(drawn * ~self.truth, axis=1, dtype=np.int32)[:, self.ends]
        n_positive, n_negative = hits[:, -1:], alarms[:, -1:]
        rates, chosen = np.empty((len(rules), 2, len(weights))), np.empty((len(rules), len(weights)), np.int64)
        for number, (rule, level) in enumerate(rules):
            if rule == SPECIFICITY:
                position = (alarms <= (1 - level) * n_negative + _ROUNDING).sum(axis=1) - 1
            else:
                position = (hits < level * n_positive - _ROUNDING).sum(axis=1)
            rows, last = np.arange(len(weights)), np.maximum(position, 0)
            found = np.where(position < 0, 0, hits[rows, last])
            false = np.where(position < 0, 0, alarms[rows, last])
            rates[number] = _share(found, n_positive[:, 0]), 1 - _share(false, n_negative[:, 0])
            chosen[number] = position
        return rates, chosen

    def threshold(self, position: int) -> float | None:
        return None if position < 0 else float(self.score[self.ends[position]])


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The quotient, NaN where the whole is 0."""
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
