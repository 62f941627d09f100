"""Figures say what the numbers say, in the labels' own colours, and nothing is stretched to look certain."""

import pytest

from kidney_core import figures, paper
from kidney_core.labels import LABELS, color_of


def test_probability_bars_keep_the_order_and_colours_of_the_labels():
    drawn = figures.probability_bars({"Cyst": 0.1, "Normal": 0.2, "Stone": 0.3, "Tumor": 0.4}).data[0]
    assert list(drawn.y) == list(reversed(LABELS))  # Plotly draws from the bottom
    assert list(drawn.marker.color) == [color_of(label) for label in reversed(LABELS)]
    assert drawn.text[0] == "40.0 %"


def test_confusion_options_show_counts_and_shares_of_rows():
    cells = figures.confusion_options([[3, 1], [0, 0]], ["Cyst", "Stone"])["series"][0]["data"]
    # ECharts takes (column, row, value)
    assert [cell["value"] for cell in cells] == [[0, 0, 0.75], [1, 0, 0.25], [0, 1, 0.0], [1, 1, 0.0]]
    assert cells[1]["label"]["formatter"] == "1\n25 %"


def test_selected_cell_names_its_true_and_predicted_label():
    state = {"selection": {"selected": [{"data_indices": [2]}], "areas": []}}
    assert figures.selected_cell(state, ["Cyst", "Stone"]) == ("Stone", "Cyst")
    assert figures.selected_cell({"selection": {"selected": [], "areas": []}}, ["Cyst", "Stone"]) is None


def test_protocol_bars_draw_the_interval_as_whiskers_and_none_where_there_is_none():
    rows = [("a", "grouped", 0.6, None, None), ("b", "grouped", 0.8, 0.7, 0.85)]
    figure = figures.protocol_bars(rows)
    with_interval, without = figure.data
    assert (list(with_interval.x), list(without.x)) == (["b"], ["a"])
    assert list(with_interval.error_y.array) == pytest.approx([0.05])
    assert list(with_interval.error_y.arrayminus) == pytest.approx([0.1])
    assert without.error_y.array is None
    assert (list(with_interval.customdata), list(without.customdata)) == (["70.0 to 85.0 %"], ["–"])
    assert list(figure.layout.xaxis.categoryarray) == ["a", "b"]
    assert [bar.showlegend for bar in figure.data] == [False, True]  # one entry in the legend
    assert with_interval.offsetgroup == without.offsetgroup


def test_p_values_are_never_written_as_zero():
    assert figures.p_value(0.0312) == "0.031"
    assert figures.p_value(1e-9) == "< 0.001"


def test_report_with_intervals_puts_them_in_brackets():
    rates = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "roc_auc": None}
    found = {"n": 4, "per_label": {"Cyst": {**rates, "support": 4}}, "macro": rates, "weighted": rates}
    table = figures.report_with_intervals(found, {"per_label.Cyst.recall": [0.1, 0.6]})
    assert table.loc["Cyst"].tolist() == ["50.0", "25.0 (10\u2060–\u206060)", "33.3", "–", "4"]
    assert table.loc["macro average", "Slices"] == "4"
    found["per_label"]["Stone"] = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "roc_auc": None, "support": 0}
    assert figures.report_with_intervals(found, {}).loc["Stone"].tolist() == ["–", "–", "–", "–", "0"]


def measurements(n_epochs):
    rows = [{"kind": "step", "step": 5, "epoch": 1, "steps_per_epoch": 10, "train_loss": 2.0}]
    for epoch in range(1, n_epochs + 1):
        row = {
            "kind": "epoch",
            "step": 10 * epoch,
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "validation_loss": 2 / epoch,
        }
        rows.append({**row, "train_accuracy": 0.5, "validation_accuracy": 0.4})
    return rows


def test_curves_put_steps_and_epochs_on_one_axis():
    lines = {line["name"]: line["data"] for line in figures.curve_options({"a": measurements(2)}, "loss")["series"]}
    assert lines["a, steps"] == [[0.5, 2.0]]
    assert lines["a"] == [[1, 2.0], [2, 1.0]]
    assert lines["a, train"] == [[1, 1.0], [2, 0.5]]


def test_curves_of_a_run_in_its_first_epoch_are_drawn_already():
    lines = {line["name"]: line["data"] for line in figures.curve_options({"a": measurements(0)}, "loss")["series"]}
    assert lines["a, steps"] == [[0.5, 2.0]]
    assert lines["a"] == []


@pytest.mark.parametrize(("value", "text"), [(0.8213, "82.1 %"), (None, "–"), (1.0, "100.0 %")])
def test_percent(value, text):
    assert figures.percent(value) == text


def test_cells_are_printed_as_the_paper_prints_them():
    assert paper.cell((0.994, 1.0, 0.98)) == ".99 / 1 / .98"
    assert paper.cell((0.996, 0.0, 0.5)) == "1 / .00 / .50"


def test_table_1_has_every_column_for_the_three_architectures():
    assert set(paper.TABLE_1) == set(paper.ARCHITECTURE_NAMES)
    for rows in paper.TABLE_1.values():
        assert set(rows) == {*paper.COLUMNS, "accuracy"}


@pytest.mark.parametrize(("color", "ink"), [("#0072B2", "#ffffff"), ("#009E73", "#000000"), ("#999999", "#000000")])
def test_text_on_a_bar_is_the_one_that_reads_better(color, ink):
    assert figures.text_on(color) == ink


def test_a_range_of_differences_is_in_points():
    assert figures.percent_range(0.807, 0.94) == "80.7 to 94.0 %"
    assert figures.percent_range(-0.01, 0.3, signed=True) == "-1.0 to +30.0 points"
