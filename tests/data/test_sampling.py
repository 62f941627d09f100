"""The images of an epoch and their order."""

import numpy as np
import pytest

from kidney_core.data import sampling


def test_epoch_order_has_each_image_once_and_depends_on_seed_and_epoch():
    order = sampling.epoch_order(10, seed=1, epoch=2)
    assert sorted(order) == list(range(10))
    np.testing.assert_array_equal(order, sampling.epoch_order(10, seed=1, epoch=2))
    assert (order != sampling.epoch_order(10, seed=1, epoch=3)).any()


def test_balanced_weights_of_classes_and_scans():
    """Class 0: scans of 1 and 4 slices; class 1: one scan of 20 slices."""
    y = np.array([0] * 5 + [1] * 20)
    scan = np.array([7] + [8] * 4 + [9] * 20)
    weights = sampling.balanced_weights(np.zeros(25, int), y, scan)
    assert weights.sum() == pytest.approx(1)
    assert weights[y == 1].sum() / weights[y == 0].sum() == pytest.approx(2)  # sqrt(20 / 5)
    assert weights[scan == 8].sum() / weights[scan == 7].sum() == pytest.approx(2)  # sqrt(4 / 1)
    assert np.ptp(weights[y == 1]) == 0


def test_balanced_weights_of_folders():
    """Two folders of 100 and 25 slices, whose scans have equal numbers."""
    folder = np.array([0] * 100 + [1] * 25)
    y = np.array([0] * 64 + [1] * 36 + [1] * 25)
    weights = sampling.balanced_weights(folder, y, np.zeros(125, int))
    assert weights.sum() == pytest.approx(1)
    assert weights[folder == 0].sum() == pytest.approx(10 / 15)
    assert weights[(folder == 0) & (y == 0)].sum() == pytest.approx(10 / 15 * 8 / 14)


def test_epoch_draws_follow_their_weights_and_depend_on_seed_and_epoch():
    weights = np.array([0.7, 0.3, 0.0])
    drawn = sampling.epoch_draws(weights, 10_000, seed=0, epoch=1)
    assert np.bincount(drawn, minlength=3) / 10_000 == pytest.approx(weights, abs=0.02)
    np.testing.assert_array_equal(drawn, sampling.epoch_draws(weights, 10_000, seed=0, epoch=1))
    assert (drawn != sampling.epoch_draws(weights, 10_000, seed=0, epoch=2)).any()
