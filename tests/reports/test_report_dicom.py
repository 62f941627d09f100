"""A report as DICOM: an independent checker accepts it, it says what the PDF says, and names nobody unless ticked."""

import io
import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from kidney_core import diagnosis, report, report_dicom, report_picture
from kidney_core.checkpoint import read_checkpoint
from tests.conftest import ROOT
from tests.test_report import CANARY, GRADES, PATIENT, made, noise


@pytest.fixture(scope="module")
def reader():
    """A shipped network."""
    return diagnosis.open_reader(read_checkpoint(ROOT / "checkpoints" / "mobilenetv2"))


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
def test_dciodvfy_finds_no_error(reader, tmp_path, kind, case):
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy is not on this machine (Debian: apt-get install dicom3tools)")
    composed = made(reader, noise()) if case == "refused" else made(reader, **CASES[case])
    path = tmp_path / "report.dcm"
    path.write_bytes(MAKERS[kind](composed))
    ran = subprocess.run([checker, "-new", str(path)], capture_output=True, text=True, timeout=60)
    told = (ran.stdout + ran.stderr).splitlines()
    assert told, "the checker names the kind of object it found"
    assert not [line for line in told if line.startswith(("Error", "Abort"))]
    # A private coding scheme is one that the checker cannot know; that of a refused image's side neither.
    allowed = (report_dicom.SCHEME, "Laterality") if case == "refused" else (report_dicom.SCHEME,)
    assert not [line for line in told if line.startswith("Warning") and not any(word in line for word in allowed)]


def test_the_capture_holds_image_and_overlay_as_they_are_drawn(reader):
    composed = made(reader)
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


def test_a_refused_capture_holds_no_overlay(reader):
    pixels = opened(report_dicom.to_secondary_capture(made(reader, noise()))).pixel_array
    left = report_picture.PANEL_LEFTS[1]
    assert np.ptp(pixels[report_picture.PANEL_TOP :, left:].astype(int), axis=2).max() < 40  # grey letters, no map


def test_the_structured_report_carries_the_probabilities_the_steps_and_the_algorithm(reader):
    composed = made(reader, grades=GRADES)
    found = list(items(opened(report_dicom.to_structured_report(composed))))
    numbers = {
        meaning(item): float(item.MeasuredValueSequence[0].NumericValue) for item in found if item.ValueType == "NUM"
    }
    assert numbers == {
        f"Calibrated probability of {label}": pytest.approx(value, abs=1e-6)
        for label, value in composed.answer.probabilities.items()
    }
    units = {
        (code.CodeValue, code.CodingSchemeDesignator)
        for item in found
        if item.ValueType == "NUM"
        for code in item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence
    }
    assert units == {("1", "UCUM")}
    texts = [(meaning(item), item.TextValue) for item in found if item.ValueType == "TEXT"]
    for step in composed.judged.steps:
        assert (step.title, f"Outcome: {step.outcome}; Reason: {step.reason}") in texts
    assert ("Intended use", report.NOTICE) in texts
    assert any(name == "Algorithm Name" and "mobilenetv2" in text for name, text in texts)
    assert any(name == "Stability" and GRADES[0].reason in text for name, text in texts)
    verdicts = [item.ConceptCodeSequence[0].CodeValue for item in found if item.ValueType == "CODE"]
    assert composed.judged.in_a_word.upper() in verdicts


def test_a_refused_structured_report_carries_no_probability(reader):
    found = list(items(opened(report_dicom.to_structured_report(made(reader, noise())))))
    assert not [item for item in found if item.ValueType == "NUM"]
    conclusion = next(item.TextValue for item in found if item.ValueType == "TEXT" and meaning(item) == "Conclusion")
    assert conclusion.startswith("The model does not answer")


@pytest.mark.parametrize("kind", MAKERS)
def test_nobody_is_named_unless_ticked(reader, kind):
    content = MAKERS[kind](made(reader))
    for secret in (CANARY, "Canary", "CANARY", PATIENT.study_uid + "."):
        assert secret.encode() not in content
    dataset = opened(content)
    assert dataset.PatientName.family_name == "Anonymous"
    assert dataset.PatientID.startswith("ANON-")
    assert (dataset.PatientBirthDate, dataset.PatientSex, dataset.AccessionNumber) == ("", "", "")
    assert dataset.StudyInstanceUID != opened(MAKERS[kind](made(reader))).StudyInstanceUID


@pytest.mark.parametrize("kind", MAKERS)
def test_the_patient_and_the_study_are_those_of_the_source_when_ticked(reader, kind):
    dataset = opened(MAKERS[kind](made(reader, patient=PATIENT)))
    assert (dataset.PatientName, dataset.PatientID) == (PATIENT.name, PATIENT.patient_id)
    assert (dataset.PatientBirthDate, dataset.PatientSex) == (PATIENT.birth_date, PATIENT.sex)
    assert (dataset.StudyInstanceUID, dataset.StudyDate) == (PATIENT.study_uid, PATIENT.study_date)
    assert dataset.AccessionNumber == PATIENT.accession_number
    assert "PatientIdentityRemoved" not in dataset


def test_both_objects_are_of_one_study_and_the_report_refers_to_picture_and_source(reader):
    composed = made(reader, patient=PATIENT)
    capture = opened(report_dicom.to_secondary_capture(composed))
    document = opened(report_dicom.to_structured_report(composed))
    assert capture.StudyInstanceUID == document.StudyInstanceUID
    referred = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items(document) if item.ValueType == "IMAGE"
    }
    assert referred == {capture.SOPInstanceUID, PATIENT.image_uid}


def test_whether_the_picture_names_the_patient_is_told_as_far_as_it_is_known(reader):
    assert opened(report_dicom.to_secondary_capture(made(reader))).BurnedInAnnotation == "NO"
    assert opened(report_dicom.to_secondary_capture(made(reader, patient=PATIENT))).BurnedInAnnotation == "YES"
    assert "BurnedInAnnotation" not in opened(report_dicom.to_secondary_capture(made(reader, noise())))


def test_the_same_report_gives_the_same_bytes(reader):
    composed = made(reader)
    for make in MAKERS.values():
        assert make(composed) == make(composed)
