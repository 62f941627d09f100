"""Curves of predictions as Plotly figures: ROC, precision and recall, reliability, risk and coverage."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from kidney_core.common.labels import color_of
from kidney_core.metrics import evaluation
from kidney_core.metrics.calibration import Reliability, RiskCoverage
from kidney_core.metrics.intervals import Interval
from kidney_core.metrics.plots import apply_layout, plain
from kidney_core.metrics.predictions import Predictions

_MAX_POINTS = 400
_RELIABILITY_COLORS = ("#999999", "#0072B2")
_N_HISTOGRAM_BINS = 20


def roc_figure(predictions: Predictions, ranges: dict[str, Interval] | None = None) -> go.Figure:
    """One-vs-rest ROC curves with their AUC; the diagonal is guessing.

    Args:
        ranges: the intervals of the predictions' figures, to be written beside the AUC.
    """
    figure = go.Figure()
    for label, truth, score in evaluation.one_vs_rest(predictions):
        false_positive, true_positive, _ = roc_curve(truth, score)
        name = _legend_entry(label, "AUC", auc(false_positive, true_positive), "roc_auc", ranges)
        _add_curve(figure, false_positive, true_positive, name, color_of(label, predictions.labels))
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dot", "color": "#999999"}, showlegend=False)
    return _unit_square(figure, "false positive rate", "recall (true positive rate)")


def precision_recall_figure(predictions: Predictions, ranges: dict[str, Interval] | None = None) -> go.Figure:
    """One-vs-rest precision over recall with average precision (AP); a dotted line is the share of the class.

    Args:
        ranges: the intervals of the predictions' figures, to be written beside the AP.
    """
    figure = go.Figure()
    for label, truth, score in evaluation.one_vs_rest(predictions):
        precision, recall, _ = precision_recall_curve(truth, score)
        color = color_of(label, predictions.labels)
        name = _legend_entry(label, "AP", average_precision_score(truth, score), "average_precision", ranges)
        _add_curve(figure, recall[::-1], precision[::-1], name, color)
        figure.add_hline(y=float(truth.mean()), line={"dash": "dot", "color": color, "width": 1})
    return _unit_square(figure, "recall", "precision")


def reliability_figure(
    reliabilities: dict[str, Reliability], scores: dict[str, np.ndarray] | None = None, *, of: str = "confidence"
) -> go.Figure:
    """What was observed over what was said, square; on the diagonal the two agree. Below it the histogram of what was said.

    Args:
        reliabilities: name -> at most two, such as before and after calibration.
        scores: name -> (N,) the confidences behind it, for the histogram.
        of: what the horizontal axis says.
    """
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.8, 0.2], vertical_spacing=0.03)
    for (name, shown), color in zip(reliabilities.items(), _RELIABILITY_COLORS[-len(reliabilities) :], strict=False):
        kept = shown.count > 0
        figure.add_scatter(
            x=shown.confidence[kept],
            y=shown.accuracy[kept],
            name=f"{name} (ECE {100 * shown.error:.1f} %)",
            mode="lines+markers",
            line_color=color,
            marker_size=4 + 14 * np.sqrt(shown.count[kept] / max(shown.count.max(), 1)),
            customdata=shown.count[kept],
            cliponaxis=False,
            hovertemplate=of + " %{x:.0%}, observed %{y:.0%}, %{customdata:,} slices<extra></extra>",
            row=1,
            col=1,
        )
        values = (scores or {}).get(name, np.empty(0))
        count, edges = np.histogram(values, bins=_N_HISTOGRAM_BINS, range=(0, 1))
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=count,
            width=np.diff(edges),
            marker_color=color,
            opacity=0.75,
            showlegend=False,
            hovertemplate="%{y:,} slices<extra></extra>",
            row=2,
            col=1,
        )
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dot", "color": "#999999"}, showlegend=False)
    figure.update_xaxes(range=[0, 1.01], constrain="domain")
    figure.update_xaxes(title=of, row=2, col=1)
    figure.update_yaxes(title="observed", range=[0, 1.01], scaleanchor="x", constrain="domain", row=1, col=1)
    figure.update_yaxes(title="slices", nticks=3, row=2, col=1)
    figure.update_layout(barmode="overlay", legend={"orientation": "h", "y": -0.14, "x": 0}, width=440)
    return apply_layout(figure, height=560)


def risk_coverage_figure(curve: RiskCoverage, threshold: float) -> go.Figure:
    """Error rate of the accepted predictions over their share of the slices, with the chosen threshold marked."""
    figure = go.Figure()
    kept = _thinned(len(curve.coverage))
    figure.add_scatter(
        x=curve.coverage[kept],
        y=curve.risk[kept],
        customdata=curve.threshold[kept],
        mode="lines",
        line_color="#0072B2",
        hovertemplate="answers %{x:.0%}, of them wrong %{y:.1%}, threshold %{customdata:.2f}<extra></extra>",
        showlegend=False,
    )
    coverage, risk = curve.at(threshold)
    figure.add_scatter(
        x=[coverage], y=[risk], mode="markers", marker={"size": 13, "color": "#D55E00"}, name="chosen", showlegend=False
    )
    figure.update_xaxes(title="coverage: share of slices with a prediction", range=[0, 1.02], tickformat=".0%")
    figure.update_yaxes(title="risk: share of these predictions that is wrong", rangemode="tozero", tickformat=".0%")
    return apply_layout(figure, height=340)


def pointing_figure(table: pd.DataFrame, chance: float) -> go.Figure:
    """How often each method's map points at the lesion, with its interval, and the line of chance.

    Args:
        table: one row a method with the columns rate, low and high, 0 to 1.
    """
    rows = table[::-1]  # plotly counts from below
    figure = go.Figure(
        go.Scatter(
            x=rows["rate"],
            y=[plain(method) for method in rows.index],
            mode="markers",
            marker={"size": 11, "color": "#0072B2"},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": rows["high"] - rows["rate"],
                "arrayminus": rows["rate"] - rows["low"],
                "color": "#0072B2",
            },
            hovertemplate="%{y}: %{x:.1%}<extra></extra>",
        )
    )
    figure.add_vline(
        x=chance, line_dash="dot", line_color="#999999", annotation_text="chance", annotation_position="bottom right"
    )
    figure.update_xaxes(range=[0, 1], tickformat=".0%", title="slices on which the map points at the lesion")
    return apply_layout(figure, height=36 * len(table) + 90)


def _legend_entry(label: str, what: str, value: float, measure: str, ranges: dict[str, Interval] | None) -> str:
    at = (ranges or {}).get(f"per_label.{label}.{measure}")
    trust = f", {at.low:.2f}–{at.high:.2f}" if at and at.low is not None else ""
    return f"{plain(label)} ({what} {value:.3f}{trust})"


def _add_curve(figure: go.Figure, x: np.ndarray, y: np.ndarray, name: str, color: str) -> None:
    kept = _thinned(len(x))
    figure.add_scatter(x=x[kept], y=y[kept], mode="lines", name=name, line={"color": color, "width": 2})


def _thinned(n: int) -> np.ndarray:
    """Positions of at most 400 of n points, the ends included."""
    return np.unique(np.linspace(0, n - 1, min(n, _MAX_POINTS)).astype(int))


def _unit_square(figure: go.Figure, x_title: str, y_title: str) -> go.Figure:
    figure.update_xaxes(title=x_title, range=[0, 1.01])
    figure.update_yaxes(title=y_title, range=[0, 1.01])
    figure.update_layout(legend={"orientation": "h", "y": -0.25, "x": 0})
    return apply_layout(figure, height=400)
