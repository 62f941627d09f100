"""How far the probability of one label can be taken at its word: slope, intercept, observed over expected, Brier score.

Source: Van Calster et al. 2019, BMC Med 17:230 (what each is, and how they are read); Cox 1958, Biometrika 45:562 (slope and intercept);
Brier 1950, Mon Weather Rev 78:1; Steyerberg et al. 2010, Epidemiology 21:128 (scaled Brier score).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from kidney_core.metrics import intervals
from kidney_core.metrics.calibration import Reliability
from kidney_core.metrics.contrasts import Contrast
from kidney_core.metrics.intervals import Interval

CLIPPED_AT = 1e-6  # probabilities of 0 and 1 have no logit
N_FITS = 500  # resamples of slope and intercept, each of which is a fit
N_GROUPS = 10
_N_STEPS, _LARGEST_STEP, _SEPARATED = 40, 2.0, 100.0
_CELL = 0.1  # width in logits
_CONVERGED, _NEARLY = 1e-8, 1e-4  # of a fit that is stated, and of one of many resamples
_CHUNK = 125


@dataclass(frozen=True)
class ClassCalibration:
    """The calibration of the probability of one label.

    Attributes:
        slope: 1 is right; below 1 the probabilities are too extreme, above 1 too timid. None where no fit exists, since the scores
            separate the label.
        intercept: calibration in the large, at a slope of 1: 0 is right; below 0 the probabilities are too high.
        observed_expected: slices of the label over the sum of its probabilities: 1 is right.
        brier: mean squared distance of the probability from the truth, 0 is right.
        scaled_brier: 1 - Brier / Brier of always giving the prevalence: 1 is right, 0 no better than the prevalence.
    """

    slope: Interval
    intercept: Interval
    observed_expected: Interval
    brier: Interval
    scaled_brier: Interval


def class_calibration(contrast: Contrast, weights: np.ndarray) -> ClassCalibration:
    """The calibration of a contrast with 95 % intervals; those of slope and intercept from the first 500 resamples.

    Args:
        weights: (n_resamples, S) of `intervals.draw_weights`.
    """
    truth, score, whole = contrast.truth.astype(float), contrast.score, np.ones((1, contrast.n_series))
    error = (score - truth) ** 2
    sums = contrast.per_series(np.stack([np.ones(len(truth)), truth, score, error], axis=1))

    def ratios(weights: np.ndarray) -> np.ndarray:
        n, observed, expected, errors = (weights.astype(float) @ sums).T
        with np.errstate(divide="ignore", invalid="ignore"):
            share = observed / n
            return np.stack([observed / expected, errors / n, 1 - errors / n / (share * (1 - share))])

    fitted = recalibration(contrast, whole)
    drawn_fits = recalibration(contrast, weights[:N_FITS], start=fitted[0]) if contrast.is_sound else fitted
    values = [fitted[0, 1], fitted[0, 2], *ratios(whole)[:, 0]]
    drawn = [drawn_fits[:, 1], drawn_fits[:, 2], *ratios(weights)]
    return ClassCalibration(
        *(
            intervals.interval_of(float(value), np.where(np.isfinite(each), each, np.nan), sound=contrast.is_sound)
            for value, each in zip(values, drawn, strict=True)
        )
    )


def recalibration(contrast: Contrast, weights: np.ndarray, *, start: np.ndarray | None = None) -> np.ndarray:
    """Logistic regression of the truth on the logit of the score, by Newton's method: (n_resamples, 3).

    Columns: intercept and slope of one fit, and the intercept where the slope is held at 1; NaN where the scores separate the two sides,
    so that no finite slope is best.

    Args:
        weights: (n_resamples, S).
        start: (3,) of the fit of all slices, from which those of resamples are found sooner, in single precision and from cells.
    """
    kind = np.float64 if start is None else np.float32
    x, y, series, times = _slices(contrast) if start is None else _cells(contrast)
    x, y, accuracy = x.astype(kind), y.astype(kind), _CONVERGED if start is None else _NEARLY
    first = np.array([0.0, 1.0, 0.0]) if start is None or np.isnan(start).any() else start
    fits = np.empty((len(weights), 3))
    for begin in range(0, len(weights), _CHUNK):
        chunk = slice(begin, begin + _CHUNK)
        drawn = (weights[chunk][:, series] * times).astype(kind)  # (chunk, N)
        fits[chunk, :2] = _fit_line(x, y, drawn, first[:2], accuracy)
        fits[chunk, 2] = _fit_intercept(x, y, drawn, first[2], accuracy)
    return fits


def _slices(contrast: Contrast) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(N,) logit, truth, series and 1 of each slice."""
    x = logit(np.clip(contrast.score, CLIPPED_AT, 1 - CLIPPED_AT))
    return x, contrast.truth, contrast.series, np.ones(len(x))


def _cells(contrast: Contrast) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The same of slices of one series, one side and nearly one logit together: their mean logit, and how many they are.

    A resample holds them all or none, so that only the spread of the logits within a cell is lost.
    """
    x = _slices(contrast)[0]
    keys = np.stack([contrast.series, contrast.truth, np.floor(x / _CELL).astype(np.int64)], axis=1)
    cells, of, times = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    means = np.bincount(of.ravel(), x) / times
    return means, cells[:, 1], cells[:, 0], times


def _fit_line(x: np.ndarray, y: np.ndarray, weights: np.ndarray, start: np.ndarray, accuracy: float) -> np.ndarray:
    """(n, 2) intercept and slope."""
    found, square = np.tile(start, (len(weights), 1)).astype(x.dtype), x * x
    open_rows = np.arange(len(weights))
    for _ in range(_N_STEPS):
        p = expit(found[open_rows, :1] + found[open_rows, 1:] * x)
        gap = weights[open_rows] * (y - p)
        spread = weights[open_rows] * p * (1 - p)
        g0, g1 = gap.sum(axis=1), gap @ x
        h00, h01, h11 = spread.sum(axis=1), spread @ x, spread @ square
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.stack([h11 * g0 - h01 * g1, h00 * g1 - h01 * g0], axis=1) / (h00 * h11 - h01**2)[:, None]
        step = np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
        found[open_rows] += step
        is_far = ~(np.abs(found[open_rows]).max(axis=1) < _SEPARATED)  # NaN too
        found[open_rows[is_far]] = np.nan
        open_rows = open_rows[~is_far & (np.abs(step).max(axis=1) > accuracy)]
        if not len(open_rows):
            return found
    found[open_rows] = np.nan
    return found


def _fit_intercept(x: np.ndarray, y: np.ndarray, weights: np.ndarray, start: float, accuracy: float) -> np.ndarray:
    """(n,) the intercept at a slope of 1; it exists wherever both sides have slices."""
    has_both = ((weights @ y) > 0) & ((weights @ (1 - y)) > 0)
    found = np.where(has_both, start, np.nan).astype(x.dtype)
    open_rows = np.flatnonzero(has_both)
    for _ in range(_N_STEPS):
        p = expit(found[open_rows, None] + x)
        drawn = weights[open_rows]
        step = (drawn * (y - p)).sum(axis=1) / np.maximum((drawn * p * (1 - p)).sum(axis=1), 1e-30)
        step = np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
        found[open_rows] += step
        open_rows = open_rows[np.abs(step) > accuracy]
        if not len(open_rows):
            return found
    found[open_rows] = np.nan
    return found


def grouped_reliability(contrast: Contrast, *, n_groups: int = N_GROUPS) -> Reliability:
    """Observed share against mean probability of a label, in groups of equally many slices; equal scores stay together.

    Source: Hosmer & Lemeshow 1980, Commun Stat A 9:1043 (groups by quantiles of risk).
    """
    edges = np.unique(np.quantile(contrast.score, np.linspace(0, 1, n_groups + 1)[1:-1]))
    group = np.searchsorted(edges, contrast.score, side="left")
    count = np.bincount(group, minlength=len(edges) + 1)
    group, count = np.unique(group, return_inverse=True)[1], count[count > 0]
    expected = np.bincount(group, contrast.score) / count
    observed = np.bincount(group, contrast.truth) / count
    return Reliability(expected, observed, count, float((np.abs(expected - observed) * count).sum() / count.sum()))
