"""Predictions of labelled slices in depth, wherever they were measured: clinical use, curves, calibration, errors, planes, scans."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from kidney_core.app import charts, clinical_panel, embedding_panel, how_to_read, markdown, matrix_panel, tables
from kidney_core.app.tested import Tested
from kidney_core.metrics import chart_text, number_format

if TYPE_CHECKING:
    from kidney_core.metrics.intervals import Interval

HOW_TO_READ = {
    "roc": "The higher the curve, the better the class is separated from the rest; the dotted diagonal is guessing.",
    "precision_recall": "Precision over recall. The dotted line is the prevalence of the class, which guessing reaches.",
    "calibration": "On the diagonal, predictions with a confidence of 80 % are correct 80 % of the time; below it, the model is overconfident.",
    "errors": "The wrong predictions with the highest confidence: look for wrong labels and for what the model cannot see.",
    "planes": "The plane comes from DICOM tags or series.csv, or else is estimated from the outline of the body. In brackets: "
    "95 % intervals, where each class has at least five scans in that plane.",
    "scans": "The prediction for a scan is the mean over its slices.",
}


def _clinical_use(tested: Tested) -> None:
    clinical_panel.show(tested.assessment(), key=f"{tested.key}_clinical", name=tested.file_name)


def _curves(tested: Tested) -> None:
    from kidney_core.metrics import curve_plots, evaluation

    if not evaluation.one_vs_rest(tested.predictions):
        st.info("All of these slices have the same label, so there is no curve.")
        return
    ranges = tested.ranges()
    left, right = st.columns(2, gap="large")
    for column, draw_figure, name, what in (
        (left, curve_plots.roc_figure, "roc", "ROC curves"),
        (right, curve_plots.precision_recall_figure, "precision_recall", "Precision over recall"),
    ):
        with column:
            figure = draw_figure(tested.predictions, ranges)
            charts.draw(
                figure,
                f"{what}, each class against the rest: {chart_text.legend(figure)}.",
                key=f"{tested.key}_{name}",
                numbers=chart_text.line_table(figure),
                has_toolbar=True,
            )
            how_to_read.folded().caption(HOW_TO_READ[name])


def _calibration(tested: Tested) -> None:
    from kidney_core.metrics import calibration, curve_plots

    predictions = tested.predictions
    shown = {"calibrated": predictions.probabilities}
    if predictions.has_temperature:
        shown = {"before calibration": predictions.uncalibrated(), **shown}
    reliability = {name: calibration.reliability(each, predictions.y_true) for name, each in shown.items()}
    confidences = {name: each.max(axis=1) for name, each in shown.items()}
    figure = curve_plots.reliability_figure(reliability, confidences)
    charts.draw(
        figure,
        f"How often predictions are correct over their confidence: {chart_text.legend(figure)}.",
        key=f"{tested.key}_reliability",
        numbers=chart_text.reliability_table(reliability, of="confidence"),
        has_toolbar=True,
        width="content",
    )
    how_to_read.folded().caption(
        f"{HOW_TO_READ['calibration']} ECE is the mean distance from the diagonal. It has no interval, because "
        f"resampling inflates it. {markdown.text(tested.fitted)}"
    )


def _worst_errors(tested: Tested) -> None:
    predictions = tested.predictions
    wrong = predictions.subset(~predictions.is_right)
    st.markdown(f"{len(wrong):,} of {len(predictions):,} slices are predicted wrongly.")
    how_to_read.folded().caption(HOW_TO_READ["errors"])
    if not len(wrong):
        return
    least = st.slider(
        "Confidence of at least (%)",
        0,
        100,
        0,
        5,
        key=f"{tested.key}_least_confidence",
        help="Of the wrong predictions.",
    )
    shown = wrong.subset(wrong.confidence >= least / 100)
    st.caption(f"{len(shown):,} wrong predictions.")
    matrix_panel.show_slices_behind(
        tested.checkpoint, shown, key=f"{tested.key}_worst", same_network=tested.same_network, images=tested.images
    )


def _planes(tested: Tested) -> None:
    predictions = tested.predictions
    if "plane" not in predictions.table:
        st.info("These predictions were stored by an older version, without planes. Train the run again to see them.")
        return
    rows = []
    for plane in sorted(predictions.table["plane"].unique()):
        own = predictions.subset(predictions.table["plane"] == plane)
        ranges = tested.ranges(plane=plane)
        rows.append(
            {
                "Plane": plane.capitalize(),
                "Slices": f"{len(own):,}",
                "Scans": f"{own.n_series():,}",
                "Accuracy": _with_interval(ranges["accuracy"]),
                "Balanced accuracy": _with_interval(ranges["balanced_accuracy"]),
                **{
                    f"Recall of {label}": _with_interval(ranges[f"per_label.{label}.recall"])
                    if label in own.present_labels
                    else "–"
                    for label in own.labels
                },
            }
        )
    st.table(pd.DataFrame(rows).set_index("Plane").T)
    how_to_read.folded().caption(HOW_TO_READ["planes"])


def _with_interval(interval: "Interval") -> str:
    return number_format.with_interval(interval.value, interval.low, interval.high)


def _scans(tested: Tested) -> None:
    from kidney_core.metrics import evaluation

    scans = tested.predictions.per_series()
    ranges = {name: [interval.low, interval.high] for name, interval in tested.ranges(per_series=True).items()}
    metrics = evaluation.metrics(scans)
    matrix_panel.show_headline(metrics, ranges, tested="Scans")
    how_to_read.folded().caption(f"{HOW_TO_READ['scans']} {markdown.text(evaluation.mixed_series_note(scans))}")
    st.table(markdown.cells(number_format.report_with_intervals(metrics, ranges).rename(columns={"Slices": "Scans"})))
    table = scans.table.assign(right=scans.is_right)
    tables.show_table(table, key=f"{tested.key}_scans")
    st.download_button(
        "Scans (CSV)",
        tables.csv_bytes(table),
        f"{tested.file_name}-scans.csv",
        "text/csv",
        key=f"{tested.key}_scans_csv",
        on_click="ignore",
    )


PANELS: dict[str, Callable[[Tested], None]] = {
    "Clinical use": _clinical_use,
    "Curves": _curves,
    "Calibration": _calibration,
    "Worst errors": _worst_errors,
    "Planes": _planes,
    "Scans": _scans,
    "Map": embedding_panel.show,
}
