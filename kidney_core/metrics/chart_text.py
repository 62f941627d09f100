"""What charts say, in a sentence, and their numbers as a table: for those who cannot see them."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from kidney_core.metrics.number_format import percent, percent_range

if TYPE_CHECKING:
    from kidney_core.metrics.calibration import Reliability

Row = tuple[str, str, float, float | None, float | None]  # group, series, share, and the ends of its interval
MAX_POINTS = 60  # of a line in a table; neighbours on a curve say the same


def shares(values: Mapping[str, float | None], digits: int = 1) -> str:
    """{"Cyst": 0.031, "Normal": 0.9} -> "Cyst 3.1 %, Normal 90.0 %"."""
    return ", ".join(f"{name} {percent(value, digits)}" for name, value in values.items())


def probabilities(values: Mapping[str, float]) -> str:
    """All probabilities of a slice or a scan: "Probabilities: Cyst 3.1 %, Normal 96.9 %."."""
    return f"Probabilities: {shares(values)}."


def ranges(rows: Iterable[Row]) -> str:
    """The lowest and the highest share of each group: "Random split 98 to 100 %. Unseen scans 71 %."."""
    groups: dict[str, list[float]] = {}
    for group, _, value, *_ in rows:
        groups.setdefault(group, []).append(value)
    ends = {name: (percent(min(values), 0), percent(max(values), 0)) for name, values in groups.items()}
    return " ".join(
        f"{name} {low}." if low == high else f"{name} {low.removesuffix(' %')} to {high}."
        for name, (low, high) in ends.items()
    )


def groups(rows: Iterable[Row]) -> str:
    """Every share, group by group: "mobilenetv2: random split 99.0 %, unseen scans 75.0 %."."""
    by: dict[str, dict[str, float | None]] = {}
    for group, series, value, *_ in rows:
        by.setdefault(group, {})[series] = value
    return " ".join(f"{group}: {shares(own)}." for group, own in by.items())


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> str:
    """How many of each true label are predicted as it: "Predicted correctly: 10 of 12 Cyst, 2 of 8 Stone."."""
    right = [f"{row[at]:,} of {sum(row):,} {label}" for at, (row, label) in enumerate(zip(matrix, labels, strict=True))]
    return f"Predicted correctly: {', '.join(right)}."


def interval_table(rows: Iterable[Row], *, group: str, series: str, value: str) -> pd.DataFrame:
    """One row a share with its 95 % interval; the titles of the columns are given."""
    return pd.DataFrame(
        [(a, b, percent(share), percent_range(low, high)) for a, b, share, low, high in rows],
        columns=[group, series, value, "95 % interval"],
    )


def confusion_table(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> pd.DataFrame:
    """Counts: a row a true label, a column a predicted one."""
    return pd.DataFrame(matrix, columns=list(labels)).set_axis(list(labels)).rename_axis("True")


def reliability_table(reliabilities: "Mapping[str, Reliability]", *, of: str) -> pd.DataFrame:
    """One row a bin that is not empty: what was said, what was observed, and on how many slices."""
    return pd.DataFrame(
        [
            {"Series": name, of.capitalize(): percent(said), "Observed": percent(observed), "Slices": int(count)}
            for name, each in reliabilities.items()
            for said, observed, count in zip(each.confidence, each.accuracy, each.count, strict=True)
            if count
        ]
    )


def line_table(figure: Any) -> pd.DataFrame:
    """The points of the lines and dots in the legend of a Plotly figure, at most 60 of each.

    Returns: the columns Series, then the title of the horizontal axis and that of the vertical one, or "Value" where the
        lines stand on several.
    """
    lines = [trace for trace in figure.data if trace.name and trace.showlegend is not False and trace.x is not None]
    titles = {_title(figure, "y", trace) for trace in lines}
    y_title = titles.pop() if len(titles) == 1 else "Value"
    x_title = next(filter(None, (axis.title.text for axis in figure.select_xaxes())), "x")
    rows = [
        (html.unescape(trace.name), x, y)
        for trace in lines
        for x, y in _thinned(list(zip(trace.x, trace.y, strict=True)))
    ]
    return pd.DataFrame(rows, columns=["Series", str(x_title).capitalize(), str(y_title).capitalize()])


def legend(figure: Any) -> str:
    """The names in the legend of a Plotly figure, where curves write their area or error: "Cyst (AUC 0.981), Normal (…)"."""
    named = (trace.name for trace in figure.data if trace.name and trace.showlegend is not False)
    return html.unescape(", ".join(named))


def _title(figure: Any, axis: str, trace: Any) -> str:
    number = (getattr(trace, f"{axis}axis", None) or axis).removeprefix(axis)
    return getattr(figure.layout, f"{axis}axis{number}").title.text or axis


def _thinned(points: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """At most 60 of the points, with both ends."""
    n = len(points)
    if n <= MAX_POINTS:
        return points
    return [points[round(at * (n - 1) / (MAX_POINTS - 1))] for at in range(MAX_POINTS)]
