"""Disturbances on pixels that can be counted by hand."""

import io

import numpy as np
import pytest
from PIL import Image

from kidney_core.imaging.slices import SOFT_TISSUE, Slice, Window
from kidney_core.teaching import disturbances
from tests.diagnosis.test_inference import slice_of


def hu_slice(*values):
    return Slice("a", np.array([values], np.float32), "HU", SOFT_TISSUE)


def grey_slice(pixels):
    return Slice("a", np.array(pixels, np.uint8), "grey", Window(127.5, 255))


def test_a_prepared_slice_is_upright_and_square_and_the_network_sees_the_same():
    lying = Slice(
        "a",
        np.random.default_rng(0).integers(0, 4000, (40, 80)).astype(np.uint16),
        "grey",
        Window(2000, 4000),
        inverted=True,
        spacing_mm=(2.0, 1.0),
        pixel_aspect=2.0,
        letters={"left": "L", "right": "R", "top": "P", "bottom": "A"},
    )
    prepared = disturbances.prepare(lying)
    assert np.array_equal(prepared.network_grey8(), lying.network_grey8())
    assert prepared.pixels.dtype == np.uint8
    assert prepared.letters == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    assert prepared.spacing_mm == pytest.approx((1.0, 1.0))
    assert (prepared.inverted, prepared.pixel_aspect) == (False, 1.0)


def test_a_large_slice_is_prepared_small_and_keeps_its_size_in_mm():
    image = Slice("a", np.zeros((1024, 2048), np.float32), "HU", SOFT_TISSUE, spacing_mm=(0.5, 0.5))
    prepared = disturbances.prepare(image)
    assert prepared.pixels.shape == (256, 512)
    assert prepared.spacing_mm == pytest.approx((2.0, 2.0))
    assert prepared.unit == "HU"


def test_noise_has_its_deviation_in_the_slices_own_unit():
    noisy = disturbances.add_noise(Slice("a", np.full((400, 400), 40, np.float32), "HU", SOFT_TISSUE), 20)
    assert noisy.pixels.std() == pytest.approx(20, rel=0.01)
    grey = disturbances.add_noise(grey_slice(np.full((400, 400), 128)), 20)
    assert grey.pixels.std() == pytest.approx(20, rel=0.01)
    assert grey.pixels.dtype == np.uint8


def test_a_blurred_point_is_a_bell_of_the_given_width():
    point = np.zeros((101, 101), np.float32)
    point[50, 50] = 1000
    blurred = disturbances.blur(Slice("a", point, "HU", SOFT_TISSUE), 2).pixels  # 2.02 px
    assert blurred.sum() == pytest.approx(1000, rel=1e-3)
    columns = np.arange(101) - 50
    assert (blurred.sum(axis=0) * columns**2).sum() / 1000 == pytest.approx(2.02**2, rel=0.02)


def test_compression_is_a_jpeg_of_the_rest_of_the_quality():
    image = slice_of()
    file = io.BytesIO()
    Image.fromarray(image.pixels).save(file, "JPEG", quality=30)
    assert np.array_equal(disturbances.compress(image, 70).pixels, np.asarray(Image.open(file)))
    of_hu = disturbances.compress(hu_slice(*range(-160, 240, 10)), 5)
    assert (of_hu.unit, of_hu.pixels.dtype) == ("grey", np.uint8)


def test_a_quarter_turn_is_numpys_and_the_letters_go():
    image = Slice("a", np.arange(9, dtype=np.uint8).reshape(3, 3), "grey", Window(4, 8), letters={"left": "R"})
    turned = disturbances.rotate(image, 90)
    assert np.array_equal(turned.pixels, np.rot90(image.pixels))
    assert turned.letters == {}


def test_mirrored_both_ways_is_turned_by_half():
    image = grey_slice([[1, 2, 3], [4, 5, 6]])
    assert disturbances.mirror(image, disturbances.LEFT_RIGHT).pixels.tolist() == [[3, 2, 1], [6, 5, 4]]
    assert disturbances.mirror(image, disturbances.UPSIDE_DOWN).pixels.tolist() == [[4, 5, 6], [1, 2, 3]]
    assert np.array_equal(disturbances.mirror(image, disturbances.BOTH).pixels, np.rot90(image.pixels, 2))


def test_zoom_scales_about_the_middle_with_its_pixel_size():
    square = np.zeros((100, 100), np.uint8)
    square[40:60, 40:60] = 200
    image = Slice("a", square, "grey", Window(127.5, 255), spacing_mm=(1.0, 1.0))
    half, double = disturbances.zoom(image, 50), disturbances.zoom(image, 200)
    for shown, low, high in ((half, 45, 54), (double, 30, 69)):
        rows, columns = np.nonzero(shown.pixels > 100)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (low, high, low, high)
    assert half.spacing_mm == pytest.approx((2.0, 2.0))
    assert double.spacing_mm == pytest.approx((0.5, 0.5))


def test_another_window_of_hu_is_that_windows_picture():
    image = hu_slice(-160, 40, 140, 240)
    assert image.network_grey8().tolist() == [[0, 128, 191, 255]]
    assert disturbances.shift_level(image, 100).network_grey8().tolist() == [[0, 64, 128, 191]]
    assert disturbances.change_width(image, 200).network_grey8().tolist() == [[0, 128, 255, 255]]


def test_brightness_and_contrast_of_a_picture_are_in_its_grey_values():
    image = grey_slice([[0, 100, 250]])
    assert disturbances.change_brightness(image, -60).pixels.tolist() == [[0, 40, 190]]
    assert disturbances.change_contrast(image, 200).pixels.tolist() == [[0, 72, 255]]  # 127.5 + 2 * (100 - 127.5)


def test_only_the_kidneys_change_their_contrast_phase():
    kidneys = np.zeros((60, 60), bool)
    kidneys[10:30, 10:30] = True
    image = Slice("a", np.full((60, 60), 30, np.float32), "HU", SOFT_TISSUE)
    changed = disturbances.change_enhancement(image, 100, kidneys=kidneys).pixels
    assert changed[20, 20] == pytest.approx(130, abs=0.1)
    assert changed[50, 50] == pytest.approx(30, abs=0.1)


@pytest.mark.parametrize("unit", ["HU", "grey"])
def test_a_lesion_fades_into_its_surroundings(unit):
    spot = np.zeros((60, 60), bool)
    spot[20:30, 20:30] = True
    flat, lesion = (40.0, 160.0) if unit == "HU" else (128.0, 204.0)
    pixels = np.where(spot, lesion, flat).astype(np.float32 if unit == "HU" else np.uint8)
    image = Slice("a", pixels, unit, SOFT_TISSUE if unit == "HU" else Window(127.5, 255))
    half, gone = (disturbances.fade_lesion(image, percent, spot=spot).pixels for percent in (50, 100))
    assert half[25, 25] == pytest.approx((flat + lesion) / 2, abs=2)
    assert gone[25, 25] == pytest.approx(flat, abs=2)
    assert np.array_equal(gone[40:, 40:], image.pixels[40:, 40:])


def test_an_l_is_a_stem_and_a_foot():
    mask = disturbances.mark_mask(100, 100, 12, place="upper left", shape="letter L")
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 15, 4, 11)  # 12 high, 8 wide, 4 % away
    assert mask.sum() == 12 * 2 + 2 * 8 - 2 * 2


@pytest.mark.parametrize(("place", "corner"), [("lower right", (95, 95)), ("upper right", (15, 95))])
@pytest.mark.parametrize("shape", disturbances.SHAPES)
def test_a_mark_stands_where_it_is_put(place, corner, shape):
    rows, columns = np.nonzero(disturbances.mark_mask(100, 100, 12, place=place, shape=shape))
    assert (rows.max(), columns.max()) == corner


def test_a_mark_is_white_whatever_the_unit():
    image = Slice("a", np.full((50, 50), -1000, np.float32), "HU", SOFT_TISSUE)
    assert set(np.unique(disturbances.add_mark(image, 20).network_grey8())) == {0, 255}
    inverted = Slice("a", np.full((50, 50), 4000, np.uint16), "grey", Window(2000, 4000), inverted=True)
    assert set(np.unique(disturbances.add_mark(disturbances.prepare(inverted), 20).network_grey8())) == {0, 255}
