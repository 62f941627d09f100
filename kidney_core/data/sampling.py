"""The images of an epoch and their order."""

import itertools

import numpy as np

BALANCED = "balanced"


def epoch_order(n_images: int, *, seed: int, epoch: int) -> np.ndarray:
    """A permutation of the images, (n_images,) int64, that depends only on (seed, epoch)."""
    return np.random.default_rng([seed, epoch, 0]).permutation(n_images)


def epoch_draws(weights: np.ndarray, n_draws: int, *, seed: int, epoch: int) -> np.ndarray:
    """Images drawn with replacement, (n_draws,) int64, that depend only on the weights and (seed, epoch).

    Args:
        weights: (N,) probability of each image, of sum 1.
    """
    return np.random.default_rng([seed, epoch, 2]).choice(len(weights), size=n_draws, p=weights)


def balanced_weights(folder: np.ndarray, y: np.ndarray, scan: np.ndarray) -> np.ndarray:
    """The probability of drawing each image: a compromise between equal slices and equal folders, classes and scans.

    A folder is drawn in proportion to the square root of its number of slices, within it a class in proportion to the
    square root of its slices there, and within that a scan likewise.

    Args:
        folder: (N,) the folder of each image.
        y: (N,) labels as integers.
        scan: (N,) the scan of each image; numbers need to be unique within a folder only.

    Returns: (N,) float64 of sum 1.
    """
    weights = np.ones(len(y))
    levels = [np.zeros(len(y), np.int64)]
    for finer in (folder, y, scan):
        levels.append(np.unique(np.stack([levels[-1], finer]), axis=1, return_inverse=True)[1].ravel())
    for coarse, fine in itertools.pairwise(levels):
        roots = np.sqrt(np.bincount(fine))
        members = np.unique(np.stack([coarse, fine]), axis=1)  # each finer group once, with its coarser group
        total = np.bincount(members[0], weights=roots[members[1]])
        weights *= roots[fine] / total[coarse]
    return weights / np.bincount(levels[-1])[levels[-1]]
