"""However a scanner stored a slice, the answer is that of the upright one, and maps and masks lie on the stored pixels."""

import numpy as np
import pytest

from kidney_core.checkpoints.checkpoint import read_checkpoint
from kidney_core.common import settings
from kidney_core.diagnosis import inference, stack_reading, verdict
from kidney_core.imaging import stack
from kidney_core.imaging.slices import read_slice
from kidney_core.kidneys import finder as finders
from kidney_core.simulation import phantom
from tests.ct_files import ct_dataset, saved
from tests.imaging.test_upright import STORED, VIEWS, stored


@pytest.fixture(scope="module")
def predictor():
    checkpoint = read_checkpoint(settings.SHIPPED_CHECKPOINTS / "resnet18")
    return inference.open_predictor(checkpoint, finder=finders.open_installed())


def drawn(label, seed):
    return np.rint(phantom.draw_series(label, seed, n_slices=1)[0].hu).astype(np.int16)


def ct_file(hu, turns=0, mirrored=False, *, plane="axial", **tags):
    pixels, orientation = stored(hu, *VIEWS[plane], turns, mirrored)
    return saved(ct_dataset(pixels, ImageOrientationPatient=orientation, PixelSpacing=[1.0, 1.0], **tags))


@pytest.mark.parametrize("label", ["Normal", "Cyst", "Stone", "Tumor"])
def test_the_answer_does_not_depend_on_how_the_slice_is_stored(predictor, label):
    hu = drawn(label, 990_002)
    upright = inference.diagnose(predictor, read_slice(ct_file(hu), name="upright"), explain=label)
    assert set(upright.kidney_masks) == {"right", "left"}
    for turns, mirrored in STORED:
        image = read_slice(ct_file(hu, turns, mirrored), name="stored")
        answer = inference.diagnose(predictor, image, explain=label)
        assert answer.predicted_label == upright.predicted_label
        assert answer.probabilities == pytest.approx(upright.probabilities, abs=1e-3)
        assert answer.by_kidney.keys() == upright.by_kidney.keys()
        assert verdict.judge(predictor, image, answer).outcome == verdict.judge(predictor, image, upright).outcome
        if upright.heatmap is not None:
            expected = stored(upright.heatmap, *VIEWS["axial"], turns, mirrored)[0]
            np.testing.assert_allclose(answer.heatmap, expected, atol=1e-4)
        for side, mask in upright.kidney_masks.items():
            np.testing.assert_array_equal(answer.kidney_masks[side], stored(mask, *VIEWS["axial"], turns, mirrored)[0])


def test_pixels_that_are_not_square_are_read_as_square_ones(predictor):
    hu = drawn("Tumor", 990_002)
    square = inference.diagnose(predictor, read_slice(ct_file(hu), name="square"))
    flat = read_slice(saved(ct_dataset(hu[::2], PixelSpacing=[2.0, 1.0])), name="flat")
    answer = inference.diagnose(predictor, flat)
    assert answer.probabilities == pytest.approx(square.probabilities, abs=0.2)
    assert all(mask.shape == flat.pixels.shape for mask in answer.kidney_masks.values())
    areas = {side: mask.sum() * 2.0 for side, mask in answer.kidney_masks.items()}
    assert areas == pytest.approx({side: float(mask.sum()) for side, mask in square.kidney_masks.items()}, rel=0.1)


def scan(turns, mirrored):
    series = phantom.draw_series("Normal", 31, n_slices=8)
    return [
        (
            f"{number}",
            ct_file(
                np.rint(each.hu).astype(np.int16),
                turns,
                mirrored,
                ImagePositionPatient=[0, 0, 5 * number],
                SeriesInstanceUID="1.2.3",
                SliceThickness=5,
            ),
        )
        for number, each in enumerate(series)
    ]


@pytest.mark.parametrize(("turns", "mirrored"), [(2, False), (1, True)])
def test_a_scan_is_read_and_segmented_as_the_upright_one(predictor, turns, mirrored):
    found = {}
    for name, way in (("upright", (0, False)), ("stored", (turns, mirrored))):
        (one,) = stack.open_stacks(scan(*way)).stacks
        found[name] = (one, stack_reading.read_stack(predictor, one))
    (_, upright), (_, reading) = found["upright"], found["stored"]
    columns = [name for name in upright.table if name.startswith("p_")]
    order = (
        slice(None)
        if reading.table["position_mm"].iloc[0] == upright.table["position_mm"].iloc[0]
        else slice(None, None, -1)
    )
    np.testing.assert_allclose(reading.table[columns].to_numpy()[order], upright.table[columns].to_numpy(), atol=1e-3)
    assert reading.kidneys.sides == upright.kidneys.sides
    volumes = [[kidney.volume_ml for kidney in each.kidneys.kidneys] for each in (reading, upright)]
    assert volumes[0] == pytest.approx(volumes[1])
