"""Kidneys along a stack: neighbours agree, a flicker is none, sizes are in millimetres."""

import tracemalloc

import numpy as np
import pytest

from kidney_core.kidneys import stack_kidneys
from kidney_core.kidneys.found import FoundKidneys
from kidney_core.kidneys.stack_kidneys import GRID_PX, SmallMap


def small(*places):
    """A map with a disc of 12 cells radius at each (column, is on the left)."""
    y, x = np.ogrid[:GRID_PX, :GRID_PX]
    kidney = np.zeros((GRID_PX, GRID_PX), np.uint8)
    for column in places:
        kidney[(y - 70) ** 2 + (x - column) ** 2 < 12**2] = 250
    left = np.tile(np.where(np.arange(GRID_PX) < 64, 250, 5).astype(np.uint8), (GRID_PX, 1))
    return SmallMap(kidney, left, cell_px=2.0)


def test_range_and_sides_of_a_scan():
    maps = [small()] * 10 + [small(30)] * 5 + [small(30, 96)] * 10 + [small(96)] * 3 + [small()] * 12
    found = stack_kidneys.along_stack(maps)
    assert found.sides == ("right", "left")
    right, left = found.kidneys
    assert (right.first, right.last, left.first, left.last) == (10, 24, 15, 27)
    assert found.range == (10, 27)
    assert found.sides_at(12) == ("right",)
    assert found.sides_at(20) == ("right", "left")
    assert found.sides_at(3) == ()
    assert (right.length_mm, right.volume_ml) == (None, None)


def test_sizes_are_in_millimetres_where_spacings_are_known():
    maps = [small()] * 5 + [small(30)] * 20 + [small()] * 5
    positions = [3.0 * i for i in range(30)]
    (kidney,) = stack_kidneys.along_stack(maps, positions_mm=positions, pixel_mm2=0.25).kidneys
    assert kidney.length_mm == pytest.approx(60, abs=6)
    assert kidney.areas_mm2[12] == pytest.approx(np.pi * 12**2, rel=0.05)  # cells of 1 mm
    assert kidney.volume_ml == pytest.approx(np.pi * 12**2 * 60 / 1000, rel=0.1)


def test_a_flicker_is_no_kidney_and_a_gap_of_one_slice_is_closed():
    maps = [small()] * 10 + [small(30)] * 6 + [small()] + [small(30)] * 6 + [small()] * 9
    maps[2] = small(96)
    found = stack_kidneys.along_stack(maps, positions_mm=[2.0 * i for i in range(len(maps))])
    assert found.sides == ("right",)
    assert found.sides_at(16) == ("right",)


def test_letters_turn_the_sides_and_a_slice_that_cannot_be_read_is_left_out():
    maps = [small(30)] * 6 + [None] + [small(30)] * 6
    found = stack_kidneys.along_stack(maps, letters={"left": "L", "right": "R"})
    assert found.sides == ("left",)
    sagittal = stack_kidneys.along_stack([small(30, 96)] * 6, letters={"left": "A", "right": "P"})
    assert sagittal.sides == ("side unknown",)


def test_a_scan_without_kidneys_has_no_range():
    found = stack_kidneys.along_stack([small()] * 8)
    assert (found.kidneys, found.range, found.sides_at(3)) == ((), None, ())


def test_two_slices_alone_may_show_kidneys():
    assert stack_kidneys.along_stack([small(30), small(30)]).sides == ("right",)


def test_pixels_of_a_slice_belong_to_the_kidney_of_the_stack_that_they_are_near():
    maps = [small()] * 5 + [small(30, 96)] * 10 + [small()] * 5
    found = stack_kidneys.along_stack(maps)
    y, x = np.ogrid[:256, :256]
    discs = [(y - 140) ** 2 + (x - column) ** 2 < 22**2 for column in (60, 192)]
    stray = (y - 40) ** 2 + (x - 128) ** 2 < 8**2
    # The finder gave one region to the wrong side, and sees a third one.
    masks = found.masks_at(8, FoundKidneys(discs[0] | discs[1], stray))
    assert list(masks) == ["right", "left"]
    np.testing.assert_array_equal(masks["right"], discs[0])
    np.testing.assert_array_equal(masks["left"], discs[1])
    assert found.masks_at(2, FoundKidneys(discs[0], discs[1])) == {}


def test_a_long_stack_takes_little_memory():
    """As (600, 128, 128) numbers of 4 bytes, each of some arrays would take 39 MB; the kidneys cover a tenth of a slice."""
    maps = [small(30, 96)] * 600
    tracemalloc.start()
    found = stack_kidneys.along_stack(maps)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.range == (0, 599)
    held = sum(each.cells.nbytes for each in found.kidneys)
    assert peak - held < 100e6
