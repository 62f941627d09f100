"""Plotly figures of the clinical figures: net benefit over the probability from which somebody acts."""

import numpy as np
import plotly.graph_objects as go

from kidney_core.metrics.decision_curve import DecisionCurve
from kidney_core.metrics.plots import apply_layout, plain

_PREDICTION, _ALL, _NONE = "#0072B2", "#D55E00", "#7A8A90"


def decision_figure(curve: DecisionCurve, name: str) -> go.Figure:
    """Net benefit of acting by the prediction with its band, beside acting on all and on none."""
    figure = go.Figure()
    x = curve.thresholds
    low = np.array([np.nan if each.low is None else each.low for each in curve.net_benefit])
    high = np.array([np.nan if each.high is None else each.high for each in curve.net_benefit])
    known = ~np.isnan(low)
    if known.any():
        figure.add_scatter(
            x=np.concatenate([x[known], x[known][::-1]]),
            y=np.concatenate([high[known], low[known][::-1]]),
            fill="toself",
            fillcolor="rgba(0, 114, 178, .18)",
            line={"width": 0},
            hoverinfo="skip",
            name="95 % interval",
        )
    benefit = [each.value for each in curve.net_benefit]
    figure.add_scatter(
        x=x, y=benefit, name=f"by the prediction of {plain(name)}", line={"color": _PREDICTION, "width": 2.5}
    )
    figure.add_scatter(x=x, y=curve.treat_all, name="on all slices", line={"color": _ALL, "dash": "dash"})
    figure.add_scatter(x=x, y=np.zeros(len(x)), name="on none", line={"color": _NONE, "dash": "dot"})
    largest = max(curve.prevalence, *(each.value or 0.0 for each in curve.net_benefit), *high[known], 0.01)
    figure.update_traces(hovertemplate="act from %{x:.0%}: net benefit %{y:.3f}", selector={"hoverinfo": None})
    figure.update_xaxes(title="act from a probability of", range=[0, 1], tickformat=".0%")
    figure.update_yaxes(title="net benefit", range=[-0.15 * largest, 1.08 * largest])
    figure.update_layout(legend={"orientation": "h", "y": -0.25, "x": 0}, hovermode="x unified")
    return apply_layout(figure, height=420)
