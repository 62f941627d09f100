"""A report as DICOM: an independent checker accepts it, it says what the PDF says, and names nobody unless ticked."""

import io
import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from kidney_core import NOTICE
from kidney_core.checkpoints.checkpoint import read_checkpoint
from kidney_core.diagnosis import inference
from kidney_core.kidneys import finder as finders
from kidney_core.reports import report_dicom, report_picture
from tests.conftest import ROOT
from tests.reports.test_report import CANARY, GRADES, PATIENT, made, noise


@pytest.fixture(scope="module")
def predictor():
    """A shipped network with the shipped finder."""
    checkpoint = read_checkpoint(ROOT / "checkpoints" / "mobilenetv2")
    return inference.open_predictor(checkpoint, finder=finders.open_installed())


MAKERS = {"capture": report_dicom.to_secondary_capture, "structured": report_dicom.to_structured_report}
CASES = {
    "plain": {},
    "ticked": {"file_name": "почка “3”.dcm", "patient": PATIENT, "grades": GRADES},
    "memory": {"trained_on_file": True},
}


def opened(content: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(content))


def items(dataset):
    """Every content item of a structured report."""
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from items(item)


def meaning(item):
    return item.ConceptNameCodeSequence[0].CodeMeaning


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("case", [*CASES, "refused"])
def test_dciodvfy_finds_no_error(predictor, tmp_path, kind, case):
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy is not on this machine (Debian: apt-get install dicom3tools)")
    composed = made(predictor, noise()) if case == "refused" else made(predictor, **CASES[case])
    path = tmp_path / "report.dcm"
    path.write_bytes(MAKERS[kind](composed))
    ran = subprocess.run([checker, "-new", str(path)], capture_output=True, text=True, timeout=60)
    told = (ran.stdout + ran.stderr).splitlines()
    assert told, "the checker names the kind of object it found"
    assert not [line for line in told if line.startswith(("Error", "Abort"))]
    # A private coding scheme is one that the checker cannot know; that of a refused image's side neither.
    allowed = (report_dicom.SCHEME, "Laterality") if case == "refused" else (report_dicom.SCHEME,)
    assert not [line for line in told if line.startswith("Warning") and not any(word in line for word in allowed)]


def test_the_capture_holds_image_and_overlay_as_they_are_drawn(predictor):
    composed = made(predictor)
    dataset = opened(report_dicom.to_secondary_capture(composed))
    assert (dataset.Modality, dataset.PhotometricInterpretation) == ("OT", "RGB")
    pixels = dataset.pixel_array
    np.testing.assert_array_equal(pixels, report_picture.draw(composed))
    top, side = report_picture.PANEL_TOP, report_picture.PANEL_PX
    left, right = (pixels[top : top + 480, x : x + 480].astype(int) for x in report_picture.PANEL_LEFTS)
    assert side >= 480
    assert np.ptp(left, axis=2).max() == 0  # grey
    assert np.ptp(right, axis=2).max() > 60  # in colour where the evidence is
    assert left.std() > 20


def test_a_refused_capture_holds_no_overlay(predictor):
    pixels = opened(report_dicom.to_secondary_capture(made(predictor, noise()))).pixel_array
    left = report_picture.PANEL_LEFTS[1]
    assert np.ptp(pixels[report_picture.PANEL_TOP :, left:].astype(int), axis=2).max() < 40  # grey letters, no map


def test_the_structured_report_carries_the_probabilities_the_steps_and_the_algorithm(predictor):
    composed = made(predictor, grades=GRADES)
    found = list(items(opened(report_dicom.to_structured_report(composed))))
    numbers = {
        meaning(item): float(item.MeasuredValueSequence[0].NumericValue)
        for item in found
        if item.ValueType == "NUM" and meaning(item) != "Area"
    }
    assert numbers == {
        f"Calibrated probability of {label}": pytest.approx(value, abs=1e-6)
        for label, value in composed.diagnosis.probabilities.items()
    }
    units = {
        (code.CodeValue, code.CodingSchemeDesignator)
        for item in found
        if item.ValueType == "NUM"
        for code in item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence
    }
    assert units == {("1", "UCUM"), ("mm2", "UCUM")}
    texts = [(meaning(item), item.TextValue) for item in found if item.ValueType == "TEXT"]
    for step in composed.verdict.steps:
        assert (step.title, f"Outcome: {step.outcome}; Reason: {step.reason}") in texts
    assert ("Intended use", NOTICE) in texts
    assert any(name == "Algorithm Name" and "mobilenetv2" in text for name, text in texts)
    assert any(name == "Stability" and GRADES[0].reason in text for name, text in texts)
    verdicts = [item.ConceptCodeSequence[0].CodeValue for item in found if item.ValueType == "CODE"]
    assert composed.verdict.outcome.upper() in verdicts


def test_a_refused_structured_report_carries_no_probability(predictor):
    found = list(items(opened(report_dicom.to_structured_report(made(predictor, noise())))))
    assert not [item for item in found if item.ValueType == "NUM"]
    conclusion = next(item.TextValue for item in found if item.ValueType == "TEXT" and meaning(item) == "Conclusion")
    assert conclusion.startswith("No prediction: no kidney visible")


@pytest.mark.parametrize("kind", MAKERS)
def test_nobody_is_named_unless_ticked(predictor, kind):
    content = MAKERS[kind](made(predictor))
    for secret in (CANARY, "Canary", "CANARY", PATIENT.study_uid + "."):
        assert secret.encode() not in content
    dataset = opened(content)
    assert dataset.PatientName.family_name == "Anonymous"
    assert dataset.PatientID.startswith("ANON-")
    assert (dataset.PatientBirthDate, dataset.PatientSex, dataset.AccessionNumber) == ("", "", "")
    assert dataset.StudyInstanceUID != opened(MAKERS[kind](made(predictor))).StudyInstanceUID


@pytest.mark.parametrize("kind", MAKERS)
def test_the_patient_and_the_study_are_those_of_the_source_when_ticked(predictor, kind):
    dataset = opened(MAKERS[kind](made(predictor, patient=PATIENT)))
    assert (dataset.PatientName, dataset.PatientID) == (PATIENT.name, PATIENT.patient_id)
    assert (dataset.PatientBirthDate, dataset.PatientSex) == (PATIENT.birth_date, PATIENT.sex)
    assert (dataset.StudyInstanceUID, dataset.StudyDate) == (PATIENT.study_uid, PATIENT.study_date)
    assert dataset.AccessionNumber == PATIENT.accession_number
    assert "PatientIdentityRemoved" not in dataset


def test_both_objects_are_of_one_study_and_the_report_refers_to_picture_and_source(predictor):
    composed = made(predictor, patient=PATIENT)
    capture = opened(report_dicom.to_secondary_capture(composed))
    document = opened(report_dicom.to_structured_report(composed))
    assert capture.StudyInstanceUID == document.StudyInstanceUID
    referred = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items(document) if item.ValueType == "IMAGE"
    }
    assert referred == {capture.SOPInstanceUID, PATIENT.image_uid}


def test_whether_the_picture_names_the_patient_is_told_as_far_as_it_is_known(predictor):
    assert opened(report_dicom.to_secondary_capture(made(predictor))).BurnedInAnnotation == "NO"
    assert opened(report_dicom.to_secondary_capture(made(predictor, patient=PATIENT))).BurnedInAnnotation == "YES"
    assert "BurnedInAnnotation" not in opened(report_dicom.to_secondary_capture(made(predictor, noise())))


def test_the_same_report_gives_the_same_bytes(predictor):
    composed = made(predictor)
    for make in MAKERS.values():
        assert make(composed) == make(composed)


def test_each_kidney_is_measured_with_its_side_and_the_finder_that_saw_it(predictor):
    composed = made(predictor)
    document = opened(report_dicom.to_structured_report(composed))
    areas = [each for each in items(document) if each.ValueType == "NUM" and meaning(each) == "Area"]
    sides = composed.diagnosis.kidneys.by_side(composed.image.letters)
    assert list(sides) == ["right", "left"]
    spacing = composed.image.spacing_mm[0] * composed.image.spacing_mm[1]
    assert [float(each.MeasuredValueSequence[0].NumericValue) for each in areas] == pytest.approx(
        [mask.sum() * spacing for mask in sides.values()], abs=0.1
    )
    lateralities = [
        each.ConceptCodeSequence[0].CodeMeaning for each in items(document) if meaning(each) == "Laterality"
    ]
    assert lateralities == ["Right", "Left"]
    parameters = [
        each.TextValue for each in items(document) if each.ValueType == "TEXT" and "Parameter" in meaning(each)
    ]
    assert f"weights SHA-256 {predictor.finder.digest}" in parameters
