"""Options of ECharts: cells of the confusion matrix, and curves of runs on one axis of epochs."""

from kidney_core.metrics import echarts


def test_confusion_options_show_counts_and_shares_of_rows():
    cells = echarts.confusion_options([[3, 1], [0, 0]], ["Cyst", "Stone"])["series"][0]["data"]
    # ECharts takes (column, row, value)
    assert [cell["value"] for cell in cells] == [[0, 0, 0.75], [1, 0, 0.25], [0, 1, 0.0], [1, 1, 0.0]]
    assert cells[1]["label"]["formatter"] == "1\n25 %"


def test_selected_cell_names_its_true_and_predicted_label():
    state = {"selection": {"selected": [{"data_indices": [2]}], "areas": []}}
    assert echarts.selected_cell(state, ["Cyst", "Stone"]) == ("Stone", "Cyst")
    assert echarts.selected_cell({"selection": {"selected": [], "areas": []}}, ["Cyst", "Stone"]) is None


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
    lines = {line["name"]: line["data"] for line in echarts.curve_options({"a": measurements(2)}, "loss")["series"]}
    assert lines["a, steps"] == [[0.5, 2.0]]
    assert lines["a"] == [[1, 2.0], [2, 1.0]]
    assert lines["a, train"] == [[1, 1.0], [2, 0.5]]


def test_curves_of_a_run_in_its_first_epoch_are_drawn_already():
    lines = {line["name"]: line["data"] for line in echarts.curve_options({"a": measurements(0)}, "loss")["series"]}
    assert lines["a, steps"] == [[0.5, 2.0]]
    assert lines["a"] == []
