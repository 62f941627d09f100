"""A map of slices: alike slices lie together, whatever holds them."""

import numpy as np
import pytest

from kidney_core.data import dataset
from kidney_core.diagnosis import embedding, inference
from tests.diagnosis.test_inference import made_checkpoint


def test_two_groups_of_features_lie_apart():
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(0, 1, (30, 20)), rng.normal(6, 1, (30, 20))])
    places = embedding.map_of(features)
    assert places.shape == (60, 2)
    near, far = places[:30].mean(axis=0), places[30:].mean(axis=0)
    assert np.linalg.norm(places[:30] - near, axis=1).max() < np.linalg.norm(near - far)
    assert embedding.map_of(features) == pytest.approx(places)


def test_features_are_those_of_the_slices_in_their_order(tmp_path, small_dataset):
    predictor = inference.open_predictor(made_checkpoint(tmp_path / "plain"))
    paths = list(dataset.read_dataset(small_dataset).table["path"])[:11]
    told = []
    found = embedding.features_of(predictor, small_dataset, paths, progress=lambda *done: told.append(done))
    alone = embedding.features_of(predictor, small_dataset, [paths[9]])
    assert found.shape == (11, alone.shape[1])
    assert found[9] == pytest.approx(alone[0], abs=1e-4)
    assert told[-1] == (11, 11)


def test_rows_are_chosen_evenly():
    assert embedding.chosen_rows(4).tolist() == [0, 1, 2, 3]
    assert embedding.chosen_rows(101, most=3).tolist() == [0, 50, 100]
