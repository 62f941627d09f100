"""Grades of heatmaps: hand-made networks whose right map is known."""

import numpy as np
import pytest
import torch

from kidney_core.networks import map_grades
from kidney_core.networks.explanation import Heatmap

SIZE = 64


def corner(batch):
    """The probability of a label that is the surer, the brighter the corner is."""
    return (12 * batch[:, 0, :16, :16].mean(dim=(1, 2)) - 3).sigmoid().numpy()


@pytest.fixture
def image():
    found = torch.zeros(1, 3, SIZE, SIZE)
    found[..., 2:14, 2:14] = 1.0
    return found


def map_at(top, left, side=12):
    evidence = np.zeros((SIZE, SIZE), np.float32)
    evidence[top : top + side, left : left + side] = 1.0
    return Heatmap(evidence, np.zeros(2), 0)


BODY = np.ones((SIZE, SIZE), bool)


def test_a_map_of_the_right_place_is_faithful_and_one_of_a_wrong_place_is_not(image):
    right = map_grades.faithfulness(corner, image, map_at(2, 2), BODY)
    wrong = map_grades.faithfulness(corner, image, map_at(46, 46), BODY)
    assert right.outcome == "good"
    assert wrong.value < right.value
    assert wrong.outcome != "good"
    assert "Blurring the brightest 20 % of the body" in right.reason


def test_places_that_are_equally_bright_come_in_no_order(image):
    """A map of two lines, all else zero: what is filled in beyond them is spread over the body, not its top."""
    asked = []

    def watch(batch):
        asked.append((batch[:, 0] != image[0, 0]).float())
        return np.zeros(len(batch))

    lines = map_at(30, 0, 1)
    map_grades.faithfulness(watch, torch.rand(1, 3, SIZE, SIZE), lines, BODY)
    filled = asked[1][-1].numpy()  # the map's own order, half of the body
    assert 0.4 < filled[: SIZE // 2].mean() / max(filled.mean(), 1e-6) < 1.6


def test_showing_only_the_right_place_is_enough_for_the_label(image):
    right = map_grades.sufficiency(corner, image, map_at(2, 2), BODY)
    wrong = map_grades.sufficiency(corner, image, map_at(46, 46), BODY)
    assert right.outcome == "good"
    assert wrong.value < right.value


def test_heat_outside_the_body_is_counted():
    body = np.zeros((SIZE, SIZE), bool)
    body[:32] = True
    assert map_grades.in_body(map_at(10, 10), body).value == pytest.approx(0)
    assert map_grades.in_body(map_at(10, 10), body).outcome == "good"
    assert map_grades.in_body(map_at(26, 10), body).value == pytest.approx(0.5)
    assert map_grades.in_body(map_at(40, 10), body).outcome == "poor"


def test_a_map_that_moves_with_the_image_is_stable_and_one_of_chance_is_not(image):
    rng = np.random.default_rng(0)

    def follows(moved):
        return Heatmap(moved[0, 0].numpy(), np.zeros(2), 0)

    def chance(_):
        return Heatmap(rng.random((SIZE, SIZE)).astype(np.float32), np.zeros(2), 0)

    assert map_grades.stability(follows, image, follows(image)).value == pytest.approx(1, abs=1e-6)
    found = map_grades.stability(chance, image, chance(image))
    assert abs(found.value) < 0.1
    assert found.outcome == "poor"


def test_agreement_is_the_mean_correlation_and_names_each_model():
    here = map_at(2, 2).evidence
    found = map_grades.agreement(here, {"one": here, "other": map_at(46, 46).evidence})
    assert found.value == pytest.approx((1 + np.corrcoef(here.ravel(), map_at(46, 46).evidence.ravel())[0, 1]) / 2)
    assert "one 1.00" in found.reason
    assert map_grades.correlation(here, np.zeros_like(here)) == 0.0
