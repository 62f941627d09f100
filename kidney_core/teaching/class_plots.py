"""Figures of a class: ROC and calibration of students and model side by side, and what was answered to a case."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from kidney_core.common.labels import color_of
from kidney_core.metrics.number_format import percent
from kidney_core.metrics.plots import apply_layout
from kidney_core.teaching.reader_study import PROBABILITY_OF_CONFIDENCE, CalibrationPoint, Curve
from kidney_core.teaching.seats import CONFIDENCES

STUDENTS_COLOR, MODEL_COLOR, GUESSING_COLOR = "#56B4E9", "#E69F00", "#999999"


def roc_figure(students: Curve | None, model: Curve | None) -> go.Figure:
    """The ROC curves for a finding against Normal with their areas; the diagonal is guessing."""
    figure = go.Figure()
    for name, curve, color in (("Students", students, STUDENTS_COLOR), ("Model", model, MODEL_COLOR)):
        if curve is not None:
            area = curve.area
            ends = "" if area.low is None or area.high is None else f", {area.low:.2f} to {area.high:.2f}"
            figure.add_scatter(
                x=curve.false_positive,
                y=curve.true_positive,
                name=f"{name} (AUC {area.value:.2f}{ends})",
                mode="lines+markers",
                line={"color": color, "width": 2.5},
            )
    _add_diagonal(figure, [0, 1])
    figure.update_xaxes(range=[-0.02, 1.02], title="normal cases called a finding", tickformat=".0%")
    figure.update_yaxes(range=[-0.02, 1.02], title="findings called a finding", tickformat=".0%")
    return _with_legend_below(apply_layout(figure, height=380))


def calibration_figure(students: Sequence[CalibrationPoint], model: Sequence[CalibrationPoint]) -> go.Figure:
    """How often answers of each confidence were correct; on the dotted line confidence and accuracy agree."""
    figure = go.Figure()
    for name, points, color in (("Students", students, STUDENTS_COLOR), ("Model", model, MODEL_COLOR)):
        if points:
            figure.add_scatter(
                x=[each.confidence for each in points],
                y=[each.accuracy for each in points],
                name=name,
                mode="lines+markers",
                line={"color": color, "width": 2.5},
                marker_size=10,
                customdata=[each.n for each in points],
                hovertemplate="confidence %{x}: %{y:.0%} of %{customdata} correct<extra></extra>",
            )
    _add_diagonal(figure, list(CONFIDENCES), [PROBABILITY_OF_CONFIDENCE[each] for each in CONFIDENCES])
    figure.update_xaxes(range=[0.8, 5.2], title="confidence", tickvals=list(CONFIDENCES))
    figure.update_yaxes(range=[-0.02, 1.05], title="class correct", tickformat=".0%")
    return _with_legend_below(apply_layout(figure, height=380))


def calibration_in_words(students: Sequence[CalibrationPoint], model: Sequence[CalibrationPoint]) -> str:
    """All numbers of `calibration_figure`, for those who cannot see it."""
    parts = [
        f"{name} {', '.join(f'{percent(each.accuracy, 0)} at {each.confidence}' for each in points)}"
        for name, points in (("Students", students), ("Model", model))
        if points
    ]
    return f"Correct answers over confidence 1 to 5. {'; '.join(parts) or 'None yet'}."


def answers_figure(counts: Mapping[str, int], truth: str, labels: Sequence[str]) -> go.Figure:
    """How many chose each label; the true one has an outline."""
    colors = [color_of(label, tuple(labels)) for label in labels]
    widths = [3 if label == truth else 0 for label in labels]
    figure = go.Figure(
        go.Bar(
            x=[f"{label} ✓" if label == truth else label for label in labels],
            y=[counts.get(label, 0) for label in labels],
            text=[counts.get(label, 0) for label in labels],
            marker={"color": colors, "line": {"color": "#3DDC97", "width": widths}},
        )
    )
    figure.update_yaxes(visible=False)
    return apply_layout(figure, height=220)


def _add_diagonal(figure: go.Figure, x: list[float], y: list[float] | None = None) -> None:
    figure.add_scatter(
        x=x, y=y or x, mode="lines", line={"dash": "dot", "color": GUESSING_COLOR}, showlegend=False, hoverinfo="skip"
    )


def _with_legend_below(figure: go.Figure) -> go.Figure:
    return figure.update_layout(legend={"orientation": "h", "y": -0.25, "x": 0})
