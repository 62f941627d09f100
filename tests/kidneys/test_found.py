"""Kidneys of one slice: regions belong to one side, sides follow the letters, specks are no kidney."""

import numpy as np
import pytest

from kidney_core.imaging.framing import View
from kidney_core.imaging.slices import Slice, Window
from kidney_core.kidneys import found
from kidney_core.kidneys.found import KidneyMap


def blob(shape, row, column, radius):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return ((y - row) ** 2 + (x - column) ** 2 < radius**2).astype(np.float32)


def map_of(kidney, left, *, shape=(96, 96)):
    framed = View(kidney.shape[0]).frame(np.zeros(shape, np.uint8))
    return KidneyMap(framed, kidney.astype(np.float32), left.astype(np.float32))


@pytest.fixture
def two():
    kidney = np.maximum(blob((48, 48), 24, 12, 6), blob((48, 48), 24, 36, 5))
    left = np.tile((np.arange(48) < 24).astype(np.float32), (48, 1))
    return map_of(kidney, left)


def test_two_kidneys_are_told_apart_on_the_pixels_of_the_slice(two):
    kidneys = two.find()
    assert kidneys.picture_left.shape == (96, 96)
    assert kidneys.picture_left[48, 24]
    assert kidneys.picture_right[48, 72]
    assert not (kidneys.picture_left & kidneys.picture_right).any()
    assert kidneys.picture_left.sum() == pytest.approx(np.pi * 12**2, rel=0.1)
    assert two.presence > 0.95


@pytest.mark.parametrize(
    ("letters", "sides"),
    [
        ({}, ["right", "left"]),
        ({"left": "R", "right": "L"}, ["right", "left"]),
        ({"left": "L", "right": "R"}, ["right", "left"]),
        ({"left": "A", "right": "P"}, ["side unknown"]),
    ],
)
def test_sides_follow_the_letters(two, letters, sides):
    masks = two.find().by_side(letters)
    assert list(masks) == sides
    if letters.get("left") == "L":
        assert masks["right"][48, 72]
    elif len(sides) == 2:
        assert masks["right"][48, 24]


def test_a_region_has_one_side_though_its_pixels_differ():
    kidney = blob((48, 48), 24, 22, 8)
    left = np.tile((np.arange(48) < 24).astype(np.float32), (48, 1))
    kidneys = map_of(kidney, left).find()
    assert not kidneys.picture_right.any()


def test_a_speck_is_no_kidney():
    kidneys = map_of(blob((192, 192), 90, 50, 2), np.ones((192, 192))).find()
    assert not kidneys.mask.any()
    assert kidneys.by_side({}) == {}


def test_the_margin_grows_with_the_kidney(two):
    kidneys = two.find()
    wide = kidneys.with_margin(0.5)
    assert (wide & kidneys.mask).sum() == kidneys.mask.sum()
    assert wide.sum() > 1.5 * kidneys.mask.sum()
    assert not map_of(np.zeros((48, 48)), np.zeros((48, 48))).find().with_margin().any()


def test_area_needs_pixel_spacing():
    mask = np.ones((10, 10), bool)
    image = Slice("a", np.zeros((10, 10), np.uint8), "grey", Window(100, 200))
    assert found.mask_area_cm2(mask, image) is None
    spaced = Slice("a", np.zeros((10, 10), np.uint8), "grey", Window(100, 200), spacing_mm=(2.0, 5.0))
    assert found.mask_area_cm2(mask, spaced) == 10
