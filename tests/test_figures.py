"""Figures say what the numbers say, in the labels' own colours, and nothing is stretched to look certain."""

import pytest

from kidney_core import figures, paper
from kidney_core.labels import LABELS, color_of


def test_probability_bars_keep_the_order_and_colours_of_the_labels():
    drawn = figures.probability_bars({"Cyst": 0.1, "Normal": 0.2, "Stone": 0.3, "Tumor": 0.4}).data[0]
    assert list(drawn.y) == list(reversed(LABELS))  # Plotly draws from the bottom
    assert list(drawn.marker.color) == [color_of(label) for label in reversed(LABELS)]
    assert drawn.text[0] == "40.0 %"


def test_confusion_heatmap_shows_counts_and_shares_of_rows():
    drawn = figures.confusion_heatmap([[3, 1], [0, 0]], ["Cyst", "Stone"]).data[0]
    assert drawn.z[0].tolist() == [0.75, 0.25]
    assert drawn.text[0][1] == "1<br>25 %"
    assert drawn.z[1].tolist() == [0.0, 0.0]  # a label without slices


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
