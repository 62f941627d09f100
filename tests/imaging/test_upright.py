"""Slices become upright with square pixels, and maps find their way back, whatever the scanner stored."""

import numpy as np
import pytest

from kidney_core.imaging import dicom, upright
from kidney_core.imaging.slices import read_slice
from tests.ct_files import ct_dataset, saved

# Directions of a row and of a column in the radiological view of each plane.
VIEWS = {
    "axial": ([1, 0, 0], [0, 1, 0]),
    "coronal": ([1, 0, 0], [0, 0, -1]),
    "sagittal": ([0, 1, 0], [0, 0, -1]),
}
# (turns counter-clockwise, mirrored before turning) of a stored slice.
STORED = [(turns, mirrored) for mirrored in (False, True) for turns in range(4)]


def stored(pixels, row, column, turns, mirrored):
    """Pixels as a scanner stores them when it turns the picture, with the directions of their rows and columns."""
    row, column = np.array(row, float), np.array(column, float)
    if mirrored:
        pixels, row = pixels[:, ::-1], -row
    for _ in range(turns):
        pixels, (row, column) = np.rot90(pixels), (column, -row)
    return np.ascontiguousarray(pixels), [*row, *column]


def picture():
    rng = np.random.default_rng(0)
    pixels = rng.integers(-100, 200, (30, 44)).astype(np.int16)
    pixels[2:6, 3:9] = 800
    return pixels


@pytest.mark.parametrize("plane", VIEWS)
@pytest.mark.parametrize(("turns", "mirrored"), STORED)
def test_a_stored_slice_becomes_the_radiological_view_and_maps_go_back(plane, turns, mirrored):
    pixels, orientation = stored(picture(), *VIEWS[plane], turns, mirrored)
    image = read_slice(saved(ct_dataset(pixels, ImageOrientationPatient=orientation)), name="a")
    np.testing.assert_array_equal(image.pixels, pixels)
    expected = read_slice(
        saved(ct_dataset(picture(), ImageOrientationPatient=[*VIEWS[plane][0], *VIEWS[plane][1]])), name="b"
    )
    assert (expected.upright.turns, expected.upright.mirrored) == (0, False)
    np.testing.assert_array_equal(image.network_grey8(), expected.grey8())
    assert image.upright.letters == expected.letters
    np.testing.assert_array_equal(image.upright.back(image.network_grey8()), image.grey8())
    mask = image.pixels > 500
    np.testing.assert_array_equal(image.upright.back(image.upright.picture(mask)), mask)


def test_a_slice_without_orientation_is_taken_to_be_upright():
    image = read_slice(saved(ct_dataset(picture(), ImageOrientationPatient=None)), name="a")
    np.testing.assert_array_equal(image.network_grey8(), image.grey8())


def test_an_oblique_slice_is_turned_by_its_main_directions():
    tilt = np.deg2rad(25)
    orientation = [-1, 0, 0, 0, -np.cos(tilt), np.sin(tilt)]  # lying on the stomach, with the gantry tilted
    image = read_slice(saved(ct_dataset(picture(), ImageOrientationPatient=orientation)), name="a")
    assert (image.upright.turns, image.upright.mirrored) == (2, False)


@pytest.mark.parametrize(
    ("tags", "size"),
    [
        ({"PixelSpacing": [0.8, 0.8]}, (30, 44)),
        ({"PixelSpacing": [1.6, 0.8]}, (60, 44)),
        ({"PixelSpacing": [0.8, 1.6]}, (30, 88)),
        ({"ImagerPixelSpacing": [0.4, 0.2]}, (60, 44)),
        ({"PixelAspectRatio": [1, 2]}, (30, 88)),
        ({"PixelAspectRatio": [0, 2]}, (30, 44)),
        ({"PixelSpacing": [8.0, 0.8]}, (88, 13)),  # not beyond twice the longer side
        ({"PixelSpacing": [80.0, 0.8]}, (30, 44)),  # not plausible
    ],
)
def test_pixels_are_square_for_the_network(tags, size):
    image = read_slice(saved(ct_dataset(picture(), **tags)), name="a")
    grey = image.network_grey8()
    assert grey.shape == image.upright.size == size
    assert image.upright.back(grey).shape == image.pixels.shape
    if image.spacing_mm:
        assert image.network_pixel_mm2 == pytest.approx(
            image.spacing_mm[0] * image.spacing_mm[1] * 30 * 44 / (size[0] * size[1])
        )


def test_pixels_that_are_not_square_are_turned_too():
    pixels, orientation = stored(picture()[::2], *VIEWS["axial"], 1, False)
    spacing = [0.8, 1.6]  # of rows and columns after turning; before it 1.6 and 0.8
    image = read_slice(saved(ct_dataset(pixels, ImageOrientationPatient=orientation, PixelSpacing=spacing)), name="a")
    assert image.network_grey8().shape == (30, 44)
    spot = np.zeros(image.pixels.shape, np.float32)
    spot[5:9, 3:6] = 1
    there_and_back = image.upright.back(image.upright.picture(spot))
    assert np.abs(there_and_back - spot).mean() < 0.05


def test_what_is_done_is_told():
    pixels, orientation = stored(picture()[::2], *VIEWS["axial"], 3, True)
    image = read_slice(
        saved(ct_dataset(pixels, ImageOrientationPatient=orientation, PixelSpacing=[0.8, 1.6])), name="a"
    )
    assert image.upright.in_words == "turned by 90°, mirrored, with square pixels"
    assert read_slice(saved(ct_dataset(picture())), name="a").upright.in_words == ""


def test_letters_of_two_planes_are_no_plane():
    assert upright.find({"left": "R", "right": "L", "top": "R", "bottom": "L"}, (3, 4), 1.0).turns == 0
    assert dicom.plane_of(None) is None
