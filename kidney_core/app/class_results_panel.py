"""The results of a class: students, cases, ROC and calibration beside the model's, before and after AI, and their CSV files."""

import pandas as pd
import streamlit as st

from kidney_core.app import charts, markdown, quiz_panel, tables
from kidney_core.metrics import chart_text
from kidney_core.metrics.number_format import percent, percent_range
from kidney_core.teaching import class_results
from kidney_core.teaching.class_results import Answered
from kidney_core.teaching.classroom import ClassSession


def show(session: ClassSession) -> None:
    """All that a class has answered so far."""
    seats = {seat.name: seat.readings() for seat in session.seats()}
    answers = dict(enumerate(session.answers))
    rows = class_results.answered(seats, session.cases, answers)
    if not rows:
        st.info("No answers yet.")
        return
    students = class_results.student_table(rows, list(seats))
    cases = class_results.case_table(rows, session.cases, answers)
    st.button("Refresh", icon=":material/refresh:", key="teaching_results_renew")
    st.markdown("**Students**")
    st.dataframe(tables.drawn(students), hide_index=True, placeholder="–", key="teaching_students")
    st.markdown("**Cases**")
    st.dataframe(tables.drawn(cases), hide_index=True, placeholder="–", key="teaching_cases")
    if session.rules.looks_again:
        show_before_and_after(rows)
    show_curves(rows)
    st.caption(markdown.text(quiz_panel.fairness_in_words(rows)))
    st.markdown("**Download** (CSV)")
    files = {
        "All answers": (class_results.answer_table(rows), "class-answers.csv"),
        "Students": (students, "class-students.csv"),
        "Cases": (cases, "class-cases.csv"),
    }
    for column, (title, (table, file)) in zip(st.columns(len(files)), files.items(), strict=True):
        column.download_button(
            markdown.text(title), tables.csv_bytes(table), file, "text/csv", on_click="ignore", width="stretch"
        )


def show_before_and_after(rows: list[Answered]) -> None:
    """What the model's answer did to the readers, as figures with their intervals, and as CSV."""
    from kidney_core.teaching import reader_study

    rates = reader_study.before_and_after(rows)
    if not rates:
        st.info("Nobody has answered a second time yet.")
        return
    st.markdown("**Before and after AI**")
    for start in (0, 3):
        for column, rate in zip(st.columns(3), rates[start : start + 3], strict=True):
            is_gain = rate.name == "Gain"
            value, ends = rate.interval.value, (rate.interval.low, rate.interval.high)
            shown = "–" if value is None else f"{100 * value:+.1f} points" if is_gain else percent(value)
            column.metric(markdown.text(rate.name), markdown.text(shown), help=markdown.text(rate.help), border=True)
            column.caption(f"95 % interval: {percent_range(*ends, signed=is_gain)} · n = {rate.n:,}")
    st.caption(
        "Readers and cases are resampled for the intervals; there is none below "
        f"{reader_study.MIN_READINGS} answers. Half of the cases from a model’s own dataset are among its errors, so that automation bias "
        "can show: the accuracies hold for this quiz only."
    )
    table = pd.DataFrame(
        {
            "figure": [each.name for each in rates],
            "value": [each.interval.value for each in rates],
            "low": [each.interval.low for each in rates],
            "high": [each.interval.high for each in rates],
            "n": [each.n for each in rates],
            "meaning": [each.help for each in rates],
        }
    )
    st.download_button(
        "Download the reader study (CSV)",
        tables.csv_bytes(table),
        "reader-study.csv",
        "text/csv",
        on_click="ignore",
        key="teaching_study_csv",
    )


def show_curves(rows: list[Answered]) -> None:
    """ROC and calibration of first answers beside the model's on the same cases."""
    from kidney_core.teaching import class_plots, reader_study

    students, model = reader_study.reader_curve(rows), reader_study.model_curve(rows)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**ROC: finding or normal**")
        if students is None:
            st.caption("Needs answers to normal cases and to cases with a finding.")
        else:
            figure = class_plots.roc_figure(students, model)
            charts.draw(
                figure,
                f"ROC curves of a finding against normal: {chart_text.legend(figure)}.",
                key="teaching_class_roc",
                numbers=chart_text.line_table(figure),
            )
    with right:
        st.markdown("**Calibration**")
        of_students, of_model = reader_study.reader_calibration(rows), reader_study.model_calibration(rows)
        figure = class_plots.calibration_figure(of_students, of_model)
        charts.draw(
            figure,
            class_plots.calibration_in_words(of_students, of_model),
            key="teaching_class_calibration",
            numbers=chart_text.line_table(figure),
        )
    st.caption(
        "First answers, with their confidence; the model by its probabilities, on the cases on which it is scored. Confidence 1 to 5 is "
        "read as 20 to 100 %."
    )
