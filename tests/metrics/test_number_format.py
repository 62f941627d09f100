"""Numbers are written so that nothing looks surer than it is."""

import pytest

from kidney_core.metrics import number_format


@pytest.mark.parametrize(("value", "text"), [(0.8213, "82.1 %"), (None, "–"), (1.0, "100.0 %")])
def test_percent(value, text):
    assert number_format.percent(value) == text


def test_p_values_are_never_written_as_zero():
    assert number_format.p_value(0.0312) == "0.031"
    assert number_format.p_value(1e-9) == "< 0.001"


def test_a_range_of_differences_is_in_points():
    assert number_format.percent_range(0.807, 0.94) == "80.7 to 94.0 %"
    assert number_format.percent_range(-0.01, 0.3, signed=True) == "-1.0 to +30.0 points"


def test_report_with_intervals_puts_them_in_brackets():
    rates = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "roc_auc": None}
    found = {"n": 4, "per_label": {"Cyst": {**rates, "support": 4}}, "macro": rates, "weighted": rates}
    table = number_format.report_with_intervals(found, {"per_label.Cyst.recall": [0.1, 0.6]})
    assert table.loc["Cyst"].tolist() == ["50.0", "25.0 (10\u2060–\u206060)", "33.3", "–", "4"]
    assert table.loc["macro average", "Slices"] == "4"
    found["per_label"]["Stone"] = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "roc_auc": None, "support": 0}
    assert number_format.report_with_intervals(found, {}).loc["Stone"].tolist() == ["–", "–", "–", "–", "0"]


def test_decimal_with_interval():
    assert number_format.decimal_with_interval(1.089, 0.91, 1.32) == "1.09 (0.91 to 1.32)"
    assert number_format.decimal_with_interval(-0.0001, -0.0004, 0.1, 3) == "0.000 (0.000 to 0.100)"
    assert number_format.decimal_with_interval(0.5, None, None) == "0.50"
    assert number_format.decimal_with_interval(None, None, None) == "–"
