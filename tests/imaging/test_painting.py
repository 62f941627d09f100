"""Painting a spot over: it takes the look of its surroundings, and the rest of the slice stays as it is."""

import numpy as np

from kidney_core.imaging.painting import mirrored_spot, paint_over


def slice_with_stone():
    grey = np.random.default_rng(1).normal(110, 6, (96, 96)).clip(1, 255).astype(np.uint8)
    spot = np.zeros((96, 96), bool)
    spot[40:46, 60:66] = True
    grey[spot] = 250
    return grey, spot


def test_a_painted_spot_looks_like_its_surroundings():
    grey, spot = slice_with_stone()
    painted = paint_over(grey, spot)
    assert abs(painted[spot].mean() - 110) < 6
    assert 2 < painted[spot].std() < 9  # neither flat nor rough
    far = np.ones_like(spot)
    far[30:56, 50:76] = False
    np.testing.assert_array_equal(painted[far], grey[far])
    np.testing.assert_array_equal(painted, paint_over(grey, spot))


def test_each_part_of_a_spot_takes_its_own_surroundings():
    grey, spot = slice_with_stone()
    grey[:, :30] = 40
    spot[70:74, 10:14] = True
    grey[70:74, 10:14] = 240
    painted = paint_over(grey, spot)
    assert painted[70:74, 10:14].mean() < 50
    assert painted[40:46, 60:66].mean() > 95


def test_a_spot_that_is_everywhere_or_nowhere_changes_nothing():
    grey, spot = slice_with_stone()
    np.testing.assert_array_equal(paint_over(grey, np.zeros_like(spot)), grey)
    np.testing.assert_array_equal(paint_over(grey, np.ones_like(spot)), grey)


def test_a_mirrored_spot_lies_as_far_from_the_middle_of_the_body():
    grey = np.zeros((96, 96), np.uint8)
    grey[20:80, 30:90] = 110  # the body is not in the middle of the image
    spot = np.zeros_like(grey, bool)
    spot[40:46, 40:44] = True
    rows, columns = np.nonzero(mirrored_spot(grey, spot))
    assert (rows.min(), rows.max()) == (40, 45)
    assert abs(columns.mean() - (119 - 41.5)) <= 1
    assert not (mirrored_spot(grey, spot) & spot).any()
