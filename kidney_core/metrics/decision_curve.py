"""Is it worth acting on a prediction? Net benefit over the probability from which somebody would act.

Acting from a probability t on means that one missed case weighs as much as (1 - t) / t needless actions. Net benefit counts true
positives, less the false positives by that weight, as a share of all slices. Source: Vickers & Elkin 2006, Med Decis Making 26:565;
Vickers et al. 2016, BMJ 352:i6.
"""

from dataclasses import dataclass

import numpy as np

from kidney_core.metrics import intervals
from kidney_core.metrics.contrasts import Contrast
from kidney_core.metrics.intervals import Interval

THRESHOLDS = tuple(round(0.01 * percent, 2) for percent in range(1, 100))


@dataclass(frozen=True, eq=False)
class DecisionCurve:
    """The net benefit of acting by a prediction.

    Attributes:
        prevalence: the share of positive slices that it holds for.
        thresholds: (K,) probabilities from which somebody acts.
        net_benefit: (K,) of acting by the prediction, with its 95 % interval.
        treat_all: (K,) of acting on every slice; acting on none has 0.
        gain: (K,) of acting by the prediction over the better of acting on all and on none, with its 95 % interval.
    """

    prevalence: float
    thresholds: np.ndarray
    net_benefit: tuple[Interval, ...]
    treat_all: np.ndarray
    gain: tuple[Interval, ...]

    def useful_range(self) -> tuple[float, float] | None:
        """The longest run of thresholds at which the interval of the gain is above 0; None where there is none."""
        is_useful = np.array([each.low is not None and each.low > 0 for each in self.gain])
        best: tuple[int, int] | None = None
        start = 0
        for position in range(len(is_useful) + 1):
            if position == len(is_useful) or not is_useful[position]:
                if position > start and (best is None or position - start > best[1] - best[0]):
                    best = (start, position)
                start = position + 1
        return (float(self.thresholds[best[0]]), float(self.thresholds[best[1] - 1])) if best else None


def decision_curve(
    contrast: Contrast,
    weights: np.ndarray,
    *,
    thresholds: tuple[float, ...] = THRESHOLDS,
    prevalence: float | None = None,
) -> DecisionCurve:
    """The decision curve of a contrast; a slice is acted on from its threshold on.

    Args:
        weights: (n_resamples, S) of `intervals.draw_weights`.
        prevalence: for a population with another share of positive slices: the probabilities move with it, see `at_prevalence`.
    """
    score = contrast.score if prevalence is None else at_prevalence(contrast.score, contrast.prevalence, prevalence)
    at = np.asarray(thresholds)
    acted = score[:, None] >= at  # (N, K)
    truth = contrast.truth[:, None]
    sums = contrast.per_series(np.concatenate([acted & truth, acted & ~truth, truth, ~truth], axis=1).astype(float))
    odds, n_at = at / (1 - at), len(at)

    def benefits(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, K) net benefit of the prediction, and of acting on all."""
        drawn = weights.astype(float) @ sums
        hits, alarms, n_positive, n_negative = np.split(drawn, [n_at, 2 * n_at, 2 * n_at + 1], axis=1)
        share = n_positive / (n_positive + n_negative) if prevalence is None else np.full_like(n_positive, prevalence)
        with np.errstate(divide="ignore", invalid="ignore"):
            gained = hits / n_positive * share - alarms / n_negative * (1 - share) * odds
        return gained, share - (1 - share) * odds

    drawn, drawn_all = benefits(weights)
    whole, whole_all = (each[0] for each in benefits(np.ones((1, contrast.n_series))))
    return DecisionCurve(
        contrast.prevalence if prevalence is None else prevalence,
        at,
        _with_intervals(whole, drawn, contrast.is_sound),
        whole_all,
        _with_intervals(whole - np.maximum(whole_all, 0), drawn - np.maximum(drawn_all, 0), contrast.is_sound),
    )


def at_prevalence(score: np.ndarray, tested: float, wanted: float) -> np.ndarray:
    """Probabilities of a population in which a share `tested` is positive, as they are where it is `wanted`.

    Source: Bayes' theorem; Elkan 2001, IJCAI 17:973, theorem 2.
    """
    positive, negative = score * wanted / tested, (1 - score) * (1 - wanted) / (1 - tested)
    return positive / (positive + negative)


def _with_intervals(values: np.ndarray, drawn: np.ndarray, sound: bool) -> tuple[Interval, ...]:
    return tuple(
        intervals.interval_of(float(value), each, sound=sound) for value, each in zip(values, drawn.T, strict=True)
    )
