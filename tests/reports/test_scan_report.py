"""The report of a scan: what the verdict says, as PDF, picture, DICOM report and segmentation; nobody is named unless ticked."""

import io
import shutil
import subprocess
from datetime import UTC, datetime

import numpy as np
import pydicom
import pytest

from kidney_core import NOTICE
from kidney_core.checkpoints.checkpoint import read_checkpoint
from kidney_core.diagnosis import inference, stack_reading
from kidney_core.imaging import stack
from kidney_core.kidneys import finder as finders
from kidney_core.reports import (
    kidney_segmentation,
    report_sections,
    scan_dicom,
    scan_pdf,
    scan_picture,
    scan_report,
    scan_sections,
)
from kidney_core.reports.kidney_segmentation import NoSegmentation
from kidney_core.simulation import phantom_dicom
from tests.conftest import ROOT
from tests.pdf import pdf_text
from tests.reports.test_report_dicom import items, meaning, opened

WHEN = datetime(2026, 11, 29, 2, 3, tzinfo=UTC)


@pytest.fixture(scope="module")
def predictor():
    """A shipped network with the shipped finder."""
    checkpoint = read_checkpoint(ROOT / "checkpoints" / "mobilenetv2")
    return inference.open_predictor(checkpoint, finder=finders.open_installed())


def named_series(n_slices: int = 12, *, without: tuple[str, ...] = ()) -> list[tuple[str, bytes]]:
    """A simulated scan with a patient and a study in its tags; two slices beyond the kidneys show water only."""
    files = []
    for number, (name, content) in enumerate(phantom_dicom.series_files("Cyst", 990_005, n_slices=n_slices)):
        dataset = pydicom.dcmread(io.BytesIO(content))
        dataset.PatientName, dataset.PatientID, dataset.PatientSex = "Canary^Alice", "CANARY-77", "F"
        dataset.PatientBirthDate, dataset.StudyID, dataset.AccessionNumber = "19600102", "7", "ACC-9"
        dataset.StudyDate, dataset.StudyTime, dataset.StudyInstanceUID = "20250102", "1011", "1.2.3.4"
        dataset.FrameOfReferenceUID = "1.2.3.4.9"
        if number < 2:
            dataset.PixelData = np.zeros((dataset.Rows, dataset.Columns), "<i2").tobytes()
        for keyword in without:
            del dataset[keyword]
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        files.append((f"Canary-{name}", buffer.getvalue()))
    return files


@pytest.fixture(scope="module")
def scan(predictor):
    """(stack, reading) of the simulated scan."""
    (found,) = stack.open_stacks(named_series()).stacks
    return found, stack_reading.read_stack(predictor, found)


@pytest.fixture(scope="module")
def empty(predictor):
    """(stack, reading) of a scan that shows no kidney."""
    files = []
    for name, content in named_series(4):
        dataset = pydicom.dcmread(io.BytesIO(content))
        dataset.PixelData = (np.indices((dataset.Rows, dataset.Columns)).sum(axis=0) % 2).astype("<i2").tobytes()
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        files.append((name, buffer.getvalue()))
    (found,) = stack.open_stacks(files).stacks
    return found, stack_reading.read_stack(predictor, found)


def made(predictor, of, **options):
    found, reading = of
    return scan_report.compose_scan(predictor, found, reading, created=WHEN, **options)


def test_the_pdf_says_what_the_verdict_says_in_order(predictor, scan):
    composed = made(predictor, scan)
    text = pdf_text(scan_pdf.to_pdf(composed))
    verdict = composed.verdict
    in_order = [
        report_sections.lead(composed).kicker,
        verdict.result.split(" · ")[0],
        "Right 3 to 12",
        "Left 3 to 12",
        "Checks of this scan",
        *(step.title for step in verdict.steps),
        "Mean calibrated probabilities",
        "Slices that carry the label",
        *(scan_sections.driving_caption(composed, position) for position in range(len(composed.driving))),
        "Where each label is most probable",
        "Model card, shortened",
        "12, of which 10 were predicted",
    ]
    position = 0
    for wanted in in_order:
        assert wanted in text[position:], wanted
        position = text.index(wanted, position)
    assert NOTICE in text
    assert "Canary" not in text


def test_the_picture_shows_the_driving_slices_with_outline_and_map(predictor, scan):
    composed = made(predictor, scan)
    assert len(composed.driving) == 5
    assert [each.index for each in composed.driving] == [each.index for each in composed.verdict.driving]
    for each in composed.driving:
        assert (each.picture == np.array((127, 219, 202))).all(axis=2).sum() > 50  # the outline of the kidneys
    pixels = scan_picture.draw(composed)
    assert pixels.shape == (1200, 1280, 3)
    capture = opened(scan_dicom.to_secondary_capture(composed))
    np.testing.assert_array_equal(capture.pixel_array, pixels)
    assert capture.BurnedInAnnotation == "NO"


def test_a_scan_without_a_kidney_is_reported_as_such(predictor, empty):
    composed = made(predictor, empty)
    text = pdf_text(scan_pdf.to_pdf(composed))
    assert "No prediction: no kidney visible" in text
    assert "No kidney was found on 4 slices" in text
    assert "Mean calibrated" not in text
    found = list(items(opened(scan_dicom.to_structured_report(composed))))
    assert not [item for item in found if item.ValueType == "NUM"]
    with pytest.raises(NoSegmentation, match="No kidney was found"):
        kidney_segmentation.to_segmentation(composed, empty[0], predictor.finder)


def test_the_structured_report_measures_each_kidney(predictor, scan):
    composed = made(predictor, scan)
    found = list(items(opened(scan_dicom.to_structured_report(composed))))
    numbers = [
        (meaning(item), float(item.MeasuredValueSequence[0].NumericValue)) for item in found if item.ValueType == "NUM"
    ]
    for label, value in composed.verdict.probabilities.items():
        assert (f"Mean calibrated probability of {label}", pytest.approx(value, abs=1e-6)) in numbers
    for kidney in composed.kidneys.kidneys:
        assert ("First slice, from 1", kidney.first + 1) in numbers
        assert ("Length", pytest.approx(kidney.length_mm, abs=0.1)) in numbers
        assert ("Volume", pytest.approx(kidney.volume_ml, abs=0.1)) in numbers
    sides = [each.ConceptCodeSequence[0].CodeMeaning for each in found if meaning(each) == "Laterality"]
    assert sides == ["Right", "Left"]
    texts = [item.TextValue for item in found if item.ValueType == "TEXT"]
    assert f"weights SHA-256 {predictor.finder.digest}" in texts
    assert NOTICE in texts


def test_the_segmentation_holds_the_kidneys_where_they_are(predictor, scan):
    composed = made(predictor, scan)
    steps = []
    content = kidney_segmentation.to_segmentation(
        composed, scan[0], predictor.finder, progress=lambda *done: steps.append(done)
    )
    assert steps[-1] == (10, 10)
    import highdicom

    segmentation = highdicom.seg.segread(io.BytesIO(content))
    assert [segmentation.get_segment_description(n).segment_label for n in (1, 2)] == ["Kidney, right", "Kidney, left"]
    volume = segmentation.get_volume(combine_segments=True)
    areas = np.array([(volume.array == number).sum() for number in (1, 2)])
    measured = areas * np.prod(volume.spacing) / 1000  # ml
    expected = [each.volume_ml for each in composed.kidneys.kidneys]
    np.testing.assert_allclose(measured, expected, rtol=0.15)
    columns = [np.argwhere(volume.array == number)[:, 2].mean() for number in (1, 2)]
    assert columns[0] < columns[1]  # the right kidney is on the left of the picture
    positions = [np.linalg.norm(item.ImagePositionPatient) for item in dataset_planes(segmentation)]
    assert min(positions) == pytest.approx(2 * 2.5)  # the first two slices show none


def test_the_segmentation_of_a_scan_that_is_stored_upside_down_lies_on_its_own_pixels(predictor, scan):
    import highdicom

    files = []
    for name, content in named_series():
        dataset = pydicom.dcmread(io.BytesIO(content))
        pixels = np.frombuffer(dataset.PixelData, "<i2").reshape(dataset.Rows, dataset.Columns)
        dataset.PixelData = np.ascontiguousarray(pixels[::-1, ::-1]).tobytes()
        dataset.ImageOrientationPatient = [-each for each in dataset.ImageOrientationPatient]
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        files.append((name, buffer.getvalue()))
    (turned,) = stack.open_stacks(files).stacks
    composed = made(predictor, (turned, stack_reading.read_stack(predictor, turned)))
    content = kidney_segmentation.to_segmentation(composed, turned, predictor.finder)
    planes = [
        highdicom.seg.segread(io.BytesIO(each)).get_volume(combine_segments=True).array
        for each in (
            content,
            kidney_segmentation.to_segmentation(made(predictor, scan), scan[0], predictor.finder),
        )
    ]
    assert planes[0].any()
    np.testing.assert_array_equal(planes[0][:, ::-1, ::-1], planes[1])


def dataset_planes(segmentation):
    return [frame.PlanePositionSequence[0] for frame in segmentation.PerFrameFunctionalGroupsSequence]


@pytest.mark.parametrize("without", [("PixelSpacing",), ("ImagePositionPatient", "ImageOrientationPatient")])
def test_a_series_without_geometry_has_no_segmentation(predictor, without):
    (found,) = stack.open_stacks(named_series(6, without=without)).stacks
    composed = made(predictor, (found, stack_reading.read_stack(predictor, found)))
    with pytest.raises(NoSegmentation, match="does not say where its pixels lie"):
        kidney_segmentation.to_segmentation(composed, found, predictor.finder)


MAKERS = {
    "capture": lambda composed, *_: scan_dicom.to_secondary_capture(composed),
    "structured": lambda composed, *_: scan_dicom.to_structured_report(composed),
    "segmentation": kidney_segmentation.to_segmentation,
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("ticked", [False, True])
def test_nobody_is_named_unless_ticked(predictor, scan, kind, ticked):
    composed = made(predictor, scan, with_patient=ticked)
    content = MAKERS[kind](composed, scan[0], predictor.finder)
    dataset = opened(content)
    uids = {pydicom.dcmread(io.BytesIO(item.content)).SOPInstanceUID for item in scan[0].items}
    if ticked:
        assert (dataset.PatientName, dataset.PatientID) == ("Canary^Alice", "CANARY-77")
        assert (dataset.StudyInstanceUID, dataset.AccessionNumber) == ("1.2.3.4", "ACC-9")
        if kind != "capture":
            assert any(uid.encode() in content for uid in uids)
        if kind == "segmentation":
            assert dataset.FrameOfReferenceUID == "1.2.3.4.9"
    else:
        for secret in ("Canary", "CANARY", "1.2.3.4", "ACC-9", *uids):
            assert secret.encode() not in content
        assert dataset.PatientName.family_name == "Anonymous"
        assert dataset.PatientIdentityRemoved == "YES"
    assert MAKERS[kind](composed, scan[0], predictor.finder) == content or kind == "segmentation"


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("case", ["plain", "ticked", "empty"])
def test_dciodvfy_finds_no_error(predictor, scan, empty, tmp_path, kind, case):
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy is not on this machine (Debian: apt-get install dicom3tools)")
    of = empty if case == "empty" else scan
    if kind == "segmentation" and case == "empty":
        return
    path = tmp_path / "report.dcm"
    path.write_bytes(MAKERS[kind](made(predictor, of, with_patient=case == "ticked"), of[0], predictor.finder))
    ran = subprocess.run([checker, "-new", str(path)], capture_output=True, text=True, timeout=60)
    told = (ran.stdout + ran.stderr).splitlines()
    assert told, "the checker names the kind of object it found"
    assert not [line for line in told if line.startswith(("Error", "Abort"))]
