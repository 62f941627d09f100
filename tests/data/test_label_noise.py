"""Label noise by confident learning, on probabilities that can be counted by hand."""

import numpy as np
import pandas as pd
import pytest

from kidney_core.data import label_noise
from kidney_core.metrics.predictions import Predictions

TABLE = pd.DataFrame(
    {
        "path": ["a/1", "a/2", "a/3", "b/1", "b/2", "b/3"],
        "label": ["a", "a", "a", "b", "b", "b"],
        "series": [0, 0, 0, 1, 1, 2],
    }
)
# The mean of p_a over slices labelled a is .6, that of p_b over slices labelled b .5.
OF_A = np.array([0.9, 0.8, 0.1, 0.1, 0.5, 0.9])


def predictions(of_a, rows=TABLE):
    return Predictions.from_probabilities(rows, np.column_stack([of_a, 1 - of_a]), ("a", "b"))


def test_a_label_is_contradicted_where_another_is_as_probable_as_on_average():
    found = label_noise.candidates(TABLE, {"one": predictions(OF_A)})
    assert found["path"].tolist() == ["a/3", "b/3"]
    assert found["suggested"].tolist() == ["b", "a"]
    assert found["confidence"].tolist() == pytest.approx([0.9, 0.9])
    assert found["own_probability"].tolist() == pytest.approx([0.1, 0.1])
    assert found["row"].tolist() == [2, 5]


def test_an_unsure_contradiction_is_none():
    unsure = np.array(
        [0.9, 0.9, 0.48, 0.1, 0.1, 0.1]
    )  # b is more probable for a/3, but less than the .9 that it is on average
    assert not len(label_noise.candidates(TABLE, {"one": predictions(unsure)}))


def test_networks_are_averaged_and_slices_that_one_does_not_know_are_left_to_the_other():
    part = TABLE.iloc[:3]
    found = label_noise.candidates(TABLE, {"one": predictions(OF_A), "two": predictions(1 - OF_A[:3], part)})
    assert found["path"].tolist() == ["b/3"]
    assert found["n_networks"].tolist() == [1]


def test_a_renamed_or_relabelled_file_has_no_prediction():
    moved = TABLE.assign(path=["x/1", "a/2", "a/3", "b/1", "b/2", "b/3"], label=["a", "a", "b", "b", "b", "b"])
    found = label_noise.candidates(moved, {"one": predictions(OF_A)})
    assert set(found["path"]) <= {"a/2", "b/1", "b/2", "b/3"}
    assert label_noise.candidates(TABLE.assign(path="none"), {"one": predictions(OF_A)}).empty


def test_candidates_are_joined_by_scan_with_their_share():
    scans = label_noise.by_scan(TABLE, label_noise.candidates(TABLE, {"one": predictions(OF_A)}))
    assert scans["series"].tolist() == [2, 0]
    assert scans["share"].tolist() == pytest.approx([1, 1 / 3])
    assert scans["n_contradicted"].tolist() == [1, 1]
    assert scans["row"].tolist() == [5, 2]
    assert label_noise.by_scan(TABLE, label_noise.candidates(TABLE, {})).empty
