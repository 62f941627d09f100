"""Which images an epoch visits, in which order."""

import itertools

import numpy as np

BALANCED = "balanced"


def epoch_order(n_images: int, *, seed: int, epoch: int) -> np.ndarray:
    """(n_images,) every image once, in an order that is a function of (seed, epoch)."""
    return np.random.default_rng([seed, epoch, 0]).permutation(n_images)


def epoch_draws(weights: np.ndarray, n_draws: int, *, seed: int, epoch: int) -> np.ndarray:
    """(n_draws,) images drawn by their weights, the same one perhaps more than once; a function of (seed, epoch)."""
    return np.random.default_rng([seed, epoch, 2]).choice(len(weights), size=n_draws, p=weights)


def balanced_weights(folder: np.ndarray, y: np.ndarray, scan: np.ndarray) -> np.ndarray:
    """How probable each image is to be drawn next: half way between every slice alike and every folder, class, scan alike.

    A folder is drawn in proportion to the square root of its slices, within it a class to the square root of its slices
    there, and within that a scan to the square root of its.

    Args:
        folder: (N,) the folder of each image.
        y: (N,) labels as integers.
        scan: (N,) the scan of each image, numbered within its folder.

    Returns: (N,) float64 of sum 1.
    """
    weights = np.ones(len(y))
    levels = [np.zeros(len(y), np.int64)]
    for finer in (folder, y, scan):
        levels.append(np.unique(np.stack([levels[-1], finer]), axis=1, return_inverse=True)[1].ravel())
    for coarse, fine in itertools.pairwise(levels):
        roots = np.sqrt(np.bincount(fine))
        members = np.unique(np.stack([coarse, fine]), axis=1)  # each finer group once, with the group that holds it
        whole = np.bincount(members[0], weights=roots[members[1]])
        weights *= roots[fine] / whole[coarse]
    return weights / np.bincount(levels[-1])[levels[-1]]
