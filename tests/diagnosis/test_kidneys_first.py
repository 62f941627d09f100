"""No label without a kidney: in the verdict of a slice, and along a whole scan."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kidney_core.common.labels import LABELS
from kidney_core.diagnosis import inference, stack_reading, stack_verdict, verdict
from kidney_core.diagnosis.outcomes import Outcome
from kidney_core.imaging import stack
from kidney_core.imaging.slices import Slice, Window, read_slice
from kidney_core.kidneys import finder as finders
from kidney_core.kidneys import picture_check
from kidney_core.kidneys.stack_kidneys import KidneyAlongStack, StackKidneys
from kidney_core.metrics.predictions import probability_column
from kidney_core.simulation import phantom, phantom_dicom
from tests.diagnosis.test_inference import made_checkpoint


@pytest.fixture(scope="module")
def finder():
    return finders.open_installed()


@pytest.fixture
def predictor(tmp_path, finder):
    return inference.open_predictor(made_checkpoint(tmp_path / "plain"), finder=finder)


def kidneys_at(first, last, n, *, sides=("right",)):
    areas = np.zeros(n)
    areas[first : last + 1] = 900.0
    cells = np.zeros((n, 128, 128), bool)
    found = tuple(KidneyAlongStack(side, first, last, areas, 120.0, 150.0, cells) for side in sides)
    return StackKidneys(found)


def table_of(labels, *, first, last, n):
    """Rows of a scan whose slices first to last show a kidney and have these labels, each with 90 %."""
    rows = pd.DataFrame(
        {"problem": [""] * n, "sides": "", "fault": 0, "refused": False, "seen": False, "trained": False}
    )
    rows["predicted"] = pd.Series([None] * n, dtype=object)
    rows = rows.assign(**{probability_column(label): np.nan for label in LABELS})
    for row, label in zip(range(first, last + 1), labels, strict=True):
        rows.loc[row, "sides"], rows.loc[row, "predicted"] = "right", label
        for each in LABELS:
            rows.loc[row, probability_column(each)] = 0.9 if each == label else 0.1 / 3
    return rows


def judged(labels, *, first=20, n=60, **options):
    last = first + len(labels) - 1
    return stack_verdict.judge_stack(
        table_of(labels, first=first, last=last, n=n),
        {"abstention": {"threshold": 0.7}},
        n_read=n,
        has_reference=True,
        kidneys=kidneys_at(first, last, n),
        **options,
    )


def test_a_slice_without_a_kidney_gets_no_label(predictor):
    image = phantom.draw_series("Cyst", 3, n_slices=1)[0].as_slice("a")
    water = np.where(np.indices(image.pixels.shape).sum(axis=0) % 2, 40.0, 41.0).astype(image.pixels.dtype)
    empty = replace(image, pixels=water)
    answer = inference.diagnose(predictor, empty)
    found = verdict.judge(predictor, empty, answer)
    assert found.outcome == Outcome.NO_KIDNEY
    assert found.refused
    assert [step.title for step in found.steps] == ["Image", "Kidneys", "Out-of-distribution check"]
    assert "No kidney is visible in this slice" in found.steps[1].reason


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (np.full((64, 64), 7, np.uint8), "Every pixel has the same value"),
        (np.arange(31 * 40, dtype=np.uint16).reshape(31, 40).astype(np.uint8), "It has 40 × 31 pixels"),
    ],
)
def test_a_picture_on_which_nothing_can_be_seen_is_refused(predictor, pixels, sentence):
    image = Slice("a", pixels, "grey", Window(127.5, 255))
    found = verdict.judge(predictor, image, inference.diagnose(predictor, image))
    assert (found.outcome, [step.title for step in found.steps]) == (Outcome.REFUSED, ["Image"])
    assert found.steps[0].reason.startswith(sentence)


def test_a_slice_with_kidneys_names_sides_and_areas(predictor):
    image = phantom.draw_series("Normal", 4, n_slices=1)[0].as_slice("a")
    found = verdict.judge(predictor, image, inference.diagnose(predictor, image))
    assert found.outcome != Outcome.NO_KIDNEY
    assert found.steps[1].outcome == "passed"
    assert "right kidney (" in found.steps[1].reason
    assert "left kidney (" in found.steps[1].reason
    assert "cm²" in found.steps[1].reason


def test_the_stack_knows_better_than_a_slice(predictor):
    image = phantom.draw_series("Normal", 4, n_slices=1)[0].as_slice("a")
    answer = inference.diagnose(predictor, image)
    assert verdict.judge(predictor, image, answer, sides=()).outcome == Outcome.NO_KIDNEY


def test_without_a_finder_the_check_is_open(tmp_path):
    alone = inference.open_predictor(made_checkpoint(tmp_path / "plain"))
    image = phantom.draw_series("Normal", 4, n_slices=1)[0].as_slice("a")
    found = verdict.judge(alone, image, inference.diagnose(alone, image))
    assert found.steps[1].outcome == "not checked"


def upside_down(image):
    pixels = np.rot90(image.grey8(), 2)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_picture_that_is_upside_down_gets_no_label_and_the_reason_says_so(predictor):
    drawn = phantom.draw_series("Normal", 4, n_slices=1)[0].as_slice("a")
    image = read_slice(upside_down(drawn), name="turned.png")
    found = verdict.judge(predictor, image, inference.diagnose(predictor, image))
    assert (found.outcome, found.shows_no_kidney, len(found.steps)) == (Outcome.REFUSED, False, 1)
    assert "seems to be upside down" in found.steps[0].reason


@pytest.mark.parametrize("is_scan", [True, False])
def test_a_stack_that_is_upside_down_gets_no_label(predictor, is_scan):
    files = [
        (f"{number}.png", upside_down(drawn.as_slice("a")))
        for number, drawn in enumerate(phantom.draw_series("Normal", 4, n_slices=6))
    ]
    reading = stack_reading.read_stack(predictor, stack.open_stacks(files).stacks[0], is_scan=is_scan)
    assert reading.complete
    assert reading.verdict.outcome == Outcome.REFUSED
    assert reading.verdict.steps[-1].reason.startswith("6 of 6 slices seem to be upside down")
    assert (reading.table["fault"] == picture_check.UPSIDE_DOWN).all()
    assert reading.table["predicted"].isna().all()
    assert stack_verdict.slice_outcomes(reading.table, {}) == [Outcome.REFUSED] * 6


def test_only_slices_with_a_kidney_are_predicted(predictor):
    files = phantom_dicom.series_files("Cyst", 990_005, n_slices=12)
    (one,) = stack.open_stacks(files).stacks
    reading = stack_reading.read_stack(predictor, one)
    assert reading.complete
    assert reading.kidneys.range is not None
    shows = reading.table["sides"] != ""
    assert shows.any()
    assert (reading.table["predicted"].notna() == shows).all()


def test_three_neighbours_carry_a_label_and_a_flicker_does_not():
    found = judged(["Normal"] * 8 + ["Cyst"] * 4 + ["Normal", "Tumor", "Normal", "Tumor", "Tumor", "Normal"])
    assert found.is_whole_scan
    assert found.predicted_label == "Cyst"
    assert [driver.index for driver in found.driving] == [28, 29, 30, 31]
    assert "Cyst on slices 29 to 32" in found.steps[-1].reason
    assert "Tumor" not in found.steps[-1].reason
    flicker = judged(["Normal"] * 8 + ["Cyst"] * 2 + ["Normal"] * 8)
    assert flicker.predicted_label == "Normal"


def test_a_whole_scan_abstains_since_it_was_not_measured():
    found = judged(["Cyst"] * 18)
    assert found.outcome == Outcome.UNDECIDED
    assert "not on whole scans" in next(step for step in found.steps if step.title == "Confidence").reason
    cropped = judged(["Cyst"] * 18, first=0, n=18)
    assert (cropped.is_whole_scan, cropped.outcome) == (False, Outcome.ANSWERED)


def test_the_range_that_is_judged_can_be_chosen():
    found = judged(["Cyst"] * 9 + ["Normal"] * 9, within=(29, 37))
    assert found.predicted_label == "Normal"
    assert found.probabilities["Cyst"] < 0.1


def test_a_missing_kidney_and_a_scan_without_kidneys_are_told():
    step = next(step for step in judged(["Normal"] * 18).steps if step.title == "Kidneys")
    assert step.outcome == "warning"
    assert "right on slices 21 to 38 (12.0 cm along the scan, 150 ml)" in step.reason
    assert "No left kidney was found" in step.reason
    none = stack_verdict.judge_stack(
        table_of([], first=0, last=-1, n=30),
        {},
        n_read=30,
        has_reference=True,
        kidneys=StackKidneys(()),
    )
    assert (none.outcome, none.predicted_label) == (Outcome.NO_KIDNEY, None)


def test_a_scan_with_missing_slices_is_no_whole_scan():
    whole, part = (
        judged(["Cyst"] * 18),
        judged(["Cyst"] * 18, notes=("Slices are missing: 5 mm between slices 2 and 3.",)),
    )
    assert (whole.what, part.what) == ("Whole scan", "Part of a scan, see Slices below")
    assert part.steps[0].outcome == "warning"
    assert part.steps[0].reason == "60 of 60 slices were read. Slices are missing: 5 mm between slices 2 and 3."


def test_a_cropped_series_that_is_predicted_in_part_is_no_whole_scan():
    table = table_of(["Cyst"] * 18, first=0, last=17, n=18)
    table.loc[6:, "predicted"] = None
    found = stack_verdict.judge_stack(table, {}, n_read=18, has_reference=True, kidneys=kidneys_at(0, 17, 18))
    assert not found.is_whole_scan


def test_far_from_the_kidneys_only_every_fourth_slice_is_searched(predictor, monkeypatch):
    files = phantom_dicom.series_files("Normal", 4, n_slices=40)  # 2.5 mm apart
    (one,) = stack.open_stacks(files).stacks
    searched = []
    find = type(predictor.finder).find_framed

    def counted(self, frames):
        searched.append(len(frames))
        return [
            replace(each, kidney=each.kidney * (row_of(each.framed.square) in shown)) for each in find(self, frames)
        ]

    shown, order = set(range(16, 28)), {}
    for row, item in enumerate(one.items):
        order[predictor.finder.view.square(stack.open_item(item).network_grey8()).tobytes()] = row

    def row_of(square):
        return order[square.tobytes()]

    monkeypatch.setattr(type(predictor.finder), "find_framed", counted)
    reading = stack_reading.read_stack(predictor, one)
    assert reading.complete
    assert reading.kidneys.range == (16, 27)
    assert sum(searched) < 30
    assert (reading.table["predicted"].notna() == (reading.table["sides"] != "")).all()
    monkeypatch.setattr(stack_reading, "_coarse_step", lambda stack: 1)
    every = stack_reading.read_stack(predictor, one)
    pd.testing.assert_series_equal(every.table["sides"], reading.table["sides"])


def test_a_scan_that_was_stopped_is_not_called_out_of_distribution(predictor):
    files = phantom_dicom.series_files("Cyst", 990_005, n_slices=12)
    (one,) = stack.open_stacks(files).stacks
    asked = iter([False] * 2 + [True] * 9)
    reading = stack_reading.read_stack(predictor, one, stop=lambda: next(asked))
    assert (reading.n_read, reading.n_predicted) == (12, 0)
    assert reading.verdict.outcome == Outcome.PENDING
    outcomes = stack_verdict.slice_outcomes(reading.table, {})
    assert set(outcomes) <= {Outcome.PENDING, Outcome.NO_KIDNEY}
    assert Outcome.PENDING in outcomes
