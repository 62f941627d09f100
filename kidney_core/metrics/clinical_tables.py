"""The clinical figures as people read them: tables of text for a page and for the exported report."""

import pandas as pd

from kidney_core.metrics.clinical import ACTED_FROM, Assessment
from kidney_core.metrics.decision_curve import DecisionCurve
from kidney_core.metrics.intervals import Interval
from kidney_core.metrics.number_format import decimal_with_interval, percent, percent_range, with_interval
from kidney_core.metrics.operating_points import PREDICTED, SENSITIVITY, SPECIFICITY

REPORTED_RULES = ((PREDICTED, None), (SPECIFICITY, 0.9), (SENSITIVITY, 0.9))  # in the exported report
REPORTED_PREVALENCE = 0.1


def operating_table(assessed: Assessment, rule: str, level: float | None, prevalence: float | None) -> pd.DataFrame:
    """A row a question: sensitivity, specificity and predictive values at one rule.

    Args:
        rule, level: of an operating point.
        prevalence: for the predictive values; None for the tested one of each question.
    """
    rows = []
    for name, contrast in assessed.contrasts.items():
        point = assessed.point(name, rule, level)
        share = contrast.prevalence if prevalence is None else prevalence
        positive, negative = point.predictive_values(share)
        rows.append(
            {
                "Finding": name,
                "Threshold": "–" if point.threshold is None else f"{point.threshold:.3f}",
                # What is held has no interval of its own.
                "Sensitivity %": _percent(point.sensitivity, held=rule == SENSITIVITY),
                "Specificity %": _percent(point.specificity, held=rule == SPECIFICITY),
                "Prevalence %": f"{100 * share:.1f}",
                "PPV %": _percent(positive),
                "NPV %": _percent(negative),
            }
        )
    return pd.DataFrame(rows)


def calibration_table(assessed: Assessment) -> pd.DataFrame:
    """A row a question: slope, intercept, O:E and Brier scores."""
    titles = {
        "slope": ("Slope", 2),
        "intercept": ("Intercept", 2),
        "observed_expected": ("O:E", 2),
        "brier": ("Brier score", 3),
        "scaled_brier": ("Scaled Brier", 2),
    }
    return pd.DataFrame(
        [
            {
                "Finding": name,
                **{title: _decimal(getattr(found, figure), digits) for figure, (title, digits) in titles.items()},
            }
            for name, found in assessed.calibration.items()
        ]
    )


def benefit_table(curve: DecisionCurve) -> pd.DataFrame:
    """A row a threshold of a decision curve: net benefit, that of acting on all, and what is gained over the better simple rule."""
    return pd.DataFrame(
        [
            {
                "Act from": percent(float(at), 0),
                "Net benefit": _decimal(benefit, 3),
                "Acting on all": f"{treat_all:.3f}",
                "Gain": _decimal(gain, 3),
            }
            for at, benefit, treat_all, gain in zip(
                curve.thresholds, curve.net_benefit, curve.treat_all, curve.gain, strict=True
            )
        ]
    )


def answers_table(assessed: Assessment) -> pd.DataFrame:
    """A row a label: what its answers are worth, measured nested; see `abstention`."""
    entry = assessed.answers
    return pd.DataFrame(
        [
            {
                "Label": label,
                "Threshold": "never"
                if entry["thresholds"][label] is None
                else f"{100 * entry['thresholds'][label]:.0f} %",
                "Wrong": percent(row["error"]),
                "95 % interval": percent_range(*row["interval"]),
                "Slices": row["n"],
                "Scans": row["n_scans"],
            }
            for label, row in entry["by_label"].items()
        ]
    )


def sets_table(assessed: Assessment) -> pd.DataFrame:
    """A row a label: how many of its slices have a prediction set that holds it, measured nested; see `prediction_sets`."""
    entry = assessed.sets
    return pd.DataFrame(
        [
            {
                "Label": label,
                "Threshold": percent(entry["thresholds"][label]),
                "Covered": percent(share),
                "95 % interval": percent_range(*entry["intervals"][label]),
            }
            for label, share in entry["covered"].items()
        ]
    )


def sets_in_words(assessed: Assessment) -> str:
    """How large the prediction sets are, in a sentence."""
    entry = assessed.sets
    shares = ", ".join(f"{percent(share, 0)} have {n}" for n, share in enumerate(entry["sizes"]) if round(share, 2))
    return f"Prediction sets with a target coverage of {percent(entry['level'], 0)} of each label have {entry['mean_size']:.2f} labels on average: {shares}."


def report_tables(assessed: Assessment) -> list[tuple[str, pd.DataFrame]]:
    """The title and table of everything that the exported report states."""
    tables = []
    for rule, level in REPORTED_RULES:
        at = rule.capitalize() if level is None else f"{rule.capitalize()} of at least {percent(level, 0)}"
        tables.append((f"{at}, prevalence as tested", operating_table(assessed, rule, level, None)))
    rule, level = REPORTED_RULES[0]
    title = f"{rule.capitalize()}, prevalence {percent(REPORTED_PREVALENCE, 0)}"
    tables.append((title, operating_table(assessed, rule, level, REPORTED_PREVALENCE)))
    tables.append(("Calibration of each probability", calibration_table(assessed)))
    for name in assessed.contrasts:
        curve = assessed.decision_curve(name, thresholds=ACTED_FROM)
        tables.append((f"Net benefit of acting on {name}", benefit_table(curve)))
    tables.append(("Error among answers, measured nested", answers_table(assessed)))
    tables.append((sets_in_words(assessed), sets_table(assessed)))
    return tables


def _percent(interval: Interval, *, held: bool = False) -> str:
    return with_interval(interval.value, None if held else interval.low, interval.high)


def _decimal(interval: Interval, digits: int = 2) -> str:
    return decimal_with_interval(interval.value, interval.low, interval.high, digits)
