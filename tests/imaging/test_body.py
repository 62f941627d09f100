"""The body in a slice."""

import numpy as np
import pytest

from kidney_core.imaging import body
from kidney_core.simulation import phantom


def test_body_mask_excludes_the_table_and_includes_gas():
    grey = np.zeros((100, 100), np.uint8)
    yy, xx = np.mgrid[:100, :100]
    grey[(yy - 45) ** 2 + (xx - 50) ** 2 < 30**2] = 120
    grey[40:46, 45:50] = 0  # gas
    grey[90:93, 10:90] = 110  # the table
    mask = body.body_mask(grey)
    assert mask[42, 47]
    assert not mask[91, 50]
    assert not mask[5, 5]
    assert body.body_mask(np.zeros((20, 20), np.uint8)).all()


def slice_with_skin(size_px=256):
    """A body of dark fat in a thin bright skin, with a table of two lines below."""
    yy, xx = np.mgrid[:size_px, :size_px] / size_px
    radius = ((yy - 0.45) / 0.28) ** 2 + ((xx - 0.5) / 0.36) ** 2
    grey = np.zeros((size_px, size_px), np.uint8)
    grey[(radius < 1) & (radius > 0.96)] = 40
    grey[((yy - 0.55) / 0.1) ** 2 + ((xx - 0.5) / 0.12) ** 2 < 1] = 220
    grey[(np.abs(yy - 0.85) < 1.5 / size_px) | (np.abs(yy - 0.92) < 1.5 / size_px)] = 200
    return grey


def box(grey):
    found = body.find_body(grey)
    return found.top, found.left, found.height, found.width


@pytest.mark.parametrize("size_px", [256, 512, 1024])
def test_the_box_follows_the_skin_around_dark_fat_and_excludes_the_table(size_px):
    top, left, height, width = np.array(box(slice_with_skin(size_px))) / size_px
    assert (top, left) == pytest.approx((0.15, 0.12), abs=0.02)
    assert (height, width) == pytest.approx((0.60, 0.76), abs=0.03)


def test_the_box_of_an_empty_image_is_the_whole_image():
    assert box(np.zeros((40, 60), np.uint8)) == (0, 0, 40, 60)
    assert box(np.full((40, 60), 90, np.uint8)) == (0, 0, 40, 60)


def test_the_box_of_a_phantom_contains_its_lesion():
    drawn = phantom.draw_series("Stone", 5, n_slices=3)[1]
    top, left, height, width = box(drawn.as_slice("").network_grey8())
    rows, columns = np.nonzero(drawn.lesion)
    assert top <= rows.min() <= rows.max() < top + height
    assert left <= columns.min() <= columns.max() < left + width


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 2), (3, 4)])
def test_bodies_side_by_side_are_counted(shape):
    sheet = np.tile(slice_with_skin(), shape)
    assert body.find_body(sheet).n_bodies == shape[0] * shape[1]


def test_a_table_and_parts_of_a_body_are_no_second_body():
    grey = slice_with_skin()
    grey[225:245, 10:246] = 150  # a thick table
    assert body.find_body(grey).n_bodies == 1
    assert body.find_body(np.zeros((40, 60), np.uint8)).n_bodies == 1
