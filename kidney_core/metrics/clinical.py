"""What a reviewer asks of a diagnostic test, of one set of predictions: computed for the page, the exported report and its check.

Operating points and predictive values, calibration of each label, net benefit, error among answers, prediction sets. Imports no plotting
library. Sources stand in the modules that it joins.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kidney_core.metrics import (
    abstention,
    class_calibration,
    contrasts,
    decision_curve,
    intervals,
    operating_points,
    prediction_sets,
)
from kidney_core.metrics.class_calibration import ClassCalibration
from kidney_core.metrics.contrasts import Contrast
from kidney_core.metrics.decision_curve import DecisionCurve
from kidney_core.metrics.intervals import Interval
from kidney_core.metrics.operating_points import OperatingPoint
from kidney_core.metrics.predictions import Predictions

PREVALENCES = (0.05, 0.1, 0.2, 0.5)  # for which an export states predictive values, beside the tested one
ACTED_FROM = (0.05, 0.1, 0.2, 0.3, 0.5)  # probabilities for which an export states net benefit
CALIBRATION_FIGURES = ("slope", "intercept", "observed_expected", "brier", "scaled_brier")


@dataclass(frozen=True, eq=False)
class Assessment:
    """The clinical figures of predictions, by the name of the question ("Abnormal", or a label).

    Attributes:
        answers, sets: as `abstention.describe` and `prediction_sets.describe`.
        weights: (n_resamples, S) of the resamples behind all intervals.
    """

    contrasts: dict[str, Contrast]
    points: dict[str, list[OperatingPoint]]
    calibration: dict[str, ClassCalibration]
    answers: dict[str, Any]
    sets: dict[str, Any]
    weights: np.ndarray

    def point(self, name: str, rule: str, level: float | None = None) -> OperatingPoint:
        """The operating point of a question by its rule, see `operating_points`."""
        return next(each for each in self.points[name] if (each.rule, each.level) == (rule, level))

    def decision_curve(
        self,
        name: str,
        *,
        thresholds: tuple[float, ...] = decision_curve.THRESHOLDS,
        prevalence: float | None = None,
    ) -> DecisionCurve:
        """The decision curve of a question."""
        return decision_curve.decision_curve(
            self.contrasts[name], self.weights, thresholds=thresholds, prevalence=prevalence
        )


def assess(predictions: Predictions, *, n_resamples: int = intervals.N_RESAMPLES, seed: int = 0) -> Assessment:
    """The clinical figures of predictions; some seconds for 7,000 slices. Raises ValueError where series are unknown."""
    weights = intervals.draw_weights(intervals.count_series(predictions).owner, n_resamples, seed=seed)
    asked = contrasts.contrasts_of(predictions)
    return Assessment(
        contrasts={each.name: each for each in asked},
        points={each.name: operating_points.operating_points(each, weights) for each in asked},
        calibration={each.name: class_calibration.class_calibration(each, weights) for each in asked},
        answers=abstention.describe(predictions, ""),
        sets=prediction_sets.describe(predictions, ""),
        weights=weights,
    )


def as_numbers(assessed: Assessment) -> dict[str, Any]:
    """Everything as nested numbers: `figures`, and `intervals` [low, high] under the same keys where a figure has one."""
    figures: dict[str, Any] = {}
    ranges: dict[str, Any] = {}
    for name in assessed.contrasts:
        figures[name], ranges[name] = _of_contrast(assessed, name)
    return {
        "figures": figures,
        "intervals": ranges,
        "answers": _without_protocol(assessed.answers),
        "prediction_sets": _without_protocol(assessed.sets),
    }


def _of_contrast(assessed: Assessment, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    contrast, calibrated = assessed.contrasts[name], assessed.calibration[name]
    found: dict[str, Interval] = {figure: getattr(calibrated, figure) for figure in CALIBRATION_FIGURES}
    figures: dict[str, Any] = {"prevalence": contrast.prevalence, "thresholds": {}}
    for point in assessed.points[name]:
        rule = point.rule if point.level is None else f"{point.rule} {point.level:g}"
        figures["thresholds"][rule] = point.threshold
        found |= {f"sensitivity at {rule}": point.sensitivity, f"specificity at {rule}": point.specificity}
        for where, prevalence in [
            ("as tested", contrast.prevalence),
            *((f"{share:g}", share) for share in PREVALENCES),
        ]:
            positive, negative = point.predictive_values(prevalence)
            found |= {
                f"PPV at {rule}, prevalence {where}": positive,
                f"NPV at {rule}, prevalence {where}": negative,
            }
    curve = assessed.decision_curve(name, thresholds=ACTED_FROM)
    for at, benefit, gain in zip(ACTED_FROM, curve.net_benefit, curve.gain, strict=True):
        found |= {f"net benefit at {at:g}": benefit, f"gain at {at:g}": gain}
    figures |= {figure: each.value for figure, each in found.items()}
    return figures, {figure: [each.low, each.high] for figure, each in found.items()}


def _without_protocol(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "protocol"}
