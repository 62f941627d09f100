"""How far from the training slices a slice may be: thresholds by scans that were not trained on, see `ood`."""

import numpy as np
import pandas as pd

# At most 2 % of the scans that were not trained on have more than 5 % of their slices beyond a threshold.
ACCEPTED_SCANS, ACCEPTED_SLICES = 98.0, 95.0  # percent


def scan_threshold(values: np.ndarray, series: np.ndarray) -> float:
    """The value that at most 2 % of the scans exceed on more than 5 % of their slices.

    Slices of one scan are alike, so that a percentile of slices would rest on the few scans that differ most.

    Args:
        values, series: (M,) of slices of scans that are not in the reference.
    """
    of_scan = [np.percentile(values[series == scan], ACCEPTED_SLICES) for scan in np.unique(series)]
    return float(np.percentile(of_scan, ACCEPTED_SCANS, method="higher"))


def thresholds(distances: pd.DataFrame) -> tuple[float, float]:
    """The largest distance and the largest residual that are in distribution.

    Args:
        distances: with the columns distance, residual and series, see `cross_validation.tested_distances`.
    """
    series = distances["series"].to_numpy()
    distance, residual = (scan_threshold(distances[name].to_numpy(float), series) for name in ("distance", "residual"))
    return distance, residual


def refusals(distances: pd.DataFrame) -> dict[str, float]:
    """How many slices the thresholds refuse, each fold judged by the thresholds of the other folds.

    Args:
        distances: with the columns distance, residual, series, seen and fold.

    Returns: "test_foreign" and "test_seen", shares of all slices that are refused or taken for seen in training;
        "scans_mostly_refused", the share of scans with more than half of their slices refused; "n_scans".
    """
    refused = np.zeros(len(distances), bool)
    for fold in distances["fold"].unique():
        is_own = (distances["fold"] == fold).to_numpy()
        max_distance, max_residual = thresholds(distances[~is_own])
        beyond = (distances["distance"] > max_distance) | (distances["residual"] > max_residual)
        refused |= is_own & beyond.to_numpy()
    of_scan = pd.Series(refused).groupby(distances["series"].to_numpy()).mean()
    return {
        "test_foreign": float(refused.mean()),
        "test_seen": float(distances["seen"].mean()),
        "scans_mostly_refused": float((of_scan > 0.5).mean()),
        "n_scans": len(of_scan),
    }
