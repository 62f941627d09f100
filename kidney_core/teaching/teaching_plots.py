"""Figures of the Teaching page: a model along a disturbance, and heads trained on true and on shuffled labels."""

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kidney_core.common.labels import color_of
from kidney_core.metrics import chart_text
from kidney_core.metrics.number_format import percent
from kidney_core.metrics.plots import PROTOCOL_COLORS, apply_layout, plain, text_color_on
from kidney_core.metrics.splits import GROUPED, RANDOM
from kidney_core.teaching.label_shuffling import BY_SCAN, BY_SLICE, LABELLINGS, TRUE, ShuffleResult
from kidney_core.teaching.robustness import Curve, Disturbance

_TRAINING_COLOR = "#CC79A7"  # of the same palette as the protocols
_TITLES = {TRUE: "True labels", BY_SCAN: "Shuffled<br>scan by scan", BY_SLICE: "Shuffled<br>slice by slice"}
_BARS = {  # what is measured -> its colour, split and figure
    "training slices": (_TRAINING_COLOR, GROUPED, "train_accuracy"),
    "test slices, random split": (PROTOCOL_COLORS[RANDOM], RANDOM, "test_accuracy"),
    "test slices, unseen scans": (PROTOCOL_COLORS[GROUPED], GROUPED, "test_accuracy"),
}
_GUESSING = "#E69F00"
_NEUTRAL = "#7A8A90"  # seen on both a light and a dark page
_GATE_COLOR = "#CC79A7"
_HIGHEST_DISTANCE = 1.6  # of the limit; what is farther is drawn here


def robustness_figure(curve: Curve, kind: Disturbance, amount: float, *, threshold: float | None) -> go.Figure:
    """The model above and the gate below along the amounts; grey where the gate rejects the slice, a line at the chosen amount.

    Args:
        threshold: the confidence threshold of the model for the undisturbed label; None where it has none.
    """
    figure = make_subplots(rows=2, shared_xaxes=True, row_heights=[0.68, 0.32], vertical_spacing=0.06)
    for position, label in enumerate(curve.labels):
        figure.add_scatter(
            x=curve.amounts,
            y=curve.probabilities[:, position],
            name=plain(label),
            mode="lines+markers",
            line={"color": color_of(label, curve.labels), "width": 2.5},
            marker_size=6,
            hovertemplate=f"{plain(label)}: %{{y:.1%}}<extra></extra>",
        )
    figure.add_scatter(
        x=curve.amounts,
        y=np.minimum(curve.distance, _HIGHEST_DISTANCE),
        name="distance to training",
        mode="lines+markers",
        line={"color": _GATE_COLOR, "width": 2.5},
        marker={"size": 6, "symbol": "diamond"},
        customdata=[
            (float(distance), reason or "let through")
            for distance, reason in zip(curve.distance, curve.rejected, strict=True)
        ],
        hovertemplate="gate: %{customdata[0]:.0%} of the limit, %{customdata[1]}<extra></extra>",
        row=2,
        col=1,
    )
    figure.add_hline(y=1, line={"dash": "dot", "color": _GATE_COLOR, "width": 1.5}, row=2, col=1)
    if threshold is not None:
        figure.add_hline(y=threshold, line={"dash": "dot", "color": _NEUTRAL, "width": 1.5}, row=1, col=1)
    for start, end in refused_stretches(curve):
        # what it means stands in the caption
        figure.add_vrect(
            x0=start, x1=end, fillcolor=_NEUTRAL, opacity=0.22, line_width=0, layer="below", row="all", col=1
        )
    figure.add_vline(x=kind.none, line={"dash": "dash", "color": _NEUTRAL, "width": 1.5}, row="all", col=1)
    figure.add_vline(x=amount, line={"color": _NEUTRAL, "width": 2.5}, row="all", col=1)
    room = 0.02 * float(np.ptp(curve.amounts))  # for the markers at both ends
    figure.update_xaxes(range=[curve.amounts.min() - room, curve.amounts.max() + room], zeroline=False)
    figure.update_xaxes(title=kind.axis, row=2, col=1)
    if kind.names:
        figure.update_xaxes(tickvals=list(kind.amounts), ticktext=list(kind.names))
    figure.update_yaxes(title="probability", range=[-0.03, 1.05], tickformat=".0%", row=1, col=1)
    figure.update_yaxes(
        title="of the limit",
        range=[0, _HIGHEST_DISTANCE + 0.05],
        tickvals=[0, 0.5, 1, 1.5],
        tickformat=".0%",
        row=2,
        col=1,
    )
    figure.update_layout(legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0}, hovermode="x unified")
    return apply_layout(figure, height=460).update_layout(margin_t=40)


def refused_stretches(curve: Curve) -> list[tuple[float, float]]:
    """(from, to) of neighbouring amounts that the gate rejects, each reaching halfway to the next amount."""
    middles = (curve.amounts[1:] + curve.amounts[:-1]) / 2
    edges = np.concatenate([curve.amounts[:1], middles, curve.amounts[-1:]])
    steps = np.diff(np.concatenate([[0], curve.refused.astype(int), [0]]))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    return [(float(edges[start]), float(edges[end])) for start, end in zip(starts, ends, strict=True)]


def shuffling_in_words(results: dict[tuple[str, str], ShuffleResult], chance: float) -> str:
    """All numbers of `shuffling_figure`, for those who cannot see it."""
    rows = [
        (_TITLES[labelling].replace("<br>", " "), name, getattr(results[labelling, protocol], figure_of), None, None)
        for labelling in LABELLINGS
        for name, (_, protocol, figure_of) in _BARS.items()
    ]
    return f"Accuracy. {chart_text.groups(rows)} By chance {percent(chance, 0)}."


def shuffling_figure(results: dict[tuple[str, str], ShuffleResult], chance: float) -> go.Figure:
    """Three bars for each labelling: accuracy on training slices, on a random split and on unseen scans; and chance.

    Args:
        chance: the accuracy of guessing, 0 to 1.
    """
    figure = go.Figure()
    for name, (color, protocol, figure_of) in _BARS.items():
        values = [getattr(results[labelling, protocol], figure_of) for labelling in LABELLINGS]
        figure.add_bar(
            name=name,
            x=[_TITLES[labelling] for labelling in LABELLINGS],
            y=values,
            text=[percent(value, 0) for value in values],
            textposition="inside",
            insidetextanchor="start",
            textangle=0,
            constraintext="none",
            insidetextfont_color=text_color_on(color),
            marker_color=color,
            hovertemplate="%{x}, " + name + ": %{y:.1%}<extra></extra>",
        )
    guessing = {"dash": "dot", "color": _GUESSING, "width": 2.5}
    figure.add_hline(y=chance, line=guessing)
    figure.add_scatter(x=[None], y=[None], mode="lines", line=guessing, name="chance")  # for the legend
    figure.update_yaxes(range=[0, 1.02], tickvals=[0, 0.25, 0.5, 0.75, 1], tickformat=".0%", title="accuracy")
    figure.update_layout(barmode="group", legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0})
    return apply_layout(figure, height=400).update_layout(margin_t=72)
