"""Which images an epoch visits, in which order."""

import numpy as np

EACH_ONCE, BALANCED = "each-once", "balanced"
SAMPLINGS = (EACH_ONCE, BALANCED)


def epoch_order(n_images: int, *, seed: int, epoch: int) -> np.ndarray:
    """(n_images,) every image once, in an order that is a function of (seed, epoch)."""
    return np.random.default_rng([seed, epoch, 0]).permutation(n_images)


def epoch_draws(weights: np.ndarray, n_draws: int, *, seed: int, epoch: int) -> np.ndarray:
    """(n_draws,) images drawn by their weights, the same one perhaps more than once; a function of (seed, epoch)."""
    return np.random.default_rng([seed, epoch, 2]).choice(len(weights), size=n_draws, p=weights)


def balanced_weights(y: np.ndarray, scan: np.ndarray) -> np.ndarray:
    """How probable each image is to be drawn next: half way between every slice alike and every class and scan alike.

    A class is drawn in proportion to the square root of its slices, and within it a scan to the square root of its.

    Args:
        y: (N,) labels as integers.
        scan: (N,) the scan of each image.

    Returns: (N,) float64 of sum 1.
    """
    _, class_of, class_sizes = np.unique(y, return_inverse=True, return_counts=True)
    _, scan_of, scan_sizes = np.unique(scan, return_inverse=True, return_counts=True)
    within_class = 1 / np.sqrt(scan_sizes[scan_of])
    of_class = np.bincount(class_of, weights=within_class)[class_of]
    weights = within_class / of_class * np.sqrt(class_sizes[class_of])
    return weights / weights.sum()
