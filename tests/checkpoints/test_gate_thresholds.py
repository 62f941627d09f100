"""Thresholds of the out-of-distribution check rest on scans, and its refusal rate is measured on folds that did not set them."""

import numpy as np
import pandas as pd
import pytest

from kidney_core.checkpoints import gate_thresholds


def distances_of(rng, n_scans, *, fold, shift=0.0, first=0):
    """Scans of 20 slices, each about a distance of its own."""
    series = np.repeat(np.arange(n_scans), 20)
    own = rng.normal(5, 1, n_scans)[series] + shift
    return pd.DataFrame(
        {
            "distance": own + rng.normal(0, 0.2, len(series)),
            "residual": np.full(len(series), 0.5),
            "series": series + first,
            "seen": False,
            "fold": fold,
        }
    )


def test_one_long_scan_does_not_set_the_threshold():
    values, series = (
        np.concatenate([np.full(1000, 50.0), np.arange(100.0)]),
        np.concatenate([np.zeros(1000), np.arange(1, 101)]),
    )
    # 101 scans: that of 1,000 slices is one of them, and two of a hundred may lie beyond.
    assert gate_thresholds.scan_threshold(values, series) == pytest.approx(98, abs=1.1)
    assert np.percentile(values, 95) == 50


def test_about_one_scan_of_fifty_is_refused_and_a_deviating_fold_shows():
    rng = np.random.default_rng(0)
    alike = pd.concat([distances_of(rng, 60, fold=fold, first=100 * fold) for fold in range(5)])
    found = gate_thresholds.refusals(alike)
    assert 0.003 < found["test_foreign"] < 0.06
    assert 0.003 < found["scans_mostly_refused"] < 0.06
    assert (found["n_scans"], found["test_seen"]) == (300, 0)
    other = pd.concat([alike[alike["fold"] != 2], distances_of(rng, 60, fold=2, shift=10, first=200)])
    # Its own thresholds would refuse none of it.
    assert gate_thresholds.refusals(other)["test_foreign"] == pytest.approx(0.2, abs=0.03)
