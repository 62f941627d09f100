"""Charts and pictures have a text alternative: all are drawn in one place, or say what they show."""

import ast
import tomllib

import pandas as pd
import plotly.graph_objects as go
import pytest

from kidney_core.app import charts
from kidney_core.metrics import chart_text, curve_charts, curve_plots, echarts, plots
from kidney_core.metrics.calibration import Reliability
from kidney_core.metrics.curve_charts import RATE, STEPS, VALIDATION, Line, Panel, numbers
from tests.app.contrast import contrast
from tests.app.drawn_words import sources
from tests.conftest import ROOT


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_every_chart_is_drawn_with_words_and_every_picture_has_some(path):
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        element = call.func.attr if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) else ""
        if path.name != "charts.py":
            assert not element.endswith("_chart"), f"{path.name}:{call.lineno}: draw it with charts.draw"
        if element in ("image", "pyplot") and ast.unparse(call.func.value) != "self":
            assert "alt" in [option.arg for option in call.keywords], f"{path.name}:{call.lineno}: say what it shows"


def test_words_hold_the_shares_that_a_chart_shows():
    rows = [
        ("Random split", "one", 0.99, 0.98, 1.0),
        ("Random split", "two", 0.95, None, None),
        ("Unseen scans", "one", 0.714, 0.6, 0.8),
    ]
    assert chart_text.ranges(rows) == "Random split 95 to 99 %. Unseen scans 71 %."
    assert chart_text.groups(rows) == "Random split: one 99.0 %, two 95.0 %. Unseen scans: one 71.4 %."
    table = chart_text.interval_table(rows, group="Tested on", series="Model", value="Correct")
    assert table.to_dict("list")["95 % interval"] == ["98.0 to 100.0 %", "–", "60.0 to 80.0 %"]
    assert chart_text.probabilities({"Cyst": 0.031, "Normal": 0.969}) == "Probabilities: Cyst 3.1 %, Normal 96.9 %."


def test_a_confusion_matrix_in_words_and_as_a_table():
    assert (
        chart_text.confusion([[10, 2], [6, 2]], ["Cyst", "Stone"])
        == "Predicted correctly: 10 of 12 Cyst, 2 of 8 Stone."
    )
    table = chart_text.confusion_table([[10, 2], [6, 2]], ["Cyst", "Stone"])
    assert table.loc["Stone", "Cyst"] == 6
    assert table.index.name == "True"


def test_the_points_of_a_figure_are_a_table_without_the_lines_that_are_not_named():
    figure = go.Figure()
    figure.add_scatter(x=list(range(1000)), y=list(range(1000)), name=plots.plain("a <b> {c}"))
    figure.add_scatter(x=[0, 1], y=[0, 1], showlegend=False, name="guessing")
    figure.update_xaxes(title="recall").update_yaxes(title="precision")
    table = chart_text.line_table(figure)
    assert list(table.columns) == ["Series", "Recall", "Precision"]
    assert len(table) == chart_text.MAX_POINTS
    assert table["Recall"].iat[0] == 0
    assert table["Recall"].iat[-1] == 999
    assert set(table["Series"]) == {"a <b> {c}"}
    assert chart_text.legend(figure) == "a <b> {c}"


def test_a_reliability_table_has_the_bins_that_hold_slices():
    nan = float("nan")
    bins = Reliability(
        confidence=pd.Series([nan, 0.9]).to_numpy(),
        accuracy=pd.Series([nan, 0.75]).to_numpy(),
        count=pd.Series([0, 8]).to_numpy(),
        error=0.15,
    )
    table = chart_text.reliability_table({"calibrated": bins}, of="confidence")
    assert table.to_dict("records") == [
        {"Series": "calibrated", "Confidence": "90.0 %", "Observed": "75.0 %", "Slices": 8}
    ]
    assert chart_text.legend(curve_plots.reliability_figure({"calibrated": bins})) == "calibrated (ECE 15.0 %)"


def test_the_numbers_of_training_curves_leave_single_steps_out():
    lines = (Line("run", 0, VALIDATION, [(1, 0.5), (2, 0.75)]), Line("run", 0, STEPS, [(1, 0.1)]))
    table = numbers([Panel("accuracy", lines, kind=RATE)], "epoch")
    assert table.to_dict("list") == {
        "Quantity": ["accuracy"] * 2,
        "Run": ["run"] * 2,
        "Part": [VALIDATION] * 2,
        "Epoch": [1, 2],
        "Value": ["50.0 %", "75.0 %"],
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_axes_of_a_chart_have_contrast_on_every_ground_of_the_page(theme):
    grounds = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["theme"][theme]
    lines = (Line("one", 0, VALIDATION, [(0, 1.0), (1, 0.5)]),)
    for figure in (
        echarts.confusion_options([[3, 1], [0, 2]], ["Cyst", "Stone"]),
        curve_charts.options([Panel("loss", lines), Panel("accuracy", lines)], x_title="epoch", whole_numbers=True),
    ):
        drawn = charts.with_readable_axes(figure, theme)
        drawn = drawn.get("baseOption", drawn)
        axes = [*drawn["xAxis"], *drawn["yAxis"]]
        assert len(axes) >= 2
        for axis in axes:
            for part in ("axisLabel", "nameTextStyle"):
                for ground in ("backgroundColor", "secondaryBackgroundColor"):
                    assert contrast(axis[part]["color"], grounds[ground]) >= 4.5, (axis, ground)
    assert charts.with_readable_axes(figure, None) == charts.with_readable_axes(figure, "light")
