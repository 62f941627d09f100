"""One model in depth: matrix and report under both protocols, curves, calibration, abstaining, errors, planes, series."""

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from kidney_core import figures, matrix_panel, pointing_panel, ui
from kidney_core.checkpoint import Checkpoint
from kidney_core.splits import CROSS_VALIDATED, GROUPED, PROTOCOL_NAMES, PROTOCOL_TITLES, RANDOM

if TYPE_CHECKING:
    from kidney_core.intervals import Interval

HOW_TO_READ = {
    "roc": "The higher the curve, the better the class is told from the rest; the dotted diagonal is guessing.",
    "precision_recall": "How many alarms are right, over how many cases are found; dotted, the share of the class.",
    "calibration": "On the diagonal, 80 % sure means right 80 % of the time; below it, the model is too sure of itself.",
    "abstaining": "Withhold the answers below a confidence: fewer slices are answered, and fewer answers are wrong.",
    "errors": "The wrong answers the model was surest of: look here for wrong labels and for what it cannot see.",
    "planes": "Which way the scan was cut, as its tags or series.csv say, else told by the outline of the body. A model that is right on one plane only has seen too "
    "little of the other. In brackets, 95 % intervals, where each class has five series or more in that plane.",
    "series": "The mean over a scan's slices answers for the scan, which is what a patient has.",
    "training": "The wider the gap between training and validation, the more the model learned its scans by heart.",
}


def draw(checkpoint: Checkpoint) -> None:
    """Draw the chosen panel of a checkpoint."""
    panels = {
        "Matrix and report": _matrices,
        "Curves": _curves,
        "Calibration": _calibration,
        "Abstaining": _abstaining,
        "Worst errors": _worst_errors,
        "Planes": _planes,
        "Series": _series,
        "Explanations": pointing_panel.draw,
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
    shown = (checkpoint.honest or GROUPED, RANDOM)
    opened = {}
    for column, protocol in zip(st.columns(2, gap="large"), shown, strict=True):
        with column:
            st.markdown(f"#### {PROTOCOL_TITLES[protocol].capitalize()}")
            found = checkpoint.figures(protocol)
            if found is None:
                st.info(
                    "This checkpoint was not measured under this protocol. Train it with both, then publish the pair."
                )
                continue
            described = checkpoint.card["split"][protocol]
            st.caption(
                f"{figures.percent(described['shared_series_fraction'], 0)} of the test slices have other slices of the "
                f"same scan in training; {described['test_series']} series were tested."
            )
            matrix_panel.show_headline(found, checkpoint.intervals(protocol))
            opened[protocol] = matrix_panel.show_matrix(
                found, ui.predictions(checkpoint, protocol), key=f"{checkpoint.name}-{protocol}"
            )
    for protocol, rows in opened.items():
        if rows is not None:
            matrix_panel.show_cell(
                checkpoint,
                rows,
                key=f"{checkpoint.name}-{protocol}",
                where=PROTOCOL_NAMES[protocol],
                same_network=_is_of_these_weights(checkpoint, protocol),
            )
    for column, protocol in zip(st.columns(2, gap="large"), shown, strict=True):
        if protocol in opened:
            with column:
                matrix_panel.show_report(
                    checkpoint.figures(protocol),
                    ui.predictions(checkpoint, protocol),
                    checkpoint.intervals(protocol),
                    key=f"{checkpoint.name}-{protocol}",
                )


def _is_of_these_weights(checkpoint: Checkpoint, protocol: str) -> bool:
    """True where the stored answers were given by the weights that ship, not by another network of the recipe."""
    return checkpoint.card["training"].get("protocol") == protocol


def _choose_measured(checkpoint: Checkpoint) -> tuple[str, pd.DataFrame] | None:
    """Which predictions the panel is about."""
    protocol = ui.choose_measured([checkpoint], "evaluation_measured")
    if protocol is None:
        return None
    predictions = ui.predictions(checkpoint, protocol)
    if predictions is None:
        st.info("The checkpoint's folder holds no predictions of this protocol. Copy the whole folder again.")
        return None
    if protocol == RANDOM:
        st.warning("Random split: slices of the same scans were in training. These figures measure memory.")
    return protocol, predictions


def _curves(checkpoint: Checkpoint) -> None:
    from kidney_core import curve_figures

    chosen = _choose_measured(checkpoint)
    if chosen is None:
        return
    ranges = ui.intervals_of(checkpoint, chosen[0])
    left, right = st.columns(2, gap="large")
    for column, draw_figure, name in (
        (left, curve_figures.roc_figure, "roc"),
        (right, curve_figures.precision_recall_figure, "precision_recall"),
    ):
        with column:
            st.plotly_chart(draw_figure(chosen[1], ranges), key=f"evaluation_{name}")
            st.caption("How to read this. " + HOW_TO_READ[name])


def _calibration(checkpoint: Checkpoint) -> None:
    from kidney_core import calibration, curve_figures, evaluation

    chosen = _choose_measured(checkpoint)
    if chosen is None:
        return
    predictions = chosen[1]
    probabilities, y = evaluation.probabilities_of(predictions), evaluation.true_positions(predictions)
    found, fitted = {"calibrated": calibration.reliability(probabilities, y)}, ""
    if "temperature" in predictions:
        found = {"before calibration": calibration.reliability(evaluation.uncalibrated(predictions), y), **found}
        fitted = _fitted_on(chosen[0], predictions["temperature"])
    st.plotly_chart(curve_figures.reliability_figure(found), key="evaluation_reliability")
    st.caption(
        f"How to read this. {HOW_TO_READ['calibration']} ECE is the mean distance from the diagonal; it has no interval, "
        f"since resampling makes it larger than it is. {fitted}"
    )


def _fitted_on(protocol: str, temperatures: pd.Series) -> str:
    if (temperatures == 1).all():
        return "There was no validation part, so no temperature was fitted."
    if protocol == CROSS_VALIDATED:
        return "Each fold's temperature was fitted on slices that it does not test, never on these."
    return "The temperature was fitted on validation slices, never on these."


def _abstaining(checkpoint: Checkpoint) -> None:
    from kidney_core import calibration, curve_figures, evaluation
    from kidney_core.verdict import confidence_asked

    chosen = _choose_measured(checkpoint)
    if chosen is None:
        return
    predictions = chosen[1]
    found = calibration.risk_coverage(evaluation.probabilities_of(predictions), evaluation.true_positions(predictions))
    asked = confidence_asked(checkpoint.card)
    threshold = st.slider(
        "Answer from this confidence",
        0.0,
        1.0,
        round(asked, 2) if asked is not None else 1.0,
        0.01,
        key=f"evaluation_threshold_{checkpoint.name}",
        help="It starts at the confidence that Diagnosis asks of this model; at 100 % where it always abstains.",
    )
    coverage, risk = found.at(threshold)
    answered, wrong, whole = st.columns(3)
    answered.metric("Slices answered", figures.percent(coverage))
    wrong.metric("Of the answers wrong", figures.percent(risk) if coverage else "–")
    whole.metric("Wrong without abstaining", figures.percent(float(found.risk[-1])))
    st.plotly_chart(curve_figures.risk_coverage_figure(found, threshold), key="evaluation_risk")
    st.caption("How to read this. " + HOW_TO_READ["abstaining"])


def _worst_errors(checkpoint: Checkpoint) -> None:
    chosen = _choose_measured(checkpoint)
    if chosen is None:
        return
    wrong = chosen[1][chosen[1]["label"] != chosen[1]["predicted"]]
    st.markdown(f"{len(wrong):,} of {len(chosen[1]):,} slices are called wrongly.")
    st.caption("How to read this. " + HOW_TO_READ["errors"])
    if len(wrong):
        same_network = _is_of_these_weights(checkpoint, chosen[0])
        matrix_panel.show_slices_behind(checkpoint, wrong, key="evaluation_worst", same_network=same_network)


def _planes(checkpoint: Checkpoint) -> None:
    chosen = _choose_measured(checkpoint)
    if chosen is None:
        return
    protocol, predictions = chosen
    if "plane" not in predictions:
        st.info("These predictions were stored before planes were told apart. Train the run again to see them.")
        return
    from kidney_core import evaluation

    labels = evaluation.labels_of(predictions)
    rows = []
    for plane, own in predictions.groupby("plane"):
        ranges = ui.intervals_of(checkpoint, protocol, plane=plane)
        present = set(own["label"])
        rows.append(
            {
                "Plane": plane.capitalize(),
                "Slices": f"{len(own):,}",
                "Series": f"{own['series'].nunique():,}",
                "Accuracy": _with_interval(ranges["accuracy"]),
                "Balanced accuracy": _with_interval(ranges["balanced_accuracy"]),
                **{
                    f"Recall of {label}": _with_interval(ranges[f"per_label.{label}.recall"])
                    if label in present
                    else "–"
                    for label in labels
                },
            }
        )
    st.table(pd.DataFrame(rows).set_index("Plane").T)
    st.caption("How to read this. " + HOW_TO_READ["planes"])


def _with_interval(at: "Interval") -> str:
    return figures.with_interval(at.value, at.low, at.high)


def _series(checkpoint: Checkpoint) -> None:
    from kidney_core import evaluation

    chosen = _choose_measured(checkpoint)
    if chosen is None:
        return
    table = evaluation.per_series(chosen[1])
    ranges = {name: [at.low, at.high] for name, at in ui.intervals_of(checkpoint, chosen[0], per_series=True).items()}
    found = evaluation.figures(table)
    matrix_panel.show_headline(found, ranges, tested="Series")
    st.caption(f"How to read this. {HOW_TO_READ['series']} {evaluation.split_series(table)}")
    st.table(figures.report_with_intervals(found, ranges).rename(columns={"Slices": "Series"}))
    table = table.assign(right=table["label"] == table["predicted"])
    ui.show_table(table, key="evaluation_series")
    st.download_button(
        "Series (CSV)", ui.csv_bytes(table), f"{checkpoint.name}-series.csv", "text/csv", on_click="ignore"
    )


def _training(checkpoint: Checkpoint) -> None:
    curves = {checkpoint.name: checkpoint.card.get("curves", [])}
    if not curves[checkpoint.name]:
        st.info("The card holds no training curves.")
        return
    for column, quantity in zip(st.columns(2), ("loss", "accuracy"), strict=True):
        with column:
            st.echarts_chart(figures.curve_options(curves, quantity), height=340, key=f"evaluation_{quantity}")
    has_validation = checkpoint.card["training"].get("validation_fraction")
    solid = "validation" if has_validation else "the test part, as there was no validation part"
    st.caption(f"Solid: {solid}. Dashed: training. How to read this. {HOW_TO_READ['training']}")


def _card(checkpoint: Checkpoint) -> None:
    card = checkpoint.card
    if checkpoint.unsealed:
        st.warning(checkpoint.unsealed)
    st.markdown(f"**Intended use.** {card['intended_use']}")
    st.markdown("**Limits**\n" + "\n".join(f"- {limit}" for limit in card["limits"]))
    st.markdown("**Trained with**")
    st.code(card["command"], language="bash", wrap_lines=True)
    shown = ("data", "split", "preprocessing", "temperature", "software", "created")
    st.json({key: card[key] for key in shown if key in card}, expanded=1)
