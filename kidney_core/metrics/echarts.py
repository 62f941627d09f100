"""Numbers -> figures: Plotly for what is studied, ECharts options for what is live."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from kidney_core.labels import color_of
from kidney_core.paper import ARCHITECTURE_NAMES
from kidney_core.splits import CROSS_VALIDATED, GROUPED, MEASURED, PROTOCOL_NAMES, RANDOM

PROTOCOL_COLORS = {RANDOM: "#999999", GROUPED: "#0072B2", CROSS_VALIDATED: "#009E73"}
_PALE, _DEEP = (226, 236, 243), (0, 90, 145)  # a cell of no slice, and of all slices of its row
_DARK_FROM = 0.5  # share of a row from which a cell is so dark that its text is white
# Okabe & Ito again, then repeated with dashes: curves of any number of runs stay tellable.
_QUANTITY_TITLES = {
    "balanced_accuracy": "balanced accuracy",
    "learning_rate": "learning rate",
    "images_per_s": "images per second",
    "duration_s": "seconds an epoch",
}
_CURVE_COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")


def model_name(architecture: str) -> str:
    """The paper's name of an architecture where it has one."""
    return ARCHITECTURE_NAMES.get(architecture, architecture)


def text_on(color: str) -> str:
    """Black or white, whichever reads better on "#rrggbb". Source: WCAG 2.2, relative luminance and contrast."""
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"


def percent(value: float | None, digits: int = 1) -> str:
    """0.8213 -> "82.1 %"; a dash for None."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def percent_range(low: float | None, high: float | None, *, signed: bool = False) -> str:
    """0.807, 0.94 -> "80.7 to 94.0 %", signed, as of a difference, "+80.7 to +94.0 points"; a dash without an interval."""
    if low is None or high is None:
        return "–"
    sign, unit = ("+", "points") if signed else ("", "%")
    return f"{100 * low:{sign}.1f} to {100 * high:{sign}.1f} {unit}"


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """0.821, 0.7, 0.91 -> "82.1 (70–91)"; no brackets without an interval, a dash without a figure."""
    if value is None:
        return "–"
    # Word joiners: a narrow column breaks before the bracket, not inside it.
    return f"{100 * value:.1f}" + ("" if low is None else f" ({100 * low:.0f}\u2060–\u2060{100 * high:.0f})")


def p_value(p: float) -> str:
    """0.0312 -> "0.031"; below a thousandth "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def report_with_intervals(found: dict[str, Any], intervals: dict[str, list[float | None]]) -> pd.DataFrame:
    """The classification report as text, each rate with its 95 % interval in brackets."""

    def cell(name: str, value: float | None) -> str:
        return with_interval(value, *intervals.get(name, (None, None)))

    rates = {"precision": "Precision %", "recall": "Recall %", "f1": "F1 %", "roc_auc": "ROC AUC %"}
    rows = {label: ("per_label." + label, values) for label, values in found["per_label"].items()}
    rows |= {f"{average} average": (average, found[average]) for average in ("macro", "weighted")}
    table = {
        label: {
            # A rate of a class that is not there says nothing.
            title: cell(f"{prefix}.{key}", values[key] if values.get("support", 1) else None)
            for key, title in rates.items()
        }
        | {"Slices": f"{values.get('support', found['n']):,}"}
        for label, (prefix, values) in rows.items()
    }
    return pd.DataFrame.from_dict(table, orient="index")


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
    return plain(figure, height=44 * len(labels) + 16)


def confusion_options(confusion: list[list[int]], labels: list[str]) -> dict[str, Any]:
    """ECharts options: rows true, columns predicted; each cell says the count and its share of the row.

    The cells are opaque, so that their text is read on a light and a dark page.
    """
    counts = np.array(confusion)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cells = [
        {
            "name": f"true {labels[row]}, predicted {labels[column]}",  # ECharts selects all of one name
            "value": [column, row, round(float(share[row, column]), 4)],
            "label": {
                "formatter": f"{counts[row, column]:,}\n{100 * share[row, column]:.0f} %",
                "color": "#FFFFFF" if share[row, column] > _DARK_FROM else "#16262B",
            },
            "itemStyle": {"color": _between(_PALE, _DEEP, share[row, column])},
        }
        for row in range(len(labels))
        for column in range(len(labels))
    ]
    axis = {"type": "category", "data": labels, "splitLine": {"show": False}, "axisTick": {"show": False}}
    return {
        "animation": False,
        "tooltip": {"formatter": "{b}"},
        "grid": {"left": 84, "right": 8, "top": 8, "bottom": 56},
        "xAxis": {**axis, "name": "predicted", "nameLocation": "middle", "nameGap": 30},
        "yAxis": {**axis, "name": "true", "inverse": True, "nameLocation": "middle", "nameGap": 64},
        "series": [
            {
                "type": "heatmap",
                "data": cells,
                "label": {"show": True, "fontSize": 14, "lineHeight": 18},
                "selectedMode": "single",
                "select": {"itemStyle": {"borderColor": "#D55E00", "borderWidth": 3}},
                "itemStyle": {"borderWidth": 2, "borderColor": "transparent"},
            }
        ],
    }


def selected_cell(state: Any, labels: list[str]) -> tuple[str, str] | None:
    """(true label, predicted label) of the cell selected in `confusion_options`, or None."""
    for chosen in state["selection"]["selected"] if state else []:
        for position in chosen["data_indices"]:
            row, column = divmod(position, len(labels))
            return labels[row], labels[column]
    return None


def _between(one: tuple[int, int, int], other: tuple[int, int, int], share: float) -> str:
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in zip(one, other, strict=True))


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
    figure.update_xaxes(categoryorder="array", categoryarray=list(dict.fromkeys(row[0] for row in rows)))
    figure.update_yaxes(range=[0, 1.04], tickformat=".0%", title=title)
    figure.update_layout(barmode="group", legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0})
    plain(figure, height=370)
    return figure.update_layout(margin_t=56)  # two rows of the legend, on a narrow page


def _add_bars(figure: go.Figure, protocol: str, rows: list[tuple], *, whiskers: bool, named: bool) -> None:
    figure.add_bar(
        name=PROTOCOL_NAMES[protocol],
        legendgroup=protocol,
        offsetgroup=protocol,
        showlegend=named,
        x=[model for model, *_ in rows],
        y=[value for _, _, value, _, _ in rows],
        text=[percent(value) for _, _, value, _, _ in rows],
        textposition="inside",
        insidetextanchor="start",
        textangle=0,
        insidetextfont_color=text_on(PROTOCOL_COLORS[protocol]),
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


def plain(figure: go.Figure, *, height: int) -> go.Figure:
    """The look that all figures share."""
    figure.update_layout(height=height, margin={"l": 8, "r": 8, "t": 8, "b": 8}, font_size=14)
    return figure


def curve_quantities(runs: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    """What may be drawn of these runs beside loss and accuracy: the quantity and its title."""
    measured = {name for rows in runs.values() for row in rows if row["kind"] == "epoch" for name in row}
    recalls = sorted(name.removeprefix("validation_") for name in measured if name.startswith("validation_recall_"))
    found = {name: title for name, title in _QUANTITY_TITLES.items() if {name, f"validation_{name}"} & measured}
    return found | {name: f"recall of {name.removeprefix('recall_')}" for name in recalls}


def curve_options(runs: dict[str, list[dict[str, Any]]], quantity: str) -> dict[str, Any]:
    """ECharts options of the curves of several runs: `quantity` is one of `curve_quantities`.

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
        for part, dash in (("train_", "dashed"), ("validation_", "solid"), ("", "solid")):
            measure = f"{part}{quantity}"
            points = [[row["epoch"], row[measure]] for row in epochs if measure in row]
            if points or (part == "validation_" and not epochs):  # a young run has its place in the legend already
                shown_name = f"{name}, train" if part == "train_" else name
                series.append(_line(shown_name, points, color, width=1 if part == "train_" else 2, dash=dash))
    y_axis = {
        "type": "value",
        "name": _QUANTITY_TITLES.get(quantity, quantity),
        "scale": True,
        "nameTextStyle": {"align": "left"},
    }
    if "accuracy" in quantity or "recall" in quantity:
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
