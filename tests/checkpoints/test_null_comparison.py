"""Maps against null maps: scans and not slices decide, and a map that does no better than its best null does not beat it."""

import numpy as np
import pytest

from kidney_core.checkpoints import null_comparison
from kidney_core.checkpoints.null_comparison import MAP
from kidney_core.data import lesions
from kidney_core.data.lesions import AnnotatedSlice
from kidney_core.networks.null_maps import BRIGHTNESS, NULLS
from kidney_core.simulation import phantom


def _values(of_map, of_brightness, of_others=0.0):
    n = len(of_map)
    return {name: [of_others] * n for name in NULLS} | {MAP: list(of_map), BRIGHTNESS: list(of_brightness)}


def test_a_map_beats_its_nulls_where_the_interval_of_the_difference_is_above_zero():
    rng = np.random.default_rng(0)
    better = null_comparison.compare(_values(rng.normal(0.3, 0.1, 60), rng.normal(0.1, 0.1, 60)), np.arange(60))
    assert (better["beats"], better["best_null"], better["n"], better["n_scans"]) == (True, BRIGHTNESS, 60, 60)
    assert better[MAP] == pytest.approx(0.3, abs=0.05)
    alike = null_comparison.compare(_values(rng.normal(0.1, 0.1, 60), rng.normal(0.1, 0.1, 60)), np.arange(60))
    assert not alike["beats"]


def test_slices_of_few_scans_prove_nothing():
    values = _values(np.full(60, 0.3), np.full(60, 0.1))
    assert not null_comparison.compare(values, np.repeat([0, 1, 2], 20))["beats"]
    assert null_comparison.compare(values, np.repeat(np.arange(6), 10))["beats"]


def test_the_interval_is_wide_where_scans_differ_and_slices_of_one_are_alike():
    rng = np.random.default_rng(1)
    of_scan = rng.normal(0, 1, 10)
    low, high = null_comparison.mean_interval(np.repeat(of_scan, 20), np.repeat(np.arange(10), 20))
    low_alone, high_alone = null_comparison.mean_interval(np.repeat(of_scan, 20), np.arange(200))
    assert high - low > 2.5 * (high_alone - low_alone)


def test_a_slice_of_unknown_scan_is_one_of_its_own():
    image = phantom.draw_series("Stone", 1, n_slices=1)[0].as_slice("")
    slices = [AnnotatedSlice(image, "Stone", np.ones((8, 8), bool), scan) for scan in (5, None, 5, None)]
    assert lesions.scan_numbers(slices).tolist() == [0, 1, 0, 2]
