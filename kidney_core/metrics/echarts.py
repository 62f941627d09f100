"""Options of the ECharts chart of a confusion matrix, whose cells can be selected."""

from typing import Any

import numpy as np

_PALE, _DEEP = (226, 236, 243), (0, 90, 145)  # a cell of no slice, and of all slices of its row
_DARK_FROM = 0.5  # share of a row from which a cell is so dark that its text is white


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
        "grid": {"left": 28, "right": 8, "top": 8, "bottom": 32},
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
