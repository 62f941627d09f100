"""Null maps: on the grid of the heatmap, of the image alone, and no better than themselves."""

import numpy as np
import pytest

from kidney_core.networks.explanation import Heatmap
from kidney_core.networks.null_maps import BRIGHTNESS, EDGES, MIRRORED, NOISE, NULLS, null_maps


@pytest.fixture
def square():
    """A dark image, bright in its lower right quarter."""
    image = np.full((64, 64), 20, np.uint8)
    image[32:, 32:] = 220
    return image


def _heatmap(evidence):
    return Heatmap(np.asarray(evidence, np.float32), np.zeros(4), 2)


def test_nulls_have_the_grid_of_the_map_and_show_what_their_name_says(square):
    own = np.zeros((8, 8))
    own[1, 2] = 3
    nulls = null_maps(_heatmap(own), square, seed=0)
    assert tuple(nulls) == NULLS
    assert {each.evidence.shape for each in nulls.values()} == {(8, 8)}
    assert {each.target for each in nulls.values()} == {2}
    bright = nulls[BRIGHTNESS].evidence
    np.testing.assert_allclose([bright[0, 0], bright[7, 7]], [20 / 255, 220 / 255], atol=1e-6)
    edges = nulls[EDGES].evidence
    assert min(edges[6, 3], edges[6, 4]) > 10 * edges[7, 7]
    assert np.argwhere(nulls[MIRRORED].evidence).tolist() == [[1, 5]]


def test_noise_is_the_same_for_one_seed_and_another_for_the_next(square):
    first, again, other = (
        null_maps(_heatmap(np.ones((8, 8))), square, seed=seed)[NOISE].evidence for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    assert 0 <= first.min() < first.max() <= 1


def test_the_null_of_an_empty_map_is_empty(square):
    assert null_maps(_heatmap(np.zeros((8, 8))), square, seed=0)[MIRRORED].is_empty
