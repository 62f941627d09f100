"""Options of ECharts: cells of the confusion matrix."""

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
