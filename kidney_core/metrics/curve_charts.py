"""ECharts options of curves that grow while runs train: panels with one axis of x and one crosshair.

A run is told by its colour and, from the seventh on, by its dash pattern; training is thin, validation thick.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

# Okabe & Ito: told apart by people with any colour vision, and on a white and a dark page.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
MAX_RUNS = 12
VALIDATION, TRAINING, STEPS, SINGLE = "validation", "training", "single steps", ""  # the parts of a quantity
# Lengths of dashes and gaps in px: of the first six runs, and of the next six.
_DASHES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    VALIDATION: ((), (12, 3, 2, 3)),
    TRAINING: ((6, 4), (2, 3)),
    STEPS: ((), (12, 3, 2, 3)),
    SINGLE: ((), (12, 3, 2, 3)),
}
_WIDTHS = {VALIDATION: 2.2, TRAINING: 1.3, STEPS: 1.0, SINGLE: 2.0}
_SYMBOLS = ("circle", "diamond")
PLAIN, RATE = "plain", "rate"
ONE_COLUMN_PX, PANEL_PX, _TITLE_PX, _AXIS_PX = 720, 300, 34, 46
Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        label: of its run or group of runs.
        place: number of the run, from 0, which decides colour and dash.
        part: VALIDATION, TRAINING, STEPS, or SINGLE for a quantity without parts.
        points: (x, value).
        band: (x, lowest, highest) behind it; empty for none.
    """

    label: str
    place: int
    part: str
    points: Sequence[Point]
    band: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True)
class Panel:
    """The curves of one quantity.

    Attributes:
        kind: RATE for fractions, which are drawn in per cent; PLAIN otherwise.
        can_be_log: whether a logarithmic axis makes sense.
    """

    title: str
    lines: tuple[Line, ...]
    kind: str = PLAIN
    can_be_log: bool = False
    unit: str = ""


def height_px(n_panels: int, *, n_columns: int = 2) -> int:
    """The height of a chart of so many panels."""
    return PANEL_PX * -(-n_panels // n_columns)


def options(panels: Sequence[Panel], *, x_title: str, whole_numbers: bool, log: bool = False) -> dict[str, Any]:
    """ECharts options: panels in two columns, or one below the other where the chart is narrow.

    Args:
        whole_numbers: whether x counts something, as epochs do.
        log: a logarithmic axis for the panels that can have one.
    """
    most = max((line.points[-1][0] for panel in panels for line in panel.lines if line.points), default=1)
    wide, narrow = (_layout(len(panels), n_columns) for n_columns in (min(2, len(panels)), 1))
    return {
        "baseOption": {
            "animation": False,
            "tooltip": {
                "trigger": "axis",
                "confine": True,
                "order": "seriesAsc",
                "textStyle": {"fontSize": 12},
                "extraCssText": "max-height: 90%; overflow: hidden;",
            },
            "axisPointer": {"link": [{"xAxisIndex": "all"}], "snap": True},
            "xAxis": [_x_axis(i, panel, x_title, whole_numbers, most) for i, panel in enumerate(panels)],
            "yAxis": [_y_axis(i, panel, log and panel.can_be_log) for i, panel in enumerate(panels)],
            "dataZoom": [{"type": "inside", "xAxisIndex": list(range(len(panels))), "filterMode": "none"}],
            "series": [series for i, panel in enumerate(panels) for series in _series(i, panel, log)],
            **wide,
        },
        "media": [{"query": {"maxWidth": ONE_COLUMN_PX}, "option": narrow}, {"option": wide}],
    }


def numbers(panels: Sequence[Panel], x_title: str) -> pd.DataFrame:
    """The points of all lines but those of single steps, as a table: quantity, run, part, x and value."""
    rows = [
        (
            panel.title,
            line.label,
            line.part,
            x,
            f"{100 * y:.1f} %" if panel.kind == RATE else f"{y:.4g} {panel.unit}".strip(),
        )
        for panel in panels
        for line in panel.lines
        if line.part != STEPS
        for x, y in line.points
    ]
    return pd.DataFrame(rows, columns=["Quantity", "Run", "Part", x_title.capitalize(), "Value"])


def dash(place: int, part: str) -> tuple[int, ...]:
    """Lengths of dashes and gaps in px of a run's line; empty for a solid one."""
    return _DASHES[part][place // len(COLORS) % 2]


def color(place: int) -> str:
    """The colour of a run."""
    return COLORS[place % len(COLORS)]


def width(part: str) -> float:
    """The width in px of a line of that part."""
    return _WIDTHS[part]


def _layout(n_panels: int, n_columns: int) -> dict[str, Any]:
    """Where grids and titles are, in per cent of the chart."""
    n_rows, grids, titles = -(-n_panels // n_columns), [], []
    row_share, column_share = 100 / n_rows, 100 / n_columns
    pixel = 100 / (PANEL_PX * n_rows)  # per cent of the height
    for number in range(n_panels):
        row, column = divmod(number, n_columns)
        top = row * row_share
        # 48 px for the numbers of the y axis, which `containLabel` would make different from panel to panel
        left = f"{column * column_share + (6.5 if n_columns == 2 else 11):.2f}%"
        grids.append(
            {
                "left": left,
                "right": f"{100 - (column + 1) * column_share + 1.5:.2f}%",
                "top": f"{top + _TITLE_PX * pixel:.2f}%",
                "bottom": f"{100 - top - row_share + _AXIS_PX * pixel:.2f}%",
            }
        )
        titles.append({"top": f"{top:.2f}%", "left": f"{column * column_share:.2f}%"})
    return {"grid": grids, "title": titles}


def _x_axis(number: int, panel: Panel, title: str, whole_numbers: bool, most: float) -> dict[str, Any]:
    return {
        "type": "value",
        "gridIndex": number,
        "name": title,
        "nameLocation": "middle",
        "nameGap": 24,
        "min": 0,
        "max": max(1, math.ceil(most)) if whole_numbers else most,
        "minInterval": 1 if whole_numbers else 0,
        "splitLine": {"show": False},
        "axisLabel": {"hideOverlap": True},
        "axisPointer": {
            "label": {"formatter": f"{panel.title}, {title} {{value}}", "precision": 0 if whole_numbers else 1}
        },
    }


def _y_axis(number: int, panel: Panel, log: bool) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "type": "log" if log else "value",
        "gridIndex": number,
        "scale": True,
        "name": f"{panel.title} ({'%' if panel.kind == RATE else panel.unit})"
        if panel.kind == RATE or panel.unit
        else panel.title,
        "nameTextStyle": {"align": "left", "fontWeight": "bold"},
        "axisPointer": {"show": False},
        "axisLabel": {"hideOverlap": True},
    }
    return axis | ({"max": 100} if panel.kind == RATE else {})


def _series(number: int, panel: Panel, log: bool) -> Iterable[dict[str, Any]]:
    n_runs = len({line.place for line in panel.lines})
    for index, line in enumerate(panel.lines):
        factor = 100 if panel.kind == RATE else 1
        if line.band:
            yield from _band(number, f"{number}-{index}", line, factor)
        # With many runs the validation says it all, and the list of values stays on the page.
        told = line.part != STEPS and (line.part != TRAINING or n_runs <= 4)
        yield {
            "name": line.label,
            "type": "line",
            "xAxisIndex": number,
            "yAxisIndex": number,
            "data": [
                [_rounded(x), _rounded(factor * y)] for x, y in line.points if not (log and panel.can_be_log and y <= 0)
            ],
            "symbol": _SYMBOLS[line.place // len(COLORS) % 2] if line.part == VALIDATION else "none",
            "symbolSize": 5,
            "itemStyle": {"color": color(line.place)},
            "lineStyle": {
                "color": color(line.place),
                "width": width(line.part),
                "type": list(dash(line.place, line.part)) or "solid",
                "opacity": 0.35 if line.part == STEPS else 1.0,
            },
            "tooltip": {"show": told, "valueFormatter": _value_format(panel, line.part)},
            "z": {STEPS: 1, TRAINING: 2}.get(line.part, 3),
        }


def _band(number: int, stack: str, line: Line, factor: float) -> Iterable[dict[str, Any]]:
    """The range behind a mean: an invisible line at its lowest, and on top of it an area as high as the range."""
    lowest = [[_rounded(x), _rounded(factor * low)] for x, low, _ in line.band]
    heights = [[_rounded(x), _rounded(factor * (high - low))] for x, low, high in line.band]
    for data, opacity in ((lowest, 0.0), (heights, 0.18)):
        yield {
            "name": line.label,
            "type": "line",
            "xAxisIndex": number,
            "yAxisIndex": number,
            "stack": f"band-{stack}",
            "data": data,
            "symbol": "none",
            "lineStyle": {"opacity": 0},
            "areaStyle": {"color": color(line.place), "opacity": opacity},
            "tooltip": {"show": False},
            "z": 0,
        }


def _value_format(panel: Panel, part: str) -> str:
    number = "%.1f %%" if panel.kind == RATE else f"%.4g {panel.unit}".rstrip()
    return f"{number} {part}".rstrip()


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
