"""How a network sees an image, and how its heatmap is mapped back to the image."""

import numpy as np
import pytest

from kidney_core.imaging import framing
from kidney_core.imaging.framing import (
    BODY,
    EACH_KIDNEY,
    EQUALIZED,
    KIDNEYS,
    RELATIVE,
    STRETCHED,
    WHOLE,
    Frame,
    KidneyBox,
    View,
)
from tests.imaging.test_body import slice_with_skin


def test_square_pads_and_keeps_the_aspect_ratio():
    squared = framing.square(np.full((40, 80), 200, np.uint8), 80)
    assert squared.shape == (80, 80)
    assert (squared[20:60] == 200).all()
    assert (squared[:20] == 0).all()
    assert (squared[60:] == 0).all()


def test_square_stretches_on_request():
    squared = framing.square(np.full((40, 80), 200, np.uint8), 80, stretched=True)
    assert squared.shape == (80, 80)
    assert (squared == 200).all()


def test_square_leaves_an_image_of_the_right_size_alone():
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32), np.uint8)
    np.testing.assert_array_equal(framing.square(pixels, 32), pixels)


@pytest.mark.parametrize(("height", "width"), [(1, 20), (20, 1), (300, 299), (7, 64), (512, 512), (1, 1)])
def test_square_puts_an_image_where_placement_says(height, width):
    squared = framing.square(np.full((height, width), 200, np.uint8), 64)
    top, left, shown_height, shown_width = framing.placement(height, width, 64)
    assert squared.shape == (64, 64)
    assert (squared[top : top + shown_height, left : left + shown_width] == 200).all()
    assert (squared == 200).sum() == shown_height * shown_width
    assert max(shown_height, shown_width) == 64


def test_to_image_cuts_the_padding_off():
    square = np.zeros((8, 8), np.float32)
    square[3:5] = 1.0  # the middle band of a wide image
    heatmap = View(8).frame(np.zeros((40, 80), np.uint8)).to_image(square)
    assert heatmap.shape == (40, 80)
    assert heatmap[20].min() > 0.9
    assert heatmap[0].max() < 0.2


@pytest.mark.parametrize("kind", [WHOLE, STRETCHED, BODY])
@pytest.mark.parametrize(("height", "width"), [(256, 256), (200, 256), (256, 180)])
def test_to_image_is_the_inverse_of_square(kind, height, width):
    """A bright spot comes back at its position in the image, whatever part of the image the network sees."""
    grey, view = slice_with_skin()[:height, :width].copy(), View(128, kind)
    grey[120:130, 90:100] = 255
    framed = view.frame(grey)
    spot = (framed.square > 245).astype(np.float32)
    rows, columns = np.nonzero(framed.to_image(spot) > 0.5)
    assert (rows.mean(), columns.mean()) == pytest.approx((124.5, 94.5), abs=2)
    mask = np.zeros(grey.shape, bool)
    mask[120:130, 90:100] = True
    fitted = framed.fit_mask(mask)
    assert fitted.shape == (128, 128)
    assert (fitted[spot > 0] > 0.5).mean() > 0.9


def test_a_body_is_seen_larger_than_the_whole_image_and_without_its_table():
    grey = slice_with_skin()
    whole, body = (View(128, kind).square(grey) for kind in (WHOLE, BODY))
    assert (body > 210).sum() > 1.3 * (whole > 210).sum()  # the bright inside
    assert (whole[105:] > 150).any()
    assert not (body[105:] > 150).any()


def test_a_heatmap_is_zero_outside_the_frame():
    grey = slice_with_skin()
    heatmap = View(64, BODY).frame(grey).to_image(np.ones((4, 4), np.float32))
    frame = framing.find_frame(grey, BODY)[0]
    assert frame.crop(heatmap).min() > 0.99
    assert heatmap.sum() == pytest.approx(frame.height * frame.width)


def test_find_frame__error_unknown_framing():
    with pytest.raises(ValueError, match="kidney"):
        framing.find_frame(np.zeros((8, 8), np.uint8), "liver")


def abdomen():
    """A body with two bright kidneys, (256, 256), and their boxes: one of 40 x 30 on the left, one of 20 x 16 on the right."""
    grey = np.zeros((256, 256), np.uint8)
    grey[40:220, 20:236] = 90
    boxes = []
    for place, (top, left, height, width, value) in enumerate(((110, 60, 40, 30, 150), (120, 170, 20, 16, 180))):
        grey[top : top + height, left : left + width] = value
        boxes.append(KidneyBox(place, Frame(top, left, height, width), float(value)))
    return grey, tuple(boxes)


def test_kidneys_are_cut_out_together_with_a_margin():
    grey, boxes = abdomen()
    (framed,) = View(96, KIDNEYS).frames(grey, boxes)
    frame = framed.frame
    assert (frame.top, frame.left) == (110 - 19, 60 - 19)  # 15 % of 126 px
    assert (frame.top + frame.height, frame.left + frame.width) == (150 + 19, 186 + 19)
    assert framed.place is None
    assert View(96, KIDNEYS).frames(grey)[0].frame == framing.find_frame(grey, BODY)[0]  # without kidneys the body


def test_each_kidney_is_cut_out_and_the_one_on_the_right_is_mirrored():
    grey, boxes = abdomen()
    grey[118:142, 172:174] = 250  # the medial edge of the kidney on the right
    view = View(64, EACH_KIDNEY)
    left, right = view.frames(grey, boxes)
    assert (left.place, right.place) == (0, 1)
    assert (
        left.frame.height == left.frame.width == right.frame.height == 68
    )  # 30 % of the body, more than 1.4 times a kidney
    bright = np.argwhere(right.square > 230)
    assert bright[:, 1].mean() > 32  # mirrored, as in the left one, medial is on the right
    rows, columns = np.nonzero(right.to_image((right.square > 230).astype(np.float32)) > 0.5)
    assert (rows.mean(), columns.mean()) == pytest.approx((129.5, 172.5), abs=1.5)
    mask = np.zeros(grey.shape, bool)
    mask[118:142, 172:174] = True
    fitted = np.argwhere(right.fit_mask(mask) > 0.5)
    assert fitted.mean(axis=0) == pytest.approx(bright.mean(axis=0), abs=1)
    pair = view.as_array((left, right))
    assert pair.shape == view.shape == (2, 64, 64)
    np.testing.assert_array_equal(pair[1], right.square)
    assert not view.as_array((right,))[0].any()  # a kidney that is not shown is black


def test_greys_can_be_relative_to_the_kidneys_or_equalized():
    grey, boxes = abdomen()
    left, right = View(64, EACH_KIDNEY, RELATIVE).frames(grey, boxes)
    for framed, value in ((left, 150), (right, 180)):
        assert framed.square[32, 32] == 128
        assert framed.square[2, 2] == max(0, 128 - 2 * (value - 90))
    (both,) = View(64, BODY, RELATIVE).frames(grey, boxes)
    assert both.square[25, 3] == 0  # 128 + 2 * (90 - 165) is below black
    np.testing.assert_array_equal(View(64, BODY, RELATIVE).frames(grey)[0].square, View(64, BODY).square(grey))
    equalized = View(256, WHOLE, EQUALIZED).square(grey)
    assert equalized.shape == (256, 256)
    assert len(np.unique(equalized)) > len(np.unique(grey))


def test_a_view_without_kidneys_is_the_nearest_one():
    assert View(64, EACH_KIDNEY, RELATIVE).without_kidneys == View(64, BODY)
    assert View(64, WHOLE, RELATIVE).without_kidneys == View(64, WHOLE)
    assert View(64, KIDNEYS, EQUALIZED).without_kidneys == View(64, BODY, EQUALIZED)
    assert not View(64, BODY, EQUALIZED).needs_kidneys
