"""A map of slices as a Plotly figure, whose points can be lassoed."""

import numpy as np
import plotly.graph_objects as go

from kidney_core.common.labels import LABELS, color_of
from kidney_core.metrics.plots import apply_layout

# Okabe & Ito, for what is no label; further groups repeat them.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#999999")
_MOST_NAMED = 12  # groups in the legend


def map_figure(places: np.ndarray, groups: list[str], names: list[str]) -> go.Figure:
    """Points by group, each with its name on hover and its row as custom data.

    Args:
        places: (N, 2).
        groups, names: of each point.
    """
    figure = go.Figure()
    present = list(dict.fromkeys(sorted(groups)))
    of = np.array(groups, object)
    for number, group in enumerate(present):
        rows = np.flatnonzero(of == group)
        figure.add_scatter(  # not scattergl: a machine without a graphics driver draws nothing then
            x=places[rows, 0],
            y=places[rows, 1],
            mode="markers",
            name=group,
            marker={"size": 7, "opacity": 0.8, "color": _color(group, number)},
            customdata=rows,
            text=[names[row] for row in rows],
            hovertemplate="%{text}<extra>" + ("%{fullData.name}" if len(present) <= _MOST_NAMED else "") + "</extra>",
            showlegend=len(present) <= _MOST_NAMED,
        )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    figure.update_layout(dragmode="lasso", legend={"orientation": "h", "y": -0.02, "x": 0})
    return apply_layout(figure, height=560)


def _color(group: str, number: int) -> str:
    return color_of(group) if group in LABELS else _COLORS[number % len(_COLORS)]
