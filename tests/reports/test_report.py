"""A report: the verdict first, the numbers of the diagnosis, and nothing of the patient unless ticked."""

import dataclasses
import re
from datetime import UTC, datetime

import numpy as np
import pytest

from kidney_core import NOTICE, __version__
from kidney_core.checkpoints import checkpoint
from kidney_core.common.errors import UnreadableSlice
from kidney_core.diagnosis import inference, verdict
from kidney_core.imaging.patient_tags import PatientTags, read_patient_tags
from kidney_core.imaging.slices import Slice, Window
from kidney_core.kidneys import finder as finders
from kidney_core.metrics.number_format import percent
from kidney_core.networks.map_grades import Grade
from kidney_core.reports import report, report_pdf, report_sections
from kidney_core.simulation import phantom
from tests.conftest import ROOT
from tests.imaging.test_dicom import ct_dataset, saved
from tests.pdf import pdf_text

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
def predictor():
    """A shipped network."""
    shipped = checkpoint.read_checkpoint(ROOT / "checkpoints" / "mobilenetv2")
    return inference.open_predictor(shipped, finder=finders.open_installed())


def simulated() -> Slice:
    return phantom.draw_series("Cyst", seed=990_002, n_slices=3)[1].as_slice(f"{CANARY}.png")


def noise() -> Slice:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400), dtype=np.uint8)
    return Slice(f"{CANARY}.png", pixels, "grey", Window(127.5, 255))


def strict(predictor):
    """The same network, to which every slice is out of distribution."""
    return dataclasses.replace(predictor, reference=dataclasses.replace(predictor.reference, max_distance=0.0))


def made(predictor, image=None, *, trained_on_file=False, **options):
    image = image or simulated()
    answer = inference.diagnose(predictor, image)
    judged = verdict.judge(predictor, image, answer, trained_on_file=trained_on_file)
    return report.compose(image, answer, judged, predictor.checkpoint, created=WHEN, **options)


def test_the_pdf_says_what_the_diagnosis_says_in_order(predictor):
    composed = made(predictor, grades=GRADES)
    text = pdf_text(report_pdf.to_pdf(composed))
    answer, card = composed.diagnosis, predictor.checkpoint.card
    label = answer.predicted_label
    assert label in report_sections.lead(composed).result
    in_order = [
        report_sections.lead(composed).kicker,
        report_sections.lead(composed).result,
        percent(card["metrics"]["cross-validated"]["accuracy"]),
        "Random split (paper)",
        percent(card["metrics"]["random"]["accuracy"]),
        "Checks of this image",
        *(step.title for step in composed.verdict.steps),
        "Calibrated probabilities",
        "Image and heatmap",
        f"{answer.method} of {label}",
        "How far to trust the heatmap",
        GRADES[0].reason,
        "Test metrics by label",
        "Model card, shortened",
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


def test_every_page_bears_the_notice_and_its_number(predictor):
    text = pdf_text(report_pdf.to_pdf(made(predictor)))
    n_pages = text.count(f"{NOTICE} Page")
    assert n_pages in (2, 3)
    for number in range(1, n_pages + 1):
        assert f"Page {number} of {n_pages}" in text


def test_a_refusal_leads_and_gives_no_probability_and_no_map(predictor):
    composed = made(strict(predictor), grades=GRADES)
    text = pdf_text(report_pdf.to_pdf(composed))
    assert text.index("No prediction: out of distribution") < text.index("How accurate such networks are")
    assert "unlike the CT slices" in text
    assert "Calibrated probabilities" not in text
    assert "How far to trust" not in text
    assert "Grad-CAM" not in text
    assert not composed.findings
    assert composed.overlay is None
    for label in predictor.checkpoint.labels:
        assert f"{label} {percent(composed.diagnosis.probabilities[label])}" not in text


def test_memory_and_abstention_lead_in_their_own_words(predictor):
    remembered = made(predictor, trained_on_file=True)
    assert report_sections.lead(remembered).kicker == "This scan was seen in training. Predicted"
    abstaining = dataclasses.replace(remembered.verdict, seen=False, abstains=True)
    unsure = dataclasses.replace(remembered, verdict=abstaining)
    assert "abstains" in report_sections.lead(unsure).kicker
    assert "do not conclude anything from this label" in report_sections.lead(unsure).meaning


def test_how_often_the_answer_was_right_is_counted_from_the_confusion_matrix(predictor):
    composed = made(predictor)
    found, label = predictor.checkpoint.unseen_metrics(), composed.diagnosis.predicted_label
    n_predicted = sum(row[found["labels"].index(label)] for row in found["confusion"])
    correct = found["confusion"][found["labels"].index(label)][found["labels"].index(label)]
    assert (
        f"predicted {label} {n_predicted:,} times and {100 * correct / n_predicted:.0f} % of these were correct"
        in report_sections.performance(composed).note
    )


def test_neither_file_nor_patient_is_in_a_pdf_unless_ticked(predictor):
    plain = report_pdf.to_pdf(made(predictor))
    assert CANARY.encode() not in plain
    assert "Canary" not in pdf_text(plain)
    assert "not named" in pdf_text(plain)
    ticked = pdf_text(report_pdf.to_pdf(made(predictor, file_name=f"{CANARY}.png", patient=PATIENT)))
    for wanted in (f"{CANARY}.png", "Canary, Alice", "CANARY-77", "1960-01-02", "2025-01-02", "ACC-9"):
        assert wanted in ticked
    assert b"Canary" not in re.sub(rb"stream.*?endstream", b"", report_pdf.to_pdf(made(predictor, patient=PATIENT)))


def test_the_name_of_a_seen_training_file_is_kept_out_unless_ticked(predictor):
    image = simulated()
    answer = inference.diagnose(predictor, image)
    judged = verdict.judge(predictor, image, answer)
    path = judged.training_match.nearest[0].path
    step = dataclasses.replace(judged.steps[3], reason=f"So like “{path}” (Cyst) as only slices of one scan are.")
    judged = dataclasses.replace(judged, steps=(*judged.steps[:3], step, *judged.steps[4:]))
    plain = report.compose(image, answer, judged, predictor.checkpoint)
    assert report_sections.checks(plain).rows[3][2] == "So like a training slice (Cyst) as only slices of one scan are."
    ticked = report.compose(image, answer, judged, predictor.checkpoint, file_name="slice.png")
    assert path in report_sections.checks(ticked).rows[3][2]


def test_the_same_report_gives_the_same_pdf_with_its_own_time_title_and_language(predictor):
    composed = made(predictor)
    content = report_pdf.to_pdf(composed)
    assert content == report_pdf.to_pdf(composed)
    assert b"D:20251124120300+00'00" in content
    assert b"/Title (Kidney CT report)" in content
    assert b"/Lang (en)" in content


def test_signs_that_helvetica_lacks_are_set_in_another_font(predictor):
    assert b"DejaVuSans" not in report_pdf.to_pdf(made(predictor, file_name="slice – 3 µ × “a”.png"))
    assert b"DejaVuSans" in report_pdf.to_pdf(made(predictor, file_name="почка ≥ 3 <b>&.png"))


@pytest.mark.parametrize("size", [(1, 1), (2000, 100), (100, 2000)])
def test_an_image_of_any_shape_fits_its_page(predictor, size):
    image = Slice("strip", np.zeros(size, np.uint8), "grey", Window(127.5, 255))
    assert report_pdf.to_pdf(made(predictor, image)).startswith(b"%PDF")


def test_a_programmers_mistake_is_told(predictor):
    image = simulated()
    answer = inference.diagnose(predictor, image)
    judged = verdict.judge(predictor, image, answer)
    with pytest.raises(ValueError, match="must have a time zone"):
        report.compose(image, answer, judged, predictor.checkpoint, created=datetime(2025, 1, 1))
    with pytest.raises(ValueError, match="not of the checkpoint"):
        report.compose(image, dataclasses.replace(answer, checkpoint_name="other"), judged, predictor.checkpoint)


def test_patient_tags_are_read_from_dicom_and_only_as_their_types_allow():
    tags = read_patient_tags(saved(ct_dataset(PatientBirthDate="19600102", PatientSex="F", StudyInstanceUID="1.2.3")))
    assert (tags.name, tags.plain_name, tags.patient_id) == ("Canary^Alice", "Canary, Alice", "CANARY-77")
    assert (tags.birth_date, tags.sex, tags.study_uid) == ("19600102", "F", "1.2.3")
    assert not tags.identifies_image  # the file names no series
    odd = read_patient_tags(saved(ct_dataset(PatientSex="X", PatientID="line\nbreak", StudyID="7")))
    assert (odd.sex, odd.patient_id, odd.study_id) == ("", "line break", "7")
    content = saved(ct_dataset(PatientBirthDate="19600102")).replace(b"19600102", b"19609999")
    assert read_patient_tags(content).birth_date == ""
    assert read_patient_tags(saved(ct_dataset(PatientName="A^B^C^D^E^F^G"))).name == ""
    assert read_patient_tags(b"\x89PNG\r\n\x1a\n") is None


def test_read_patient_tags__error_damaged():
    with pytest.raises(UnreadableSlice, match="are damaged and cannot be read .* without them"):
        read_patient_tags(saved(ct_dataset()).replace(b"\x10\x00\x10\x00PN", b"\x10\x00\x10\x00ZZ"))
