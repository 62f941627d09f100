"""Disturbances on pixels that can be counted by hand, and the curve against one question at a time."""

import numpy as np
import pytest

from kidney_core.diagnosis import inference
from kidney_core.imaging.slices import SOFT_TISSUE, Slice, Window
from kidney_core.teaching import robustness, teaching_plots
from kidney_core.teaching.robustness import Curve
from tests.diagnosis.test_inference import made_checkpoint, slice_of


def hu_slice(*values):
    return Slice("a", np.array([values], np.float32), "HU", SOFT_TISSUE)


@pytest.mark.parametrize("name", robustness.DISTURBANCES)
@pytest.mark.parametrize("unit", ["HU", "grey"])
def test_the_amount_that_is_none_changes_nothing_that_the_network_sees(name, unit):
    kind, disturb = robustness.DISTURBANCES[name]
    image = slice_of()
    if unit == "HU":
        image = Slice("a", image.pixels.astype(np.float32) * 8 - 1000, "HU", SOFT_TISSUE)
    assert np.array_equal(disturb(image, kind.none).network_grey8(), image.network_grey8())
    assert {kind.none, kind.start} <= set(range(int(kind.amounts[0]), int(kind.amounts[-1]) + 1))
    assert kind.none in kind.amounts


def test_noise_has_its_deviation_in_hu_and_its_share_of_the_window_in_grey():
    flat = np.full((400, 400), 40, np.float32)
    noisy = robustness.add_noise(Slice("a", flat, "HU", SOFT_TISSUE), 20)
    assert noisy.pixels.std() == pytest.approx(20, rel=0.01)
    grey = robustness.add_noise(Slice("a", np.full((400, 400), 128, np.uint8), "grey", Window(127.5, 255)), 20)
    assert grey.pixels.std() == pytest.approx(20 * 255 / 400, rel=0.01)
    assert grey.pixels.dtype == np.uint8


def test_a_quarter_turn_is_numpys_and_the_letters_go():
    image = Slice("a", np.arange(9, dtype=np.uint8).reshape(3, 3), "grey", Window(4, 8), letters={"left": "R"})
    turned = robustness.rotate(image, 90)
    assert np.array_equal(turned.pixels, np.rot90(image.pixels))
    assert turned.letters == {}


def test_another_window_of_hu_is_that_windows_picture():
    image = hu_slice(-160, 40, 140, 240)
    assert image.network_grey8().tolist() == [[0, 128, 191, 255]]
    assert robustness.shift_level(image, 100).network_grey8().tolist() == [[0, 64, 128, 191]]
    assert robustness.change_width(image, 200).network_grey8().tolist() == [[0, 128, 255, 255]]


def test_another_window_of_a_grey_slice_takes_it_for_an_export_through_soft_tissue():
    image = Slice("a", np.array([[0, 51, 255]], np.uint8), "grey", Window(127.5, 255))  # -160, -80 and 240 HU
    assert robustness.shift_level(image, -80).network_grey8().tolist() == [[51, 102, 255]]


def test_an_l_is_a_stem_and_a_foot():
    mask = robustness.mark_mask(100, 100, 12, place="upper left", shape="letter L")
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 15, 4, 11)  # 12 high, 8 wide, 4 % away
    assert mask.sum() == 12 * 2 + 2 * 8 - 2 * 2


@pytest.mark.parametrize(("place", "corner"), [("lower right", (95, 95)), ("upper right", (15, 95))])
@pytest.mark.parametrize("shape", robustness.SHAPES)
def test_a_mark_stands_where_it_is_put(place, corner, shape):
    rows, columns = np.nonzero(robustness.mark_mask(100, 100, 12, place=place, shape=shape))
    assert (rows.max(), columns.max()) == corner


def test_a_mark_is_white_whatever_the_unit():
    image = Slice("a", np.full((50, 50), -1000, np.float32), "HU", SOFT_TISSUE)
    assert set(np.unique(robustness.add_mark(image, 20).network_grey8())) == {0, 255}
    inverted = Slice("a", np.full((50, 50), 4000, np.uint16), "grey", Window(2000, 4000), inverted=True)
    assert set(np.unique(robustness.add_mark(inverted, 20).network_grey8())) == {0, 255}


def test_the_curve_is_what_the_network_says_of_each_amount(tmp_path):
    predictor = inference.open_predictor(made_checkpoint(tmp_path))
    found = robustness.predict_curve(predictor, slice_of(), robustness.add_noise, (0, 30))
    for amount, row in zip((0, 30), found.probabilities, strict=True):
        alone = inference.diagnose(predictor, robustness.add_noise(slice_of(), amount))
        assert row == pytest.approx(list(alone.probabilities.values()), abs=1e-5)
    assert not found.refused.any()  # a checkpoint without a reference lets all through


def test_refused_stretches_reach_halfway_to_the_next_amount():
    curve = Curve(np.array([0.0, 10, 20, 30]), ("a",), np.ones((4, 1)), np.array([True, False, True, True]))
    assert teaching_plots.refused_stretches(curve) == [(0, 5), (15, 30)]
