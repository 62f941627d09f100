"""The numbers that an export states of one set of predictions: computed to write it, and again to check it.

Imports neither torch nor a plotting library, so that a stranger's check starts at once.
"""

from typing import Any

from kidney_core.metrics import evaluation, intervals
from kidney_core.metrics.number_format import percent, report_with_intervals
from kidney_core.metrics.predictions import Predictions
from kidney_core.metrics.splits import PROTOCOL_NAMES, PROTOCOL_TITLES

EXPORT_FORMAT = 2
SEED = 0


def manifest_entry(predictions: Predictions, *, n_resamples: int = intervals.N_RESAMPLES) -> dict[str, Any]:
    """What the manifest states of predictions: metrics, their 95 % intervals, and metrics per scan."""
    measured = intervals.intervals(predictions, n_resamples=n_resamples, seed=SEED)
    per_series = evaluation.metrics(predictions.per_series())
    return {
        "figures": evaluation.metrics(predictions),
        "intervals": {name: [each.low, each.high] for name, each in measured.items()},
        "per_series": {name: per_series[name] for name in ("n", "accuracy", "balanced_accuracy", "confusion")},
    }


def comparison_row(name: str, protocol: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The row of comparison.csv that belongs to an entry of the manifest."""
    row = {"checkpoint": name, "protocol": PROTOCOL_NAMES[protocol], "slices": entry["figures"]["n"]}
    for key in ("accuracy", "balanced_accuracy"):
        low, high = entry["intervals"][key]
        row |= {key: entry["figures"][key], f"{key}_low": low, f"{key}_high": high}
    return row


def report_part(protocol: str, entry: dict[str, Any]) -> dict[str, str]:
    """The title, lead sentence and table of report.html that belong to an entry of the manifest."""
    metrics = entry["figures"]
    lead = (
        f"{metrics['n']:,} slices: accuracy {percent(metrics['accuracy'])}, balanced accuracy "
        f"{percent(metrics['balanced_accuracy'])}."
    )
    table = report_with_intervals(metrics, entry["intervals"]).to_html()
    return {"title": PROTOCOL_TITLES[protocol].capitalize(), "lead": lead, "table": table}
