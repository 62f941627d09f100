"""How a network sees an image, and how its map comes back over it."""

import numpy as np
import pytest

from kidney_core import framing
from kidney_core.framing import BODY, WHOLE, View
from tests.test_body import slice_with_skin


def test_square_pads_and_keeps_the_aspect_ratio():
    squared = framing.square(np.full((40, 80), 200, np.uint8), 80)
    assert squared.shape == (80, 80)
    assert (squared[20:60] == 200).all()
    assert (squared[:20] == 0).all()
    assert (squared[60:] == 0).all()


def test_square_leaves_an_image_of_the_right_size_alone():
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32), np.uint8)
    np.testing.assert_array_equal(framing.square(pixels, 32), pixels)


@pytest.mark.parametrize(("height", "width"), [(1, 20), (20, 1), (300, 299), (7, 64), (512, 512), (1, 1)])
def test_square_places_an_image_where_placement_says(height, width):
    made = framing.square(np.full((height, width), 200, np.uint8), 64)
    top, left, shown_height, shown_width = framing.placement(height, width, 64)
    assert made.shape == (64, 64)
    assert (made[top : top + shown_height, left : left + shown_width] == 200).all()
    assert (made == 200).sum() == shown_height * shown_width
    assert max(shown_height, shown_width) == 64


def test_over_cuts_the_padding_off():
    square = np.zeros((8, 8), np.float32)
    square[3:5] = 1.0  # the middle band of a wide image
    laid = View(8).see(np.zeros((40, 80), np.uint8)).over(square)
    assert laid.shape == (40, 80)
    assert laid[20].min() > 0.9
    assert laid[0].max() < 0.2


@pytest.mark.parametrize("kind", [WHOLE, BODY])
@pytest.mark.parametrize(("height", "width"), [(256, 256), (200, 256), (256, 180)])
def test_over_undoes_square(kind, height, width):
    """A bright spot is found again where it lies in the image, whatever part of it the network sees."""
    grey, view = slice_with_skin()[:height, :width].copy(), View(128, kind)
    grey[120:130, 90:100] = 255
    seen = view.see(grey)
    spot = (seen.square > 245).astype(np.float32)
    rows, columns = np.nonzero(seen.over(spot) > 0.5)
    assert (rows.mean(), columns.mean()) == pytest.approx((124.5, 94.5), abs=2)
    mask = np.zeros(grey.shape, bool)
    mask[120:130, 90:100] = True
    shown = seen.mask(mask)
    assert shown.shape == (128, 128)
    assert (shown[spot > 0] > 0.5).mean() > 0.9


def test_a_body_is_seen_larger_than_the_whole_image_and_without_its_table():
    grey = slice_with_skin()
    whole, body = (View(128, kind).square(grey) for kind in (WHOLE, BODY))
    assert (body > 210).sum() > 1.3 * (whole > 210).sum()  # the bright inside
    assert (whole[105:] > 150).any()
    assert not (body[105:] > 150).any()


def test_outside_the_frame_there_is_no_evidence():
    grey = slice_with_skin()
    laid = View(64, BODY).see(grey).over(np.ones((4, 4), np.float32))
    frame = framing.frame_of(grey, BODY)
    assert frame.of(laid).min() > 0.99
    assert laid.sum() == pytest.approx(frame.height * frame.width)


def test_frame_of__error_unknown_framing():
    with pytest.raises(ValueError, match="kidney"):
        framing.frame_of(np.zeros((8, 8), np.uint8), "kidney")
