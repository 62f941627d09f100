"""Numbers as people read them: per cent with their intervals, p values, names of architectures.

Imports no plotting library, so that a report can be checked without one.
"""

from typing import Any

import pandas as pd

from kidney_core.common.paper import ARCHITECTURE_NAMES


def model_name(architecture: str) -> str:
    """The paper's name of an architecture where it has one."""
    return ARCHITECTURE_NAMES.get(architecture, architecture)


def figure_of(metrics: dict[str, Any], name: str) -> float | None:
    """The metric of a dotted name in what `evaluation.metrics` returns."""
    value: Any = metrics
    for part in name.split("."):
        value = value[part]
    return value


def percent(value: float | None, digits: int = 1) -> str:
    """0.8213 -> "82.1 %"; a dash for None."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def percent_range(low: float | None, high: float | None, *, signed: bool = False) -> str:
    """0.807, 0.94 -> "80.7 to 94.0 %", signed, as of a difference, "+80.7 to +94.0 points"; a dash without an interval."""
    if low is None or high is None:
        return "–"
    sign, unit = ("+", "points") if signed else ("", "%")
    return f"{100 * low:{sign}.1f} to {100 * high:{sign}.1f} {unit}"


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """0.821, 0.7, 0.91 -> "82.1 (70–91)"; no brackets without an interval, a dash without a figure."""
    if value is None:
        return "–"
    # Word joiners: a narrow column breaks before the bracket, not inside it.
    return f"{100 * value:.1f}" + (
        "" if low is None or high is None else f" ({100 * low:.0f}\u2060–\u2060{100 * high:.0f})"
    )


def decimal_with_interval(value: float | None, low: float | None, high: float | None, digits: int = 2) -> str:
    """1.089, 0.91, 1.32 -> "1.09 (0.91 to 1.32)"; no brackets without an interval, a dash without a figure."""
    if value is None:
        return "–"
    at, *ends = (f"{each + 0.0:.{digits}f}" for each in (round(part or 0.0, digits) for part in (value, low, high)))
    return at if low is None or high is None else f"{at} ({ends[0]} to {ends[1]})"


def p_value(p: float) -> str:
    """0.0312 -> "0.031"; below a thousandth "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def report_with_intervals(metrics: dict[str, Any], intervals: dict[str, list[float | None]]) -> pd.DataFrame:
    """The classification report as text, each rate with its 95 % interval in brackets."""

    def cell(name: str, value: float | None) -> str:
        return with_interval(value, *intervals.get(name, (None, None)))

    rates = {"precision": "Precision %", "recall": "Recall %", "f1": "F1 %", "roc_auc": "ROC AUC %"}
    rows = {label: ("per_label." + label, values) for label, values in metrics["per_label"].items()}
    rows |= {f"{average} average": (average, metrics[average]) for average in ("macro", "weighted")}
    table = {
        label: {
            # A rate of a class that is not there says nothing.
            title: cell(f"{prefix}.{key}", values[key] if values.get("support", 1) else None)
            for key, title in rates.items()
        }
        | {"Slices": f"{values.get('support', metrics['n']):,}"}
        for label, (prefix, values) in rows.items()
    }
    return pd.DataFrame.from_dict(table, orient="index")
