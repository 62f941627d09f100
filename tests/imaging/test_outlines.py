"""SVG paths over a slice, computed by hand."""

import numpy as np

from kidney_core.imaging import outlines


def test_outline_follows_the_edges_of_pixels():
    mask = np.zeros((4, 5), bool)
    mask[1, 2:4] = True  # two pixels: a rectangle from (2, 1) to (4, 2)
    assert outlines.outline(mask) == "M2 1h2M2 2h2M2 1v1M4 1v1"


def test_outline_of_the_whole_image_is_its_border_and_of_an_empty_mask_is_empty():
    assert outlines.outline(np.ones((2, 3), bool)) == "M0 0h3M0 2h3M0 0v2M3 0v2"
    assert outlines.outline(np.zeros((2, 3), bool)) == ""


def test_diamond_and_cross_are_centred_on_a_pixel():
    assert outlines.diamond(10, 20, 3) == "M7.5 20.5l3 -3l3 3l-3 3Z"
    assert outlines.cross(10, 20, 3) == "M7.5 20.5h2M11.5 20.5h2M10.5 17.5v2M10.5 21.5v2"
