"""Model and gate along a disturbance, against one question at a time."""

import numpy as np
import pytest

from kidney_core.diagnosis import inference
from kidney_core.imaging.slices import SOFT_TISSUE, Slice
from kidney_core.kidneys import finder
from kidney_core.teaching import robustness, teaching_plots
from kidney_core.teaching.robustness import NO_KIDNEY, NO_SLICE, OUTSIDE, Curve, Scene
from tests.diagnosis.test_inference import made_checkpoint, slice_of

SPOT = np.zeros((60, 100), bool)
SPOT[20:30, 40:60] = True


def scene_of(unit):
    image = slice_of()
    if unit == "HU":
        image = Slice("a", image.pixels.astype(np.float32) * 8 - 1000, "HU", SOFT_TISSUE)
    return Scene(image, kidneys=SPOT, lesion=SPOT)


@pytest.mark.parametrize("unit", ["HU", "grey"])
def test_the_amount_that_is_none_changes_nothing_that_the_network_sees(unit):
    scene = scene_of(unit)
    kinds = robustness.disturbances_of(scene)
    assert len(kinds) == 11
    for name, kind in kinds.items():
        undisturbed = kind.disturb(scene.image, kind.none)
        assert np.array_equal(undisturbed.network_grey8(), scene.image.network_grey8()), name
        assert {kind.none, kind.start} <= set(kind.amounts), name
        assert np.diff(kind.amounts) == pytest.approx(kind.amounts[1] - kind.amounts[0]), name
        assert not np.array_equal(kind.disturb(scene.image, kind.start).network_grey8(), scene.image.network_grey8()), (
            name
        )


def test_hounsfield_units_are_not_said_of_a_grey_picture():
    for unit, said in (("HU", True), ("grey", False)):
        kinds = robustness.disturbances_of(scene_of(unit))
        texts = " ".join([*kinds, *(f"{kind.axis} {kind.plain}" for kind in kinds.values())])
        assert ("HU" in texts or "Hounsfield" in texts) == said


def test_what_needs_kidneys_or_a_lesion_is_left_out_without_them():
    kinds = robustness.disturbances_of(Scene(slice_of()))
    assert "Contrast phase" not in kinds
    assert robustness.LESION_GONE not in kinds


def test_the_curve_is_what_the_network_says_of_each_amount(tmp_path):
    predictor = inference.open_predictor(made_checkpoint(tmp_path))
    scene = Scene(slice_of())
    kind = robustness.disturbances_of(scene)["Mirror"]
    found = robustness.predict_curve(predictor, scene, kind)
    for amount, row in zip(kind.amounts, found.probabilities, strict=True):
        alone = inference.diagnose(predictor, kind.disturb(scene.image, amount))
        assert row == pytest.approx(list(alone.probabilities.values()), abs=1e-5)
    assert not found.refused.any()  # a checkpoint without a reference lets all through
    assert np.isnan(found.distance).all()


def test_the_gate_names_what_it_rejects(tmp_path):
    predictor = inference.open_predictor(made_checkpoint(tmp_path), finder=finder.open_installed())
    dark, noise = np.zeros((128, 128), np.float32), np.random.default_rng(0).normal(0, 300, (128, 128))
    images = [Slice("a", each.astype(np.float32), "HU", SOFT_TISSUE) for each in (dark, noise)]
    rejected = robustness.predict_slices(predictor, images, [0, 1]).rejected
    assert set(rejected) <= {NO_KIDNEY, NO_SLICE}


def curve(labels, rejected=("", "", "", "")):
    probabilities = np.array([[0.9, 0.1] if label == "a" else [0.1, 0.9] for label in labels])
    return Curve(np.array([0.0, 10, 20, 30]), ("a", "b"), probabilities, np.zeros(4), rejected)


def test_a_changed_label_that_the_gate_lets_through_breaks_the_model():
    kind = robustness.Disturbance("x", (0, 10, 20, 30), 0, 10, "", lambda image, amount: image)
    assert curve("abab").breaks(kind).tolist() == [False, True, False, True]
    assert curve("abab", ("", OUTSIDE, "", "")).breaks(kind).tolist() == [False, False, False, True]


def test_where_the_lesion_is_gone_the_same_label_breaks_the_model():
    fading = robustness.Disturbance("x", (0, 10, 20, 30), 0, 10, "", lambda image, amount: image, keeps_label=False)
    assert curve("aaaa").breaks(fading).tolist() == [False, False, False, True]
    assert not curve("aaab").breaks(fading).any()


def test_refused_stretches_reach_halfway_to_the_next_amount():
    found = curve("aaaa", (NO_KIDNEY, "", OUTSIDE, OUTSIDE))
    assert teaching_plots.refused_stretches(found) == [(0, 5), (15, 30)]


def test_model_and_gate_stand_in_one_figure():
    kind = robustness.Disturbance("x", (0, 10, 20, 30), 0, 10, "", lambda image, amount: image)
    found = Curve(
        np.array([0.0, 10, 20, 30]), ("a", "b"), np.full((4, 2), 0.5), np.array([0.2, 0.9, 1.1, 9]), ("",) * 4
    )
    figure = teaching_plots.robustness_figure(found, kind, 10, threshold=0.5)
    assert [trace.name for trace in figure.data] == ["a", "b", "distance to training"]
    assert [distance for distance, _ in figure.data[2].customdata] == [0.2, 0.9, 1.1, 9]
    assert max(figure.data[2].y) < 9  # what is far is drawn at the upper edge
