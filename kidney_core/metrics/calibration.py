"""Calibration of probabilities: temperature scaling, reliability, and risk against coverage when a model abstains."""

from dataclasses import dataclass

import numpy as np

N_BINS = 15


def calibrate(probabilities: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """Temperature scaling: softmax(log p / T), (N, n_labels); T is a number, or (N, 1) for one a slice.

    Source: Guo et al. 2017, arXiv:1706.04599.
    """
    scaled = np.log(np.clip(probabilities, 1e-300, 1.0)) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    exponent = np.exp(scaled)
    return exponent / exponent.sum(axis=1, keepdims=True)


def negative_log_likelihood(probabilities: np.ndarray, y_index: np.ndarray) -> float:
    """Mean of -log p of the true label; y_index is (N,) positions of the true labels."""
    chosen = probabilities[np.arange(len(y_index)), y_index]
    return float(-np.log(np.clip(chosen, 1e-12, 1.0)).mean())


def fit_temperature(probabilities: np.ndarray, y_index: np.ndarray) -> float:
    """The temperature that minimises the negative log likelihood; to be fitted on validation slices only.

    Searched between 1/5 and 20, so that a validation part without an error cannot give infinite confidence.
    """
    from scipy.optimize import minimize_scalar  # here, since a page that shows stored figures does not need its 0.3 s

    minimum = minimize_scalar(
        lambda log_t: negative_log_likelihood(calibrate(probabilities, np.exp(log_t)), y_index),
        bounds=(np.log(0.2), np.log(20.0)),
        method="bounded",
    )
    return float(np.exp(minimum.x))


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy of predictions, in bins of confidence.

    Attributes:
        confidence: (n_bins,) mean confidence in each bin, NaN for an empty bin.
        accuracy: (n_bins,) NaN for an empty bin.
        count: (n_bins,) predictions in each bin.
        error: the expected calibration error, 0 to 1: mean gap of the two, weighted by count.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray
    error: float


def reliability(probabilities: np.ndarray, y_index: np.ndarray, *, n_bins: int = N_BINS) -> Reliability:
    """Bin predictions by their confidence into equal widths. Source: Guo et al. 2017, equations 2 and 3.

    Args:
        probabilities: (N, n_labels).
        y_index: (N,) positions of the true labels.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == y_index
    # Right-closed bins, as in the source: (0, 1/n], (1/n, 2/n], …
    bins = np.clip(np.ceil(confidence * n_bins).astype(int) - 1, 0, n_bins - 1)
    count = np.bincount(bins, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bins, confidence, n_bins) / count
        accuracy = np.bincount(bins, right, n_bins) / count
    gap = np.where(count > 0, np.abs(mean - accuracy), 0)
    return Reliability(mean, accuracy, count, float((gap * count).sum() / max(count.sum(), 1)))


@dataclass(frozen=True)
class RiskCoverage:
    """Errors against coverage when a model abstains below a confidence.

    Attributes:
        threshold: (K,) the lowest confidence that is still accepted, falling.
        coverage: (K,) share of the slices with a prediction.
        risk: (K,) share of these predictions that is wrong.
    """

    threshold: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray

    def at(self, threshold: float) -> tuple[float, float]:
        """Coverage and risk when the model abstains below `threshold`; (0, 0) when it always does."""
        kept = int((self.threshold >= threshold).sum())
        return (float(self.coverage[kept - 1]), float(self.risk[kept - 1])) if kept else (0.0, 0.0)


def risk_coverage(probabilities: np.ndarray, y_index: np.ndarray) -> RiskCoverage:
    """The risk-coverage curve of confidence. Source: Geifman & El-Yaniv 2017, arXiv:1705.08500.

    Args:
        probabilities: (N, n_labels), N at least 1.
        y_index: (N,) positions of the true labels.
    """
    confidence, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != y_index
    order = np.argsort(-confidence, kind="stable")
    n_accepted = np.arange(1, len(order) + 1)
    risk = np.cumsum(wrong[order]) / n_accepted
    last_of_ties = np.append(np.diff(confidence[order]) != 0, True)  # equal confidence: accepted together or not
    return RiskCoverage(confidence[order][last_of_ties], n_accepted[last_of_ties] / len(order), risk[last_of_ties])
