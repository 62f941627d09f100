"""Plotly bars: the probabilities of one slice, and models under both protocols."""

import html
from itertools import cycle

import plotly.graph_objects as go

from kidney_core.common.labels import color_of
from kidney_core.metrics.number_format import percent, percent_range
from kidney_core.metrics.splits import CROSS_VALIDATED, FOLDER, GROUPED, MEASURED, PROTOCOL_NAMES, RANDOM

PROTOCOL_COLORS = {RANDOM: "#999999", FOLDER: "#CC79A7", GROUPED: "#0072B2", CROSS_VALIDATED: "#009E73"}
MODEL_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MODEL_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")


def probability_bars(probabilities: dict[str, float]) -> go.Figure:
    """Horizontal bars, one a label in fixed order and colour, with the number written at each."""
    labels = list(probabilities)[::-1]
    values = [probabilities[label] for label in labels]
    figure = go.Figure(
        go.Bar(
            x=values,
            y=[plain(label) for label in labels],
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
    return apply_layout(figure, height=44 * len(labels) + 16)


def protocol_bars(
    rows: list[tuple[str, str, float, float | None, float | None]], *, title: str = "accuracy"
) -> go.Figure:
    """Groups of bars: (model, protocol, figure, low, high) with the paper's protocol beside the honest one."""
    figure = go.Figure()
    for protocol in MEASURED:
        own = [row for row in rows if row[1] == protocol]
        # Plotly draws a whisker of no length where an end is missing, which would look exact: such bars come apart.
        with_interval = [row for row in own if None not in row[3:]]
        without = [row for row in own if None in row[3:]]
        for part in filter(None, (with_interval, without)):
            _add_bars(figure, protocol, part, whiskers=part is with_interval, named=part[0] is own[0])
    figure.update_xaxes(categoryorder="array", categoryarray=list(dict.fromkeys(plain(row[0]) for row in rows)))
    figure.update_yaxes(range=[0, 1.04], tickformat=".0%", title=plain(title))
    figure.update_layout(barmode="group", legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0})
    apply_layout(figure, height=370)
    return figure.update_layout(margin_t=56)  # two rows of the legend, on a narrow page


def _add_bars(figure: go.Figure, protocol: str, rows: list[tuple], *, whiskers: bool, named: bool) -> None:
    figure.add_bar(
        name=PROTOCOL_NAMES[protocol],
        legendgroup=protocol,
        offsetgroup=protocol,
        showlegend=named,
        x=[plain(model) for model, *_ in rows],
        y=[value for _, _, value, _, _ in rows],
        text=[percent(value) for _, _, value, _, _ in rows],
        textposition="inside",
        insidetextanchor="start",
        textangle=0,
        insidetextfont_color=text_color_on(PROTOCOL_COLORS[protocol]),
        marker_color=PROTOCOL_COLORS[protocol],
        customdata=[percent_range(low, high) for *_, low, high in rows],
        hovertemplate="%{x}, " + PROTOCOL_NAMES[protocol] + ": %{y:.1%} (%{customdata})<extra></extra>",
    )
    if whiskers:
        figure.data[-1].error_y = {
            "type": "data",
            "symmetric": False,
            "array": [high - value for _, _, value, _, high in rows],
            "arrayminus": [value - low for _, _, value, low, _ in rows],
            "thickness": 1.5,
            "width": 5,
            "color": "#7A8A90",  # seen on both a light and a dark page
        }


def situation_dots(rows: list[tuple[str, str, float, float | None, float | None]]) -> go.Figure:
    """One line a situation, from the first at the top, one dot a model with its interval: (situation, model, share, low, high)."""
    situations, models = list(dict.fromkeys(row[0] for row in rows)), list(dict.fromkeys(row[1] for row in rows))
    figure = go.Figure()
    for number, (model, color, symbol) in enumerate(
        zip(models, cycle(MODEL_COLORS), cycle(MODEL_SYMBOLS), strict=False)
    ):
        own = [row for row in rows if row[1] == model]
        ends = [(value, value) if low is None or high is None else (low, high) for *_, value, low, high in own]
        offset = 0.5 * ((number + 0.5) / len(models) - 0.5)
        figure.add_scatter(
            name=plain(model),
            x=[row[2] for row in own],
            y=[len(situations) - 1 - situations.index(row[0]) - offset for row in own],
            mode="markers",
            marker={"color": color, "symbol": symbol, "size": 11},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [high - row[2] for row, (_, high) in zip(own, ends, strict=True)],
                "arrayminus": [row[2] - low for row, (low, _) in zip(own, ends, strict=True)],
                "thickness": 1.5,
                "width": 0,
                "color": color,
            },
            customdata=[(plain(row[0]), percent_range(row[3], row[4])) for row in own],
            hovertemplate="%{customdata[0]}, " + plain(model) + ": %{x:.0%} (%{customdata[1]})<extra></extra>",
        )
    figure.update_yaxes(
        tickvals=list(range(len(situations))),
        ticktext=[plain(situation) for situation in situations[::-1]],
        range=[-0.6, len(situations) - 0.4],
        zeroline=False,
    )
    figure.update_xaxes(range=[0, 1.01], tickformat=".0%", zeroline=False)
    figure.update_layout(legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0})
    return apply_layout(figure, height=36 * len(situations) + 80).update_layout(margin_t=36)


def plain(name: str) -> str:
    """A name as text of a figure, in which Plotly reads HTML, and braces as placeholders."""
    return html.escape(name, quote=False).replace("{", "&#123;")


def apply_layout(figure: go.Figure, *, height: int) -> go.Figure:
    """Give a figure the margins and font size that all share; returns it."""
    figure.update_layout(height=height, margin={"l": 8, "r": 8, "t": 8, "b": 8}, font_size=14)
    return figure


def text_color_on(color: str) -> str:
    """Black or white, whichever reads better on "#rrggbb". Source: WCAG 2.2, relative luminance and contrast."""
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"
