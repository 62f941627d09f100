"""Plotly bars show what the numbers say, in the labels' own colours, and nothing is stretched to look certain."""

import pytest

from kidney_core.common.labels import LABELS, color_of
from kidney_core.metrics import plots


def test_probability_bars_keep_the_order_and_colours_of_the_labels():
    drawn = plots.probability_bars({"Cyst": 0.1, "Normal": 0.2, "Stone": 0.3, "Tumor": 0.4}).data[0]
    assert list(drawn.y) == list(reversed(LABELS))  # Plotly draws from the bottom
    assert list(drawn.marker.color) == [color_of(label) for label in reversed(LABELS)]
    assert drawn.text[0] == "40.0 %"


def test_protocol_bars_draw_the_interval_as_whiskers_and_none_where_there_is_none():
    rows = [("a", "grouped", 0.6, None, None), ("b", "grouped", 0.8, 0.7, 0.85)]
    figure = plots.protocol_bars(rows)
    with_interval, without = figure.data
    assert (list(with_interval.x), list(without.x)) == (["b"], ["a"])
    assert list(with_interval.error_y.array) == pytest.approx([0.05])
    assert list(with_interval.error_y.arrayminus) == pytest.approx([0.1])
    assert without.error_y.array is None
    assert (list(with_interval.customdata), list(without.customdata)) == (["70.0 to 85.0 %"], ["–"])
    assert list(figure.layout.xaxis.categoryarray) == ["a", "b"]
    assert [bar.showlegend for bar in figure.data] == [False, True]  # one entry in the legend
    assert with_interval.offsetgroup == without.offsetgroup


@pytest.mark.parametrize(("color", "ink"), [("#0072B2", "#ffffff"), ("#009E73", "#000000"), ("#999999", "#000000")])
def test_text_on_a_bar_is_the_one_that_reads_better(color, ink):
    assert plots.text_color_on(color) == ink


def test_situation_dots_put_the_first_situation_on_top_and_draw_no_whisker_where_there_is_no_interval():
    rows = [("Random", "a", 0.9, 0.85, 0.95), ("Unseen", "a", 0.7, None, None), ("Random", "b", 0.8, 0.7, 0.85)]
    figure = plots.situation_dots(rows)
    a, b = figure.data
    assert (a.name, b.name) == ("a", "b")
    assert list(figure.layout.yaxis.ticktext) == ["Unseen", "Random"]  # Plotly draws from the bottom
    assert a.y[0] > a.y[1]
    assert a.y[0] > b.y[0] > a.y[1]  # the models of one situation stay together
    assert list(a.error_x.array) == pytest.approx([0.05, 0])
    assert list(a.error_x.arrayminus) == pytest.approx([0.05, 0])
    assert a.customdata[1][1] == "–"
    assert a.marker.symbol != b.marker.symbol  # told apart without colour


def test_names_are_text_in_figures():
    """Plotly reads HTML and placeholders in all of its texts; it turns the entities back."""
    name = "<a href=http://evil.example>x</a> & %{y}"
    text = "&lt;a href=http://evil.example&gt;x&lt;/a&gt; &amp; %&#123;y}"
    assert list(plots.probability_bars({name: 0.4, "Cyst": 0.6}).data[0].y) == ["Cyst", text]
    bars = plots.protocol_bars([(name, "grouped", 0.8, 0.7, 0.85)])
    assert list(bars.data[0].x) == list(bars.layout.xaxis.categoryarray) == [text]
