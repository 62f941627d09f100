"""Clinical use: what a reviewer asks of a diagnostic test, on the page."""

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from kidney_core.app import charts, formatting, how_to_read, markdown, tables
from kidney_core.metrics import chart_text
from kidney_core.metrics.number_format import percent

if TYPE_CHECKING:
    from kidney_core.metrics.clinical import Assessment

_POINTS, _CALIBRATION, _DECISION, _ANSWERS = (
    "Sensitivity and specificity",
    "Calibration by label",
    "Decision curve",
    "Abstention and prediction sets",
)
HOW_TO_READ = {
    _POINTS: "Each row is a finding against the rest. A threshold is chosen on these same slices, in every resample again, so the figures are "
    "slightly optimistic for new scans. PPV and NPV: how often a positive or negative result is correct at this prevalence.",
    _CALIBRATION: "Ideal: slope 1, intercept 0, O:E 1. A slope below 1: probabilities too extreme. An intercept below 0, or O:E below 1: "
    "too high. Brier score: 0 is right; scaled: 0 is no better than the prevalence.",
    _DECISION: "Acting at 20 % or more means that one missed case weighs as much as four needless actions. Net benefit: true positives minus "
    "false positives with that weight. A prediction is useful where its line is above the other two.",
    _ANSWERS: "Nested: measured on scans that did not choose the threshold. A label is given from its threshold on, and never if it is wrong too often. "
    "A set holds every label that cannot be ruled out.",
}
_BRACKETS = " In brackets: 95 % intervals from resampling whole scans, where both sides have at least five."


def show(assessed: "Assessment", *, key: str, name: str) -> None:
    """The clinical figures of predictions.

    Args:
        key: of the widgets.
        name: for the files that are downloaded.
    """
    if not assessed.contrasts:
        st.info("All of these slices have the same label, so there is nothing to compare it with.")
        return
    views = {
        _POINTS: _show_points,
        _CALIBRATION: _show_calibration,
        _DECISION: _show_decision,
        _ANSWERS: _show_answers,
    }
    chosen = st.segmented_control(
        "Question",
        list(views),
        format_func=markdown.text,
        default=_POINTS,
        required=True,
        key=f"{key}_question",
        label_visibility="collapsed",
        bind="query-params",
    )
    views[chosen](assessed, key, name)
    how_to_read.folded().caption(formatting.nonbreaking(HOW_TO_READ[chosen] + _BRACKETS))


def _show_points(assessed: "Assessment", key: str, name: str) -> None:
    from kidney_core.metrics import clinical_tables, operating_points

    rules = {
        "Most probable label": operating_points.PREDICTED,
        "Specificity of at least": operating_points.SPECIFICITY,
        "Sensitivity of at least": operating_points.SENSITIVITY,
    }
    by, at, of = st.columns([2, 1, 1])
    rule = rules[by.selectbox("Threshold", list(rules), key=f"{key}_rule")]
    is_fixed = rule != operating_points.PREDICTED
    level = at.selectbox(
        "Level",
        operating_points.LEVELS,
        index=1,
        format_func=lambda value: percent(value, 0),
        disabled=not is_fixed,
        key=f"{key}_level",
    )
    with of:
        prevalence = _prevalence(key)
    table = clinical_tables.operating_table(assessed, rule, level if is_fixed else None, prevalence)
    _show_table(table, f"{name}-operating-points.csv", key=f"{key}_points")


def _prevalence(key: str) -> float | None:
    """The prevalence that the user enters, 0 to 1; None for the tested one."""
    entered = st.number_input(
        "Prevalence (%)",
        min_value=0.1,
        max_value=99.0,
        value=None,
        placeholder="as tested",
        key=f"{key}_prevalence",
        help="Of the finding, where the test is to be used. Empty: its share of these slices.",
    )
    return entered / 100 if entered else None


def _choose_finding(assessed: "Assessment", key: str) -> str:
    """The question that is looked at, "Abnormal" or a label."""
    return st.segmented_control(
        "Finding",
        list(assessed.contrasts),
        default=next(iter(assessed.contrasts)),
        required=True,
        format_func=markdown.text,
        key=key,
    )


def _show_calibration(assessed: "Assessment", key: str, name: str) -> None:
    from kidney_core.metrics import class_calibration, clinical_tables, curve_plots

    _show_table(
        clinical_tables.calibration_table(assessed), f"{name}-calibration-by-label.csv", key=f"{key}_calibration"
    )
    finding = _choose_finding(assessed, f"{key}_finding")
    contrast = assessed.contrasts[finding]
    grouped = class_calibration.grouped_reliability(contrast)
    figure = curve_plots.reliability_figure(
        {finding: grouped}, {finding: contrast.score}, of=f"probability of {finding}"
    )
    charts.draw(
        figure,
        f"How often {finding} was observed over its probability: {chart_text.legend(figure)}.",
        key=f"{key}_reliability",
        numbers=chart_text.reliability_table({finding: grouped}, of=f"probability of {finding}"),
        has_toolbar=True,
        width="content",
    )


def _show_decision(assessed: "Assessment", key: str, name: str) -> None:
    from kidney_core.metrics import clinical, clinical_plots, clinical_tables

    choice, of = st.columns([3, 1])
    with choice:
        finding = _choose_finding(assessed, f"{key}_acted_on")
    with of:
        prevalence = _prevalence(f"{key}_decision")
    table = clinical_tables.benefit_table(
        assessed.decision_curve(finding, thresholds=clinical.ACTED_FROM, prevalence=prevalence)
    )
    curve = assessed.decision_curve(finding, prevalence=prevalence)
    useful = curve.useful_range()
    st.markdown(
        f"Acting on {markdown.text(finding)} by this prediction is better than acting on all or on none from {percent(useful[0], 0)} to "
        f"{percent(useful[1], 0)} (lower end of the 95 % interval above 0)."
        if useful
        else "At no threshold does the 95 % interval show that the prediction is better than acting on all or on none."
    )
    _show_table(table, f"{name}-net-benefit-{finding}.csv", key=f"{key}_benefit")
    charts.draw(
        clinical_plots.decision_figure(curve, finding),
        f"Net benefit of acting on {finding} over the probability from which one acts, as in the table above.",
        key=f"{key}_decision",
        has_toolbar=True,
    )


def _show_answers(assessed: "Assessment", key: str, name: str) -> None:
    from kidney_core.metrics import clinical_tables

    entry = assessed.answers
    if entry["error"] is None:
        st.markdown("**Answers.** No label keeps the accepted error, so none is answered.")
    else:
        st.markdown(
            f"**Answers.** {percent(entry['coverage'])} of the slices are answered; {percent(entry['error'])} of these are wrong."
        )
    _show_table(clinical_tables.answers_table(assessed), f"{name}-answers.csv", key=f"{key}_answers")
    st.markdown(f"**Prediction sets.** {markdown.text(clinical_tables.sets_in_words(assessed))}")
    _show_table(clinical_tables.sets_table(assessed), f"{name}-prediction-sets.csv", key=f"{key}_sets")


def _show_table(table: pd.DataFrame, file: str, *, key: str) -> None:
    """A table with its download; text columns stay as they are written."""
    st.dataframe(tables.drawn(table), hide_index=True, key=f"{key}_table")
    st.download_button(
        "Table (CSV)", tables.csv_bytes(table), file, "text/csv", key=f"{key}_csv", on_click="ignore", type="tertiary"
    )
