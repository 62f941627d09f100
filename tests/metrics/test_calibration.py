"""Calibration, reliability and abstention against hand-computed cases and slow plain versions."""

import numpy as np
import pytest

from kidney_core.metrics import calibration


def test_calibrate_with_temperature_one_changes_nothing_and_keeps_the_order():
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], 50)
    np.testing.assert_allclose(calibration.calibrate(probabilities, 1.0), probabilities)
    hot = calibration.calibrate(probabilities, 3.0)
    np.testing.assert_allclose(hot.sum(1), 1.0)
    np.testing.assert_array_equal(hot.argmax(1), probabilities.argmax(1))
    assert (hot.max(1) <= probabilities.max(1) + 1e-12).all()


def test_calibrate_equals_the_softmax_of_scaled_logits():
    logits = np.random.default_rng(1).normal(0, 3, (20, 4))

    def softmax(values):
        return np.exp(values) / np.exp(values).sum(1, keepdims=True)

    np.testing.assert_allclose(calibration.calibrate(softmax(logits), 2.5), softmax(logits / 2.5))


def test_fit_temperature_recovers_the_temperature_that_made_the_labels():
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (20_000, 4))
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    y = np.array([rng.choice(4, p=row) for row in honest])
    overconfident = calibration.calibrate(honest, 1 / 2.0)
    assert calibration.fit_temperature(overconfident, y) == pytest.approx(2.0, rel=0.05)


def test_fit_temperature_stays_in_bounds_when_nothing_is_wrong():
    assert 0.19 < calibration.fit_temperature(np.eye(3) * 0.7 + 0.1, np.arange(3)) < 0.25


def test_reliability_by_hand():
    """Two bins: answers at 0.6 and 0.8 of which one is right, and one at 1.0 that is right."""
    probabilities = np.array([[0.6, 0.4], [0.2, 0.8], [1.0, 0.0]])
    found = calibration.reliability(probabilities, np.array([0, 0, 0]), n_bins=2)
    assert found.count.tolist() == [0, 3]
    assert found.confidence[1] == pytest.approx(0.8)
    assert found.accuracy[1] == pytest.approx(2 / 3)
    assert found.error == pytest.approx(0.8 - 2 / 3)
    finer = calibration.reliability(probabilities, np.array([0, 0, 0]), n_bins=10)
    assert finer.count.tolist() == [0, 0, 0, 0, 0, 1, 0, 1, 0, 1]
    assert finer.error == pytest.approx((0.4 + 0.8 + 0.0) / 3)
    assert np.isnan(finer.confidence[0])


def test_expected_calibration_error_agrees_with_a_slow_plain_version():
    rng = np.random.default_rng(0)
    probabilities, y = rng.dirichlet([0.5] * 4, 500), rng.integers(0, 4, 500)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == y
    slow = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            slow += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert calibration.reliability(probabilities, y).error == pytest.approx(slow)


def test_a_temperature_fitted_elsewhere_lowers_the_calibration_error():
    rng = np.random.default_rng(1)
    honest = rng.dirichlet([0.6] * 4, 4000)
    y = np.array([rng.choice(4, p=row) for row in honest])
    overconfident = calibration.calibrate(honest, 1 / 3)
    temperature = calibration.fit_temperature(overconfident[:2000], y[:2000])
    before = calibration.reliability(overconfident[2000:], y[2000:]).error
    after = calibration.reliability(calibration.calibrate(overconfident[2000:], temperature), y[2000:]).error
    assert after < before / 2


def test_risk_coverage_by_hand():
    """Confidences .9 right, .8 wrong, .8 right, .6 wrong: ties are answered together."""
    probabilities = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.8, 0.2]])
    found = calibration.risk_coverage(probabilities, np.array([1, 0, 0, 0]))
    assert found.threshold.tolist() == [0.9, 0.8, 0.6]
    assert found.coverage.tolist() == [0.25, 0.75, 1.0]
    assert found.risk.tolist() == pytest.approx([0.0, 1 / 3, 0.5])
    assert found.at(0.85) == (0.25, 0.0)
    assert found.at(0.8) == pytest.approx((0.75, 1 / 3))
    assert found.at(0.0) == (1.0, 0.5)
    assert found.at(0.95) == (0.0, 0.0)
