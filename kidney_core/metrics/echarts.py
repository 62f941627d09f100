"""Options of ECharts charts: the confusion matrix, whose cells can be selected, and curves that grow while a run trains."""

from typing import Any

import numpy as np

_PALE, _DEEP = (226, 236, 243), (0, 90, 145)  # a cell of no slice, and of all slices of its row
_DARK_FROM = 0.5  # share of a row from which a cell is so dark that its text is white
_QUANTITY_TITLES = {
    "balanced_accuracy": "balanced accuracy",
    "learning_rate": "learning rate",
    "images_per_s": "images per second",
    "duration_s": "seconds an epoch",
}
# Okabe & Ito: told apart by people with any colour vision; further runs repeat them.
_CURVE_COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")


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
            "itemStyle": {"color": _mix_colors(_PALE, _DEEP, share[row, column])},
        }
        for row in range(len(labels))
        for column in range(len(labels))
    ]
    axis = {"type": "category", "data": labels, "splitLine": {"show": False}, "axisTick": {"show": False}}
    axis["axisLabel"] = {"width": 74, "overflow": "truncate"}  # the whole name is in the tooltip
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


def _mix_colors(one: tuple[int, int, int], other: tuple[int, int, int], share: float) -> str:
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in zip(one, other, strict=True))


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
