"""A report: the verdict first, the numbers of the diagnosis, and nothing of the patient unless ticked."""

import dataclasses
import re
from datetime import UTC, datetime

import numpy as np
import pytest

from kidney_core import __version__, checkpoint, diagnosis, phantom, report, report_pdf, report_sections, verdict
from kidney_core.errors import UnreadableSlice
from kidney_core.figures import percent
from kidney_core.map_grades import Grade
from kidney_core.patient_tags import PatientTags, read_patient_tags
from kidney_core.slices import Slice, Window
from tests.conftest import ROOT
from tests.pdf import pdf_text
from tests.test_dicom import ct_dataset, saved

WHEN = datetime(2025, 11, 24, 12, 3, tzinfo=UTC)
CANARY = "Canary-Alice"
PATIENT = PatientTags(
    name="Canary^Alice",
    patient_id="CANARY-77",
    birth_date="19600102",
    sex="F",
    study_uid="1.2.3.4",
    study_id="7",
    study_date="20250102",
    study_time="1011",
    accession_number="ACC-9",
    series_uid="1.2.3.4.5",
    image_uid="1.2.3.4.5.6",
    image_class_uid="1.2.840.10008.5.1.4.1.1.2",
)
GRADES = (Grade("Stability", 0.31, "poor", "Moving the image by 2 px changes the map: correlation 0.31."),)


@pytest.fixture(scope="module")
def reader():
    """A shipped network."""
    return diagnosis.open_reader(checkpoint.read_checkpoint(ROOT / "checkpoints" / "mobilenetv2"))


def simulated() -> Slice:
    return phantom.draw_series("Cyst", seed=990_001, n_slices=3)[1].as_slice(f"{CANARY}.png")


def noise() -> Slice:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400), dtype=np.uint8)
    return Slice(f"{CANARY}.png", pixels, "grey", Window(127.5, 255))


def made(reader, image=None, *, trained_on_file=False, **options):
    image = image or simulated()
    answer = diagnosis.diagnose(reader, image)
    judged = verdict.judge(reader, image, answer, trained_on_file=trained_on_file)
    return report.compose(image, answer, judged, reader.checkpoint, created=WHEN, **options)


def test_the_pdf_says_what_the_diagnosis_says_in_order(reader):
    composed = made(reader, grades=GRADES)
    text = pdf_text(report_pdf.to_pdf(composed))
    answer, card = composed.answer, reader.checkpoint.card
    label = answer.predicted_label
    in_order = [
        report_sections.lead(composed).kicker,
        f"{label} · {percent(answer.probabilities[label])}",
        percent(card["metrics"]["cross-validated"]["accuracy"]),
        "Random split (paper)",
        percent(card["metrics"]["random"]["accuracy"]),
        "May the model speak about this image?",
        *(step.title for step in composed.judged.steps),
        "Calibrated probabilities",
        "Image and evidence",
        f"{answer.method} of {label}",
        "How far the map can be trusted",
        GRADES[0].reason,
        "Test figures by label",
        "Model card, in extract",
        "MobileNetV2",
        "ct-kidney-plain",
        "This report",
        "2025-11-24 12:03",
        f"Kidney CT workbench {__version__}",
    ]
    position = 0
    for wanted in in_order:
        assert wanted in text[position:], wanted
        position = text.index(wanted, position)
    for each, value in answer.probabilities.items():
        assert f"{each} {percent(value)}" in text
    for limit in card["limits"]:
        assert limit.split(",")[0] in text


def test_every_page_bears_the_notice_and_its_number(reader):
    text = pdf_text(report_pdf.to_pdf(made(reader)))
    assert text.count(f"{report.NOTICE} Page") == 2
    assert "Page 1 of 2" in text
    assert "Page 2 of 2" in text


def test_a_refusal_leads_and_gives_no_probability_and_no_map(reader):
    composed = made(reader, noise(), grades=GRADES)
    text = pdf_text(report_pdf.to_pdf(composed))
    assert text.index("The model does not answer") < text.index("Share of test slices")
    assert "unlike the CT slices" in text
    assert "Calibrated probabilities" not in text
    assert "How far the map" not in text
    assert "Grad-CAM" not in text
    assert not composed.findings
    assert composed.overlay is None
    for label in reader.checkpoint.labels:
        assert f"{label} {percent(composed.answer.probabilities[label])}" not in text


def test_memory_and_abstention_lead_in_their_own_words(reader):
    remembered = made(reader, trained_on_file=True)
    assert report_sections.lead(remembered).kicker == "The model remembers this scan. It says"
    abstaining = dataclasses.replace(remembered.judged, seen=False, abstains=True)
    unsure = dataclasses.replace(remembered, judged=abstaining)
    assert "abstains" in report_sections.lead(unsure).kicker
    assert "no finding" in report_sections.lead(unsure).kicker


def test_how_often_the_answer_was_right_is_counted_from_the_confusion_matrix(reader):
    composed = made(reader)
    found, label = reader.checkpoint.honest_figures(), composed.answer.predicted_label
    said = sum(row[found["labels"].index(label)] for row in found["confusion"])
    right = found["confusion"][found["labels"].index(label)][found["labels"].index(label)]
    assert (
        f"right {100 * right / said:.0f} % of the {said:,} times they said {label}"
        in report_sections.worth(composed).note
    )


def test_neither_file_nor_patient_is_in_a_pdf_unless_ticked(reader):
    plain = report_pdf.to_pdf(made(reader))
    assert CANARY.encode() not in plain
    assert "Canary" not in pdf_text(plain)
    assert "not named" in pdf_text(plain)
    ticked = pdf_text(report_pdf.to_pdf(made(reader, file_name=f"{CANARY}.png", patient=PATIENT)))
    for wanted in (f"{CANARY}.png", "Canary, Alice", "CANARY-77", "1960-01-02", "2025-01-02", "ACC-9"):
        assert wanted in ticked
    assert b"Canary" not in re.sub(rb"stream.*?endstream", b"", report_pdf.to_pdf(made(reader, patient=PATIENT)))


def test_the_name_of_a_seen_training_file_is_kept_out_unless_ticked(reader):
    image = simulated()
    answer = diagnosis.diagnose(reader, image)
    judged = verdict.judge(reader, image, answer)
    path = judged.familiarity.nearest[0].path
    step = dataclasses.replace(judged.steps[2], reason=f"So like “{path}” (Cyst) as only slices of one scan are.")
    judged = dataclasses.replace(judged, steps=(*judged.steps[:2], step, *judged.steps[3:]))
    plain = report.compose(image, answer, judged, reader.checkpoint)
    assert report_sections.chain(plain).rows[2][2] == "So like a training slice (Cyst) as only slices of one scan are."
    ticked = report.compose(image, answer, judged, reader.checkpoint, file_name="slice.png")
    assert path in report_sections.chain(ticked).rows[2][2]


def test_the_same_report_gives_the_same_pdf_with_its_own_time_title_and_language(reader):
    composed = made(reader)
    content = report_pdf.to_pdf(composed)
    assert content == report_pdf.to_pdf(composed)
    assert b"D:20251124120300+00'00" in content
    assert b"/Title (Kidney CT report)" in content
    assert b"/Lang (en)" in content


def test_signs_that_helvetica_lacks_are_set_in_another_font(reader):
    assert b"DejaVuSans" not in report_pdf.to_pdf(made(reader, file_name="slice – 3 µ × “a”.png"))
    assert b"DejaVuSans" in report_pdf.to_pdf(made(reader, file_name="почка ≥ 3 <b>&.png"))


@pytest.mark.parametrize("size", [(1, 1), (2000, 100), (100, 2000)])
def test_an_image_of_any_shape_fits_its_page(reader, size):
    image = Slice("strip", np.zeros(size, np.uint8), "grey", Window(127.5, 255))
    assert report_pdf.to_pdf(made(reader, image)).startswith(b"%PDF")


def test_a_programmers_mistake_is_told(reader):
    image = simulated()
    answer = diagnosis.diagnose(reader, image)
    judged = verdict.judge(reader, image, answer)
    with pytest.raises(ValueError, match="must have a time zone"):
        report.compose(image, answer, judged, reader.checkpoint, created=datetime(2025, 1, 1))
    with pytest.raises(ValueError, match="not of the checkpoint"):
        report.compose(image, dataclasses.replace(answer, checkpoint_name="other"), judged, reader.checkpoint)


def test_patient_tags_are_read_from_dicom_and_only_as_their_types_allow():
    tags = read_patient_tags(saved(ct_dataset(PatientBirthDate="19600102", PatientSex="F", StudyInstanceUID="1.2.3")))
    assert (tags.name, tags.plain_name, tags.patient_id) == ("Canary^Alice", "Canary, Alice", "CANARY-77")
    assert (tags.birth_date, tags.sex, tags.study_uid) == ("19600102", "F", "1.2.3")
    assert not tags.names_image  # the file names no series
    odd = read_patient_tags(saved(ct_dataset(PatientSex="X", PatientID="line\nbreak", StudyID="7")))
    assert (odd.sex, odd.patient_id, odd.study_id) == ("", "line break", "7")
    content = saved(ct_dataset(PatientBirthDate="19600102")).replace(b"19600102", b"19609999")
    assert read_patient_tags(content).birth_date == ""
    assert read_patient_tags(saved(ct_dataset(PatientName="A^B^C^D^E^F^G"))).name == ""
    assert read_patient_tags(b"\x89PNG\r\n\x1a\n") is None


def test_read_patient_tags__error_damaged():
    with pytest.raises(UnreadableSlice, match="are damaged and cannot be read .* without them"):
        read_patient_tags(saved(ct_dataset()).replace(b"\x10\x00\x10\x00PN", b"\x10\x00\x10\x00ZZ"))
