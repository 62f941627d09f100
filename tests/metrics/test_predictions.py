"""Predictions: what is stored is read back, and views on it agree with the table they come from."""

from io import BytesIO

import numpy as np
import pandas as pd
import pytest

from kidney_core.metrics import calibration
from kidney_core.metrics.predictions import Predictions

LABELS = ("Stone", "Cyst")


def four_slices(**columns):
    rows = pd.DataFrame({"path": list("abcd"), "label": ["Cyst", "Cyst", "Stone", "Stone"], "series": [4, 4, 9, 9]})
    return Predictions.from_probabilities(
        rows.assign(**columns), np.array([[0.1, 0.9], [0.7, 0.3], [0.8, 0.2], [0.6, 0.4]]), LABELS
    )


def test_the_columns_on_disk_are_those_of_version_0_5():
    header, first, *_ = four_slices(temperature=1.5).csv_bytes(digits=5).decode().splitlines()
    assert header == "path,label,series,temperature,predicted,p_Stone,p_Cyst"
    assert first == "a,Cyst,4,1.5,Cyst,0.1,0.9"


def test_stored_predictions_are_read_back_in_the_order_of_the_model():
    written = four_slices()
    read = Predictions.read_csv(BytesIO(written.csv_bytes()))
    pd.testing.assert_frame_equal(read.table, written.table)
    assert read.labels == LABELS
    assert read.y_true.tolist() == [1, 1, 0, 0]
    assert read.y_pred.tolist() == [1, 0, 0, 0]
    assert read.is_right.tolist() == [True, False, True, True]
    assert read.confidence.tolist() == [0.9, 0.7, 0.8, 0.6]
    assert read.series.tolist() == [4, 4, 9, 9]
    assert not read.has_temperature


def test_a_subset_keeps_the_labels_that_no_slice_of_it_has():
    part = four_slices().subset(np.array([True, False, False, False]))
    assert (len(part), part.labels, part.present_labels) == (1, LABELS, ("Cyst",))
    assert part.probabilities.tolist() == [[0.1, 0.9]]
    assert (part.n_series(), part.n_series("Cyst"), part.n_series("Stone")) == (1, 1, 0)


def test_in_order_moves_every_value_with_its_slice():
    turned = four_slices().in_order("dcba")
    assert turned.table["path"].tolist() == list("dcba")
    assert turned.y_true.tolist() == [0, 0, 1, 1]
    assert turned.probabilities[:, 0].tolist() == [0.6, 0.8, 0.7, 0.1]


def test_recalibrated_replaces_the_temperature_it_was_stored_with():
    raw = four_slices().probabilities
    stored = Predictions.from_probabilities(
        four_slices().table[["path", "label"]].assign(temperature=2.0), calibration.calibrate(raw, 2.0), LABELS
    )
    np.testing.assert_allclose(stored.uncalibrated(), raw)
    again = stored.recalibrated(np.full(4, 3.0))
    np.testing.assert_allclose(again.probabilities, calibration.calibrate(raw, 3.0))
    assert again.table["temperature"].unique() == [3.0]
    assert stored.best_temperature() == pytest.approx(again.best_temperature(), rel=1e-3)


def test_per_series__error_unknown_series():
    predictions = Predictions.from_table(four_slices().table.drop(columns="series"))
    assert predictions.series is None
    with pytest.raises(ValueError, match="must have a column series"):
        predictions.per_series()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="predicted"), "no column “predicted”"),
        (lambda table: table.replace({"label": {"Cyst": "Tumor"}}), "label must be one of .* got 'Tumor'"),
    ],
)
def test_from_table__error_no_predictions(change, message):
    with pytest.raises(ValueError, match=message):
        Predictions.from_table(change(four_slices().table))
