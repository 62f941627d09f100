"""One model in depth: matrix and report under both protocols, curves, calibration, abstention, errors, planes, scans."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kidney_core.app import (
    charts,
    checkpoint_choice,
    curves_panel,
    formatting,
    how_to_read,
    loading,
    markdown,
    matrix_panel,
    paint_over_panel,
    pointing_panel,
    tables,
    tested_panel,
)
from kidney_core.app.tested import Tested
from kidney_core.checkpoints.card import reported_epoch
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.labels import NORMAL
from kidney_core.metrics import chart_text, number_format
from kidney_core.metrics.splits import CROSS_VALIDATED, PROTOCOL_NAMES, RANDOM
from kidney_core.runs import curve_panels
from kidney_core.runs.curves import Curves

if TYPE_CHECKING:
    from kidney_core.metrics.predictions import Predictions

HOW_TO_READ = {
    "abstention": "Withhold predictions below a confidence threshold: fewer predictions, and fewer wrong ones.",
    "training": "The wider the gap between training and validation, the more the model overfits.",
}


def show(checkpoint: Checkpoint) -> None:
    """The chosen panel of a checkpoint."""
    picked = st.segmented_control(
        "Panel",
        list(PANELS),
        default="Matrix and report",
        required=True,
        key="evaluation_panel",
        bind="query-params",
        label_visibility="collapsed",
    )
    PANELS[picked](checkpoint)


def _matrices(checkpoint: Checkpoint) -> None:
    how_to_read.folded().caption(f"{matrix_panel.HOW_TO_READ_MATRIX} {matrix_panel.HOW_TO_READ_REPORT}")
    shown = checkpoint.shown_protocols
    selected = {}
    for column, protocol in zip(_two_beside(len(shown)), shown, strict=True):
        with column:
            # Short headings and the same numbers above every matrix, so that the matrices stand level.
            st.markdown(f"## {markdown.text(_capitalized(PROTOCOL_NAMES[protocol]))}")
            metrics = checkpoint.metrics(protocol)
            if metrics is None:
                st.info(
                    "Not measured under this protocol. Train under both protocols, then publish the pair."
                    if checkpoint.is_evaluated
                    else markdown.text(checkpoint.without_figures)
                )
                continue
            matrix_panel.show_values(metrics)
            selected[protocol] = matrix_panel.show_matrix(
                metrics, loading.predictions(checkpoint, protocol), key=f"{checkpoint.name}-{protocol}"
            )
            matrix_panel.show_intervals(checkpoint.intervals(protocol))
            split = checkpoint.card["split"][protocol]
            st.caption(
                f"{number_format.percent(split['shared_series_fraction'], 0)} of the test slices have other slices of the "
                f"same scan in training. {split['test_series']:,} scans were tested."
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


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


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
            "Random split: slices of the same scans were in training (data leakage). These results are inflated."
        )
    elif leak:
        st.warning(
            f"{number_format.percent(leak, 0)} of the test slices have slices of the same scan in training (data leakage)."
        )
    return protocol, predictions


def _fitted_on(protocol: str, temperatures: pd.Series) -> str:
    if (temperatures == 1).all():
        return "There was no validation part, so no temperature was fitted."
    if protocol == CROSS_VALIDATED:
        return "The temperature of each fold was fitted on slices that the fold does not test."
    return "The temperature was fitted on validation slices, not on these."


def _show_stored(panel: str, checkpoint: Checkpoint) -> None:
    """A panel of the stored predictions that the user chooses."""
    chosen = _choose_predictions(checkpoint)
    if chosen is None:
        return
    protocol, predictions = chosen
    tested = Tested(
        checkpoint=checkpoint,
        predictions=predictions,
        ranges=partial(loading.intervals_of, checkpoint, protocol),
        assessment=partial(loading.assessment_of, checkpoint, protocol),
        key="evaluation",
        file_name=f"{checkpoint.name}-{protocol}",
        same_network=_is_of_these_weights(checkpoint, protocol),
        fitted=_fitted_on(protocol, predictions.table["temperature"]) if predictions.has_temperature else "",
    )
    tested_panel.PANELS[panel](tested)


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
    figure = curve_plots.risk_coverage_figure(curve, threshold)
    charts.draw(
        figure,
        f"Error rate over the share of slices predicted: {number_format.percent(risk)} wrong of {number_format.percent(coverage)} "
        f"at the chosen threshold, {number_format.percent(float(curve.risk[-1]))} of all.",
        key="evaluation_risk",
        numbers=chart_text.line_table(figure),
        has_toolbar=True,
    )
    how_to_read.folded().caption(HOW_TO_READ["abstention"])


def _show_answers(checkpoint: Checkpoint) -> None:
    """The threshold of each label in Diagnosis, and what its answers are worth; missed lesions first."""
    entry = checkpoint.card.get("abstention") or {}
    if "by_label" not in entry:
        return
    missed = ", ".join(f"{number_format.percent(share)} of {label}" for label, share in entry["missed"].items())
    answers_normal = entry["thresholds"].get(NORMAL) is not None
    told = (
        f"Slices answered {NORMAL}: {missed}." if answers_normal else f"None, since this model never answers {NORMAL}."
    )
    st.markdown(f"**Missed lesions** (unseen scans). {markdown.text(told)}")
    rows = [
        {
            "Label": label,
            "Threshold": "never" if entry["thresholds"][label] is None else f"{100 * entry['thresholds'][label]:.0f} %",
            "Wrong": "–" if row["error"] is None else number_format.percent(row["error"]),
            "95 % interval": number_format.percent_range(*row["interval"]),
            "Slices": row["n"],
            "Scans": row["n_scans"],
        }
        for label, row in entry["by_label"].items()
    ]
    st.dataframe(tables.drawn(pd.DataFrame(rows)), hide_index=True, key=f"evaluation_answers_{checkpoint.name}")
    how_to_read.folded().caption(
        formatting.nonbreaking(
            "Diagnosis gives a label from its threshold on. Nested: measured on scans that chose neither network nor threshold. "
            f"A label that is wrong there in more than {number_format.percent(entry['accepted_error'], 0)} of the answers is never given."
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
            f"**Prediction sets** with a target coverage of {number_format.percent(entry['level'], 0)} of each label cover {markdown.text(covered)}. "
            f"Mean size: {entry['mean_size']:.1f} labels; {number_format.percent(single, 0)} have one."
        )
    )


def _training(checkpoint: Checkpoint) -> None:
    st.markdown(markdown.text(reported_epoch(checkpoint.card)))
    curves = Curves(metrics=checkpoint.card.get("curves", []))
    if not curves.epochs:
        st.info("The checkpoint holds no training curves.")
        return
    available = curve_panels.quantities({checkpoint.name: curves})
    chosen = st.multiselect(
        "Curves",
        list(available),
        default=[name for name in (curve_panels.LOSS, curve_panels.ACCURACY) if name in available],
        format_func=lambda name: available[name].capitalize(),
        key="evaluation_quantities",
    )
    curves_panel.draw({checkpoint.name: [curves]}, chosen, curve_panels.Choice(), key="evaluation_training")
    if not checkpoint.card["training"].get("validation_fraction"):
        st.caption("There was no validation part: “validation” is the test part.")
    how_to_read.folded().caption(HOW_TO_READ["training"])


def _card(checkpoint: Checkpoint) -> None:
    card = checkpoint.card
    if checkpoint.seal_warning:
        st.warning(markdown.text(checkpoint.seal_warning))
    st.markdown(f"**Intended use.** {markdown.text(card['intended_use'])}")
    st.markdown("**Limits**\n" + "\n".join(f"- {markdown.text(limit)}" for limit in card["limits"]))
    st.markdown("**Trained with**")
    st.code(card["command"], language="bash", wrap_lines=True)
    shown = ("imported", "data", "split", "preprocessing", "temperature", "software", "created")
    st.json({key: card[key] for key in shown if key in card}, expanded=1)


PANELS: dict[str, Callable[[Checkpoint], None]] = {
    "Matrix and report": _matrices,
    "Clinical use": partial(_show_stored, "Clinical use"),
    "Curves": partial(_show_stored, "Curves"),
    "Calibration": partial(_show_stored, "Calibration"),
    "Abstention": _abstention,
    "Worst errors": partial(_show_stored, "Worst errors"),
    "Planes": partial(_show_stored, "Planes"),
    "Scans": partial(_show_stored, "Scans"),
    "Map": partial(_show_stored, "Map"),
    "Explanations": pointing_panel.show,
    "Painted over": paint_over_panel.show,
    "Training": _training,
    "Model card": _card,
}
