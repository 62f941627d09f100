"""The numbers that an export states of one set of predictions: computed to write it, and again to check it.

Imports neither torch nor a plotting library, so that a stranger's check starts at once.
"""

import html
from typing import Any, NamedTuple

import pandas as pd

from kidney_core.metrics import clinical, clinical_tables, comparison, evaluation, intervals
from kidney_core.metrics.number_format import percent, report_with_intervals
from kidney_core.metrics.predictions import Predictions
from kidney_core.metrics.splits import PROTOCOL_NAMES, PROTOCOL_TITLES

EXPORT_FORMAT = 3
WITHOUT_CLINICAL = 2  # the format of 0.5, which states no clinical figures
SEED = 0


class Stated(NamedTuple):
    """What an export states of one set of predictions.

    Attributes:
        entry: of the manifest: metrics, their 95 % intervals, metrics per scan, and the clinical figures.
        clinical: title -> the part of report.html with that title and its table, of each clinical table.
    """

    entry: dict[str, Any]
    clinical: dict[str, str]


def stated_of(
    predictions: Predictions, *, n_resamples: int = intervals.N_RESAMPLES, with_clinical: bool = True
) -> Stated:
    """Everything that an export states of predictions."""
    measured = intervals.intervals(predictions, n_resamples=n_resamples, seed=SEED)
    per_series = evaluation.metrics(predictions.per_series())
    entry = {
        "figures": evaluation.metrics(predictions),
        "intervals": {name: [each.low, each.high] for name, each in measured.items()},
        "per_series": {name: per_series[name] for name in ("n", "accuracy", "balanced_accuracy", "confusion")},
    }
    if not with_clinical:
        return Stated(entry, {})
    assessed = clinical.assess(predictions, n_resamples=n_resamples, seed=SEED)
    tables = clinical_tables.report_tables(assessed) if assessed.contrasts else []
    return Stated(
        {**entry, "clinical": clinical.as_numbers(assessed)},
        {title: f"<h4>{html.escape(title)}</h4>{table.to_html(index=False)}" for title, table in tables},
    )


def paired_entry(
    measured: dict[str, Predictions], data: dict[str, str], *, n_resamples: int = intervals.N_RESAMPLES
) -> dict[str, Any]:
    """What the manifest states of the paired tests of checkpoints that were measured alike.

    Args:
        measured: checkpoint -> its predictions.
        data: checkpoint -> the fingerprint of what it was tested on.
    """
    compared = comparison.compare_all(measured, data=data, n_resamples=n_resamples, seed=SEED)
    return {
        "tests": [
            [each.first, each.second, each.figure, each.difference.value, each.n_slices, each.n_series]
            for each in compared.tests
        ],
        "intervals": [
            [
                each.difference.low,
                each.difference.high,
                each.p_series,
                each.p_corrected,
                each.p_corrected_all,
                each.p_slices,
            ]
            for each in compared.tests
        ],
        "left_out": [[each.first, each.second, each.reason] for each in compared.left_out],
    }


def paired_table(entry: dict[str, Any]) -> pd.DataFrame:
    """The paired tests of an entry as a table, for paired-tests-<measured>.csv."""
    columns = ["first", "second", "figure", "difference", "slices", "scans"]
    ends = ["low", "high", "pvalue_scans", "pvalue_corrected_pairs", "pvalue_corrected_all", "pvalue_slices_mcnemar"]
    rows = [[*test, *more] for test, more in zip(entry["tests"], entry["intervals"], strict=True)]
    return pd.DataFrame(rows, columns=[*columns, *ends])


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
