"""Numbers -> figures: Plotly for what is studied, ECharts options for what is live."""

from typing import Any

import numpy as np
import plotly.graph_objects as go

from kidney_core.labels import color_of
from kidney_core.paper import ARCHITECTURE_NAMES
from kidney_core.splits import CROSS_VALIDATED, GROUPED, MEASURED, PROTOCOL_NAMES, RANDOM

PROTOCOL_COLORS = {RANDOM: "#999999", GROUPED: "#0072B2", CROSS_VALIDATED: "#009E73"}
# Okabe & Ito again, then repeated with dashes: curves of any number of runs stay tellable.
_CURVE_COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")


def model_name(architecture: str) -> str:
    """The paper's name of an architecture where it has one."""
    return ARCHITECTURE_NAMES.get(architecture, architecture)


def percent(value: float | None, digits: int = 1) -> str:
    """0.8213 -> "82.1 %"; a dash for None."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def probability_bars(probabilities: dict[str, float]) -> go.Figure:
    """Horizontal bars, one a label in fixed order and colour, with the number written at each."""
    labels = list(probabilities)[::-1]
    values = [probabilities[label] for label in labels]
    figure = go.Figure(
        go.Bar(
            x=values,
            y=labels,
            orientation="h",
            marker_color=[color_of(label, tuple(probabilities)) for label in labels],
            text=[percent(value) for value in values],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:.2%}<extra></extra>",
        )
    )
    figure.update_xaxes(range=[0, 1.3], visible=False)
    figure.update_yaxes(title=None, tickfont_size=15)
    return _plain(figure, height=44 * len(labels) + 16)


def confusion_heatmap(confusion: list[list[int]], labels: list[str]) -> go.Figure:
    """Rows true, columns predicted; each cell says the count and its share of the row."""
    counts = np.array(confusion)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    text = [[f"{counts[i, j]:,}<br>{100 * share[i, j]:.0f} %" for j in range(len(labels))] for i in range(len(labels))]
    figure = go.Figure(
        go.Heatmap(
            z=share,
            x=labels,
            y=labels,
            text=text,
            texttemplate="%{text}",
            colorscale=[[0, "rgba(0,114,178,0.04)"], [1, "rgba(0,114,178,0.95)"]],
            zmin=0,
            zmax=1,
            showscale=False,
            hovertemplate="true %{y}, predicted %{x}<br>%{text}<extra></extra>",
            xgap=2,
            ygap=2,
        )
    )
    figure.update_xaxes(title="predicted", side="bottom", showgrid=False)
    figure.update_yaxes(title="true", autorange="reversed", showgrid=False)
    return _plain(figure, height=76 * len(labels) + 60)


def protocol_bars(rows: list[tuple[str, str, float]], *, title: str = "accuracy") -> go.Figure:
    """Pairs of bars: (model, protocol, figure) with the paper's protocol beside the honest one."""
    figure = go.Figure()
    for protocol in MEASURED:
        own = [(model, value) for model, shown, value in rows if shown == protocol]
        if not own:
            continue
        figure.add_bar(
            name=PROTOCOL_NAMES[protocol],
            x=[model for model, _ in own],
            y=[value for _, value in own],
            text=[percent(value) for _, value in own],
            textposition="outside",
            cliponaxis=False,
            marker_color=PROTOCOL_COLORS[protocol],
            hovertemplate="%{x}, " + PROTOCOL_NAMES[protocol] + ": %{y:.1%}<extra></extra>",
        )
    figure.update_yaxes(range=[0, 1.1], tickformat=".0%", title=title)
    figure.update_layout(barmode="group", legend={"orientation": "h", "y": 1.14, "x": 0})
    return _plain(figure, height=340)


def _plain(figure: go.Figure, *, height: int) -> go.Figure:
    figure.update_layout(height=height, margin={"l": 8, "r": 8, "t": 8, "b": 8}, font_size=14)
    return figure


def curve_options(runs: dict[str, list[dict[str, Any]]], quantity: str) -> dict[str, Any]:
    """ECharts options of the curves of several runs: `quantity` is "loss" or "accuracy".

    Args:
        runs: name -> the measurements of the run (`Run.read_metrics`). Training is dashed and thin,
            validation solid; with "loss", the single steps are drawn faintly.
    """
    series: list[dict[str, Any]] = []
    for position, (name, measurements) in enumerate(runs.items()):
        color = _CURVE_COLORS[position % len(_CURVE_COLORS)]
        epochs = [row for row in measurements if row["kind"] == "epoch"]
        steps = _step_points(measurements) if quantity == "loss" else []
        if steps:
            series.append(_line(f"{name}, steps", steps, color, width=1, opacity=0.3, symbol="none"))
        for part, dash in (("train", "dashed"), ("validation", "solid")):
            points = [[row["epoch"], row[f"{part}_{quantity}"]] for row in epochs]
            shown_name = name if part == "validation" else f"{name}, train"
            series.append(_line(shown_name, points, color, width=2 if part == "validation" else 1, dash=dash))
    y_axis = {"type": "value", "name": quantity, "scale": True, "nameTextStyle": {"align": "left"}}
    if quantity == "accuracy":
        y_axis |= {"max": 1}
    return {
        "animation": False,
        "tooltip": {"trigger": "axis"},
        "legend": {"type": "scroll", "data": list(runs), "top": 0},
        "grid": {"left": 48, "right": 16, "top": 56, "bottom": 40},
        "xAxis": {"type": "value", "name": "epoch", "nameLocation": "middle", "nameGap": 24, "min": 0},
        "yAxis": y_axis,
        "dataZoom": [{"type": "inside"}],
        "series": series,
    }


def _step_points(measurements: list[dict[str, Any]], limit: int = 400) -> list[list[float]]:
    """Steps on the axis of epochs, thinned to at most `limit` points."""
    steps = [row for row in measurements if row["kind"] == "step"]
    epochs = [row for row in measurements if row["kind"] == "epoch"]
    if epochs:
        per_epoch = epochs[0]["step"] / epochs[0]["epoch"]
    else:
        per_epoch = next((row["steps_per_epoch"] for row in steps if "steps_per_epoch" in row), None)
    if not per_epoch:
        return []
    return [[round(row["step"] / per_epoch, 3), row["train_loss"]] for row in steps[:: max(1, len(steps) // limit)]]


def _line(
    name: str,
    points: list,
    color: str,
    *,
    width: int,
    dash: str = "solid",
    opacity: float = 1.0,
    symbol: str = "circle",
) -> dict[str, Any]:
    return {
        "name": name,
        "type": "line",
        "data": points,
        "symbol": symbol,
        "symbolSize": 5,
        "itemStyle": {"color": color},
        "lineStyle": {"color": color, "width": width, "type": dash, "opacity": opacity},
        "connectNulls": True,
    }
