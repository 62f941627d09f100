"""One model in depth: matrix and report under both protocols, curves, calibration, abstention, errors, planes, scans."""

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kidney_core.app import (
    checkpoint_choice,
    formatting,
    loading,
    markdown,
    matrix_panel,
    paint_over_panel,
    pointing_panel,
    tables,
)
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.metrics import echarts, number_format
from kidney_core.metrics.splits import CROSS_VALIDATED, PROTOCOL_NAMES, PROTOCOL_TITLES, RANDOM

if TYPE_CHECKING:
    from kidney_core.metrics.intervals import Interval
    from kidney_core.metrics.predictions import Predictions

HOW_TO_READ = {
    "roc": "The higher the curve, the better the class is separated from the rest; the dotted diagonal is guessing.",
    "precision_recall": "Precision over recall. The dotted line is the prevalence of the class, which guessing reaches.",
    "calibration": "On the diagonal, a confidence of 80 % means correct 80 % of the time; below it, the model is overconfident.",
    "abstention": "Withhold predictions below a confidence threshold: fewer predictions, and fewer wrong ones.",
    "errors": "The wrong predictions with the highest confidence: look for wrong labels and for what the model cannot see.",
    "planes": "The plane comes from DICOM tags or series.csv, or else is estimated from the outline of the body. In brackets: "
    "95 % intervals, where each class has at least five scans in that plane.",
    "scans": "The prediction for a scan is the mean over its slices.",
    "training": "The wider the gap between training and validation, the more the model overfits.",
}


def show(checkpoint: Checkpoint) -> None:
    """The chosen panel of a checkpoint."""
    panels = {
        "Matrix and report": _matrices,
        "Curves": _curves,
        "Calibration": _calibration,
        "Abstention": _abstention,
        "Worst errors": _worst_errors,
        "Planes": _planes,
        "Scans": _scans,
        "Explanations": pointing_panel.show,
        "Painted over": paint_over_panel.show,
        "Training": _training,
        "Model card": _card,
    }
    picked = st.segmented_control(
        "Panel",
        list(panels),
        default="Matrix and report",
        required=True,
        key="evaluation_panel",
        label_visibility="collapsed",
    )
    panels[picked](checkpoint)


def _matrices(checkpoint: Checkpoint) -> None:
    st.caption(f"How to read this. {matrix_panel.HOW_TO_READ_MATRIX} {matrix_panel.HOW_TO_READ_REPORT}")
    shown = checkpoint.shown_protocols
    selected = {}
    for column, protocol in zip(_two_beside(len(shown)), shown, strict=True):
        with column:
            st.markdown(f"#### {PROTOCOL_TITLES[protocol].capitalize()}")
            metrics = checkpoint.metrics(protocol)
            if metrics is None:
                st.info("Not measured under this protocol. Train under both protocols, then publish the pair.")
                continue
            split = checkpoint.card["split"][protocol]
            st.caption(
                f"{number_format.percent(split['shared_series_fraction'], 0)} of the test slices have other slices of the "
                f"same scan in training. {split['test_series']:,} scans were tested."
            )
            matrix_panel.show_headline(metrics, checkpoint.intervals(protocol))
            selected[protocol] = matrix_panel.show_matrix(
                metrics, loading.predictions(checkpoint, protocol), key=f"{checkpoint.name}-{protocol}"
            )
    for protocol, rows in selected.items():
        if rows is not None:
            matrix_panel.show_cell(
                checkpoint,
                rows,
                key=f"{checkpoint.name}-{protocol}",
                where=PROTOCOL_NAMES[protocol],
                same_network=_is_of_these_weights(checkpoint, protocol),
            )
    for column, protocol in zip(_two_beside(len(shown)), shown, strict=True):
        metrics = checkpoint.metrics(protocol)
        if metrics is not None:
            with column:
                matrix_panel.show_report(
                    metrics,
                    loading.predictions(checkpoint, protocol),
                    checkpoint.intervals(protocol),
                    key=f"{checkpoint.name}-{protocol}",
                )


def _two_beside(n: int) -> list[DeltaGenerator]:
    """Columns for n results, two beside each other."""
    return [column for _ in range(0, n, 2) for column in st.columns(2, gap="large")][:n]


def _is_of_these_weights(checkpoint: Checkpoint, protocol: str) -> bool:
    """True where the stored predictions were made by the checkpoint's own weights, not by another network of the recipe."""
    return checkpoint.card["training"].get("protocol") == protocol


def _choose_predictions(checkpoint: Checkpoint) -> tuple[str, "Predictions"] | None:
    """The protocol that the user chooses, and its predictions."""
    protocol = checkpoint_choice.choose_protocol([checkpoint], "evaluation_measured")
    if protocol is None:
        return None
    predictions = loading.predictions(checkpoint, protocol)
    if predictions is None:
        st.info("The folder of this checkpoint holds no predictions of this protocol. Copy the whole folder again.")
        return None
    leak = checkpoint.card["split"][protocol]["shared_series_fraction"]
    if protocol == RANDOM:
        st.warning(
            "Random split: slices of the same scans were in training (data leakage). These results are too good."
        )
    elif leak:
        st.warning(
            f"{number_format.percent(leak, 0)} of the test slices have slices of the same scan in training (data leakage)."
        )
    return protocol, predictions


def _curves(checkpoint: Checkpoint) -> None:
    from kidney_core.metrics import curve_plots

    chosen = _choose_predictions(checkpoint)
    if chosen is None:
        return
    ranges = loading.intervals_of(checkpoint, chosen[0])
    left, right = st.columns(2, gap="large")
    for column, draw_figure, name in (
        (left, curve_plots.roc_figure, "roc"),
        (right, curve_plots.precision_recall_figure, "precision_recall"),
    ):
        with column:
            st.plotly_chart(draw_figure(chosen[1], ranges), key=f"evaluation_{name}")
            st.caption("How to read this. " + HOW_TO_READ[name])


def _calibration(checkpoint: Checkpoint) -> None:
    from kidney_core.metrics import calibration, curve_plots

    chosen = _choose_predictions(checkpoint)
    if chosen is None:
        return
    protocol, predictions = chosen
    y_true = predictions.y_true
    reliability, fitted = {"calibrated": calibration.reliability(predictions.probabilities, y_true)}, ""
    if predictions.has_temperature:
        reliability = {"before calibration": calibration.reliability(predictions.uncalibrated(), y_true), **reliability}
        fitted = _fitted_on(protocol, predictions.table["temperature"])
    st.plotly_chart(curve_plots.reliability_figure(reliability), key="evaluation_reliability")
    st.caption(
        f"How to read this. {HOW_TO_READ['calibration']} ECE is the mean distance from the diagonal. It has no interval, because "
        f"resampling inflates it. {fitted}"
    )


def _fitted_on(protocol: str, temperatures: pd.Series) -> str:
    if (temperatures == 1).all():
        return "There was no validation part, so no temperature was fitted."
    if protocol == CROSS_VALIDATED:
        return "The temperature of each fold was fitted on slices that the fold does not test."
    return "The temperature was fitted on validation slices, not on these."


def _abstention(checkpoint: Checkpoint) -> None:
    from kidney_core.metrics import calibration, curve_plots

    _show_answers(checkpoint)
    _show_prediction_sets(checkpoint)
    chosen = _choose_predictions(checkpoint)
    if chosen is None:
        return
    predictions = chosen[1]
    curve = calibration.risk_coverage(predictions.probabilities, predictions.y_true)
    threshold = st.slider(
        "One confidence threshold for all labels",
        0.0,
        1.0,
        0.5,
        0.01,
        key=f"evaluation_threshold_{checkpoint.name}",
        help="To try out what a threshold gives. Diagnosis uses the thresholds of the table.",
    )
    coverage, risk = curve.at(threshold)
    predicted, wrong, all_wrong = st.columns(3)
    predicted.metric("Slices predicted", number_format.percent(coverage))
    wrong.metric("Error rate", number_format.percent(risk) if coverage else "–")
    all_wrong.metric("Error rate without abstention", number_format.percent(float(curve.risk[-1])))
    st.plotly_chart(curve_plots.risk_coverage_figure(curve, threshold), key="evaluation_risk")
    st.caption("How to read this. " + HOW_TO_READ["abstention"])


def _show_answers(checkpoint: Checkpoint) -> None:
    """The threshold of each label in Diagnosis, and what its answers are worth; missed lesions first."""
    entry = checkpoint.card.get("abstention") or {}
    if "by_label" not in entry:
        return
    missed = ", ".join(f"{number_format.percent(share)} of {label}" for label, share in entry["missed"].items())
    st.markdown(f"**Missed lesions.** Slices answered Normal: {markdown.text(missed)}.")
    rows = [
        {
            "Answer": label,
            "Given from": "never"
            if entry["thresholds"][label] is None
            else f"{100 * entry['thresholds'][label]:.0f} %",
            "Wrong": "–" if row["error"] is None else number_format.percent(row["error"]),
            "95 % interval": number_format.percent_range(*row["interval"]),
            "Slices": row["n"],
            "Scans": row["n_scans"],
        }
        for label, row in entry["by_label"].items()
    ]
    st.dataframe(tables.drawn(pd.DataFrame(rows)), hide_index=True, key=f"evaluation_answers_{checkpoint.name}")
    st.caption(
        formatting.nonbreaking(
            "In Diagnosis a label is answered from its threshold on. Measured nested, on scans that chose neither network nor threshold. "
            f"An answer that is wrong more often than {number_format.percent(entry['accepted_error'], 0)} there is never given."
        )
    )


def _show_prediction_sets(checkpoint: Checkpoint) -> None:
    """What the prediction sets of Diagnosis are worth, measured nested."""
    entry = checkpoint.card.get("prediction_sets")
    if not entry:
        return
    covered = ", ".join(f"{number_format.percent(share, 0)} of {label}" for label, share in entry["covered"].items())
    single = entry["sizes"][1]
    st.markdown(
        formatting.nonbreaking(
            f"**Prediction sets.** To hold the true label on {number_format.percent(entry['level'], 0)} of the slices of each label, "
            f"they have {entry['mean_size']:.1f} labels on average; {number_format.percent(single, 0)} have one. Measured: {markdown.text(covered)}."
        )
    )


def _worst_errors(checkpoint: Checkpoint) -> None:
    chosen = _choose_predictions(checkpoint)
    if chosen is None:
        return
    protocol, predictions = chosen
    wrong = predictions.subset(~predictions.is_right)
    st.markdown(f"{len(wrong):,} of {len(predictions):,} slices are predicted wrongly.")
    st.caption("How to read this. " + HOW_TO_READ["errors"])
    if len(wrong):
        same_network = _is_of_these_weights(checkpoint, protocol)
        matrix_panel.show_slices_behind(checkpoint, wrong, key="evaluation_worst", same_network=same_network)


def _planes(checkpoint: Checkpoint) -> None:
    chosen = _choose_predictions(checkpoint)
    if chosen is None:
        return
    protocol, predictions = chosen
    if "plane" not in predictions.table:
        st.info("These predictions were stored by an older version, without planes. Train the run again to see them.")
        return
    rows = []
    for plane in sorted(predictions.table["plane"].unique()):
        own = predictions.subset(predictions.table["plane"] == plane)
        ranges = loading.intervals_of(checkpoint, protocol, plane=plane)
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
    st.table(markdown.cells(pd.DataFrame(rows).set_index("Plane").T))
    st.caption("How to read this. " + HOW_TO_READ["planes"])


def _with_interval(interval: "Interval") -> str:
    return number_format.with_interval(interval.value, interval.low, interval.high)


def _scans(checkpoint: Checkpoint) -> None:
    from kidney_core.metrics import evaluation

    chosen = _choose_predictions(checkpoint)
    if chosen is None:
        return
    scans = chosen[1].per_series()
    ranges = {
        name: [interval.low, interval.high]
        for name, interval in loading.intervals_of(checkpoint, chosen[0], per_series=True).items()
    }
    metrics = evaluation.metrics(scans)
    matrix_panel.show_headline(metrics, ranges, tested="Scans")
    st.caption(f"How to read this. {HOW_TO_READ['scans']} {markdown.text(evaluation.mixed_series_note(scans))}")
    report = number_format.report_with_intervals(metrics, ranges).rename(columns={"Slices": "Scans"})
    st.table(markdown.cells(report))
    table = scans.table.assign(right=scans.is_right)
    tables.show_table(table, key="evaluation_scans")
    st.download_button(
        "Scans (CSV)", tables.csv_bytes(table), f"{checkpoint.name}-scans.csv", "text/csv", on_click="ignore"
    )


def _training(checkpoint: Checkpoint) -> None:
    curves = {checkpoint.name: checkpoint.card.get("curves", [])}
    if not curves[checkpoint.name]:
        st.info("The checkpoint holds no training curves.")
        return
    for column, quantity in zip(st.columns(2), ("loss", "accuracy"), strict=True):
        with column:
            st.echarts_chart(echarts.curve_options(curves, quantity), height=340, key=f"evaluation_{quantity}")
    has_validation = checkpoint.card["training"].get("validation_fraction")
    solid = "validation" if has_validation else "the test part, as there was no validation part"
    st.caption(f"Solid: {solid}. Dashed: training. How to read this. {HOW_TO_READ['training']}")


def _card(checkpoint: Checkpoint) -> None:
    card = checkpoint.card
    if checkpoint.seal_warning:
        st.warning(markdown.text(checkpoint.seal_warning))
    st.markdown(f"**Intended use.** {markdown.text(card['intended_use'])}")
    st.markdown("**Limits**\n" + "\n".join(f"- {markdown.text(limit)}" for limit in card["limits"]))
    st.markdown("**Trained with**")
    st.code(card["command"], language="bash", wrap_lines=True)
    shown = ("data", "split", "preprocessing", "temperature", "software", "created")
    st.json({key: card[key] for key in shown if key in card}, expanded=1)
