"""The check for turned pictures and contact sheets learns on the finder's features, and is measured on scans that it did not see."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from kidney_core.common import settings
from kidney_core.kidneys import finder as finders
from kidney_core.kidneys.picture_check import N_TURNS, fault_of
from kidney_core.simulation import phantom
from kidney_core.training import picture_check_command
from kidney_core.training.picture_check_command import UprightSlices


@pytest.fixture(scope="module")
def finder():
    return finders.open_finder(settings.SHIPPED_CHECKPOINTS / finders.FOLDER)


def test_it_learns_to_tell_turned_phantoms_and_contact_sheets(finder):
    drawn = [each for seed in range(12) for each in phantom.draw_series("Normal", seed, n_slices=2)]
    squares = np.stack([finder.view.frame(each.as_slice("a").network_grey8()).square for each in drawn])
    slices = UprightSlices(squares, np.full(24, "phantoms"), np.repeat(np.arange(12), 2))
    classifier, metrics = picture_check_command.train_and_measure(finder, slices)
    assert (metrics["phantoms"]["n"], metrics["phantoms"]["n_scans"]) == (24, 12)
    assert metrics["phantoms"]["turned_found"] > 0.8
    assert metrics["phantoms"]["upright_refused"] < 0.1
    assert metrics["phantoms"]["several_found"] > 0.4
    turned = np.stack([np.rot90(squares[0], turn) for turn in range(N_TURNS)])
    found = classifier.probabilities(finder.picture_features(turned))
    assert [fault_of(each) for each in found] == list(range(N_TURNS))


def test_the_weights_hold_the_standardising_of_the_features():
    rng = np.random.default_rng(0)
    turns = np.tile(np.arange(4), 100)
    features = (rng.normal(0, 1, (400, 6)) * [1, 10, 100, 1, 1, 1] + 50 + 3 * turns[:, None]).astype(np.float32)
    same = LogisticRegression(C=0.01, max_iter=500).fit(StandardScaler().fit_transform(features), turns)
    expected = same.predict_proba(StandardScaler().fit_transform(features))
    found = picture_check_command.fit(features, turns).probabilities(torch.from_numpy(features))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_changed_copies_keep_their_size_and_differ():
    drawn = phantom.draw_series("Normal", 4, n_slices=1)[0].as_slice("a").network_grey8()
    copies = [picture_check_command.changed(drawn, np.random.default_rng(seed)) for seed in range(5)]
    assert all(copy.shape == drawn.shape and copy.dtype == np.uint8 for copy in copies)
    assert all((copy != drawn).any() for copy in copies)
