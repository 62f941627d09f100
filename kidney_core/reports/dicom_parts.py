"""A report as DICOM that an archive takes: a Secondary Capture of its picture, and a Structured Report.

Both objects of one report are of one study, and the second refers to the first. Without the patient's
tags the study is new, the name is "Anonymous" and the ID random. Sources: PS3.3 A.8.1 (Secondary Capture
Image), A.35.3 (Comprehensive SR); PS3.16 TID 1500 (Measurement Report), TID 4019 (Algorithm Identification).
"""

import io
from typing import TYPE_CHECKING

from kidney_core import __version__, report_picture, report_sections
from kidney_core.figures import model_name
from kidney_core.patient_tags import PatientTags
from kidney_core.report import NOTICE, SOFTWARE, Report
from kidney_core.report_sections import Section

if TYPE_CHECKING:
    from pydicom import Dataset

SCHEME = "99KIDNEYCT"  # PS3.3 8.2: private coding schemes begin with 99
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_SERIES_NUMBER = 9001  # beyond those that scanners give
_MAX_LONG_STRING = 64  # PS3.5 6.2, LO


def to_secondary_capture(made: Report) -> bytes:
    """The report's picture as a DICOM Secondary Capture; nothing is written to disk."""
    from highdicom import sc

    capture = sc.SCImage(
        report_picture.draw(made),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),  # highdicom asks for one; it is taken away below
        study_instance_uid=_study_uid(made),
        series_instance_uid=_uid(made, "picture series"),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=_uid(made, "picture"),
        instance_number=1,
        manufacturer=SOFTWARE,
    )
    capture.PatientOrientation = None  # a page has none; type 2C, so it is there and empty
    # PS3.3 C.7.3.1: Laterality is absent for a part of the body that is not one of a pair, and empty where unknown.
    if made.judged.refused:
        capture.Laterality = None
    else:
        capture.BodyPartExamined = "ABDOMEN"
    capture.ConversionType = "WSD"  # PS3.3 C.8.6.1: made by a workstation
    capture.DateOfSecondaryCapture, capture.TimeOfSecondaryCapture = _date(made), _time(made)
    # PS3.3 C.7.6.1.1: does the picture tell who the patient is? Absent: it may. Grey values from a
    # picture file may carry a name in their corners; Hounsfield units are as the scanner made them.
    if made.patient or made.file_name:
        capture.BurnedInAnnotation = "YES"
    elif made.image.unit == "HU":
        capture.BurnedInAnnotation = "NO"
    _describe(capture, made, "Kidney CT report, picture")
    return _content(capture)


def to_structured_report(made: Report) -> bytes:
    """The report as a DICOM Comprehensive SR after TID 1500: probabilities as numbers, the rest as text."""
    from highdicom import sr
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    evidence = [_reference(_study_uid(made), _uid(made, "picture series"), SECONDARY_CAPTURE, _uid(made, "picture"))]
    source = made.patient if made.patient and made.patient.names_image else None
    if source:
        evidence.append(_reference(source.study_uid, source.series_uid, source.image_class_uid, source.image_uid))
    document = sr.ComprehensiveSR(
        evidence=evidence,
        content=_tree(made, source),
        series_instance_uid=_uid(made, "report series"),
        series_number=_SERIES_NUMBER + 1,
        sop_instance_uid=_uid(made, "report"),
        instance_number=1,
        manufacturer=SOFTWARE,
        is_complete=True,
        specific_character_set="ISO_IR 192",
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, name=f"{SOFTWARE}, own concepts")],
    )
    _describe(document, made, "Kidney CT report, structured")
    return _content(document)


def _tree(made: Report, source: PatientTags | None) -> "Dataset":
    """The content: what was measured by TID 1500, then the report's sections as texts, which the template allows."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    device = sr.DeviceObserverIdentifyingAttributes(
        uid=_uid_of(SOFTWARE, __version__), name=SOFTWARE, manufacturer_name=SOFTWARE, model_name=__version__
    )
    context = sr.ObservationContext(observer_device_context=sr.ObserverContext(codes.DCM.Device, device))
    root = sr.MeasurementReport(
        observation_context=context,
        procedure_reported=sr.CodedConcept("77477000", "SCT", "Computed tomography"),
        imaging_measurements=[_measurements(made, source)],
    )[0]
    contains = sr.RelationshipTypeValues.CONTAINS
    root.ContentSequence.append(
        sr.ImageContentItem(
            name=_own("REPORT_PICTURE", "Picture of this report"),
            referenced_sop_class_uid=SECONDARY_CAPTURE,
            referenced_sop_instance_uid=_uid(made, "picture"),
            relationship_type=contains,
        )
    )
    for name, text in _texts(made):
        root.ContentSequence.append(sr.TextContentItem(name=name, value=text, relationship_type=contains))
    return root


def _measurements(made: Report, source: PatientTags | None):
    """TID 1501: the verdict as a code, and each probability as a number; none where the model does not answer."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    checkpoint = made.checkpoint
    algorithm = sr.AlgorithmIdentification(
        name=f"{SOFTWARE}, {checkpoint.name} ({model_name(checkpoint.card['architecture'])})",
        version=__version__,
        parameters=[
            f"weights SHA-256 {checkpoint.card['weights_sha256']}",
            f"calibration temperature {checkpoint.temperature:.6g}",
        ],
        manufacturer=SOFTWARE,
    )
    word = made.judged.in_a_word
    verdict = sr.QualitativeEvaluation(
        _own("VERDICT", "Verdict"), _own(word.upper(), report_sections.lead(made).kicker)
    )
    numbers = [
        sr.Measurement(
            name=_own(f"PROBABILITY_{position}", f"Calibrated probability of {label}"),
            value=round(value, 6),
            unit=codes.UCUM.NoUnits,
        )
        for position, (label, value) in enumerate(made.findings.items(), start=1)
    ]
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=_uid(made, "measurements"), identifier="Classification"),
        algorithm_id=algorithm,
        finding_sites=[sr.FindingSite(sr.CodedConcept("64033007", "SCT", "Kidney"))],
        measurements=numbers,
        qualitative_evaluations=[verdict],
        source_images=source and [sr.SourceImageForMeasurementGroup(source.image_class_uid, source.image_uid)],
    )


def _texts(made: Report) -> list[tuple]:
    """(coded name, text): the lead, the notice, and every row of every section but the probabilities'."""
    from pydicom.sr.codedict import codes

    said = report_sections.lead(made)
    texts = [
        (codes.DCM.Conclusion, f"{said.kicker}: {said.answer}. {said.meaning}"),
        (_own("NOTICE", "Intended use"), NOTICE),
    ]
    sections: dict[str, Section | None] = {
        "WORTH": report_sections.worth(made),
        "STEP": report_sections.chain(made),
        "GRADE": report_sections.map_grades(made),
        "BY_LABEL": report_sections.figures_by_label(made),
        "CARD": report_sections.model_card(made),
        "ABOUT": report_sections.about(made),
    }
    for code, section in sections.items():
        for position, row in enumerate(section.rows if section else (), start=1):
            texts.append((_own(f"{code}_{position}", row[0] or "Limits"), _sentence(row[1:], section.columns[1:])))
        if section and section.note:
            texts.append((_own(f"{code}_NOTE", section.title), section.note))
    captions = {"IMAGE_CAPTION": report_sections.image_caption(made), "MAP_CAPTION": report_sections.map_caption(made)}
    return texts + [(_own(code, code.replace("_", " ").capitalize()), text) for code, text in captions.items()]


def _sentence(cells: tuple[str, ...], columns: tuple[str, ...]) -> str:
    if not columns:
        return " ".join(cells)
    return "; ".join(f"{column}: {cell}" for column, cell in zip(columns, cells, strict=True))


def _own(code: str, meaning: str):
    """A concept of this workbench's own scheme; PS3.3 8.8 allows 16 signs of code, 64 of meaning."""
    from highdicom.sr import CodedConcept

    return CodedConcept(code[:16], SCHEME, meaning[:_MAX_LONG_STRING])


def _describe(dataset: "Dataset", made: Report, description: str) -> None:
    """Who was scanned, of which study this is, when and by what it was made."""
    tags = made.patient or PatientTags(name="Anonymous^", patient_id=f"ANON-{made.identity[:16].upper()}", study_id="1")
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID = tags.name, tags.patient_id
    dataset.PatientBirthDate, dataset.PatientSex = tags.birth_date, tags.sex
    dataset.StudyID, dataset.AccessionNumber = tags.study_id, tags.accession_number
    dataset.StudyDate = tags.study_date if made.patient else _date(made)
    dataset.StudyTime = tags.study_time if made.patient else _time(made)
    if made.patient is None:
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = "Made without the patient's tags"
        dataset.StudyDescription = "Kidney CT report, anonymous"
    for keyword in ("Series", "InstanceCreation", "Content"):
        setattr(dataset, f"{keyword}Date", _date(made))
        setattr(dataset, f"{keyword}Time", _time(made))
    for equipment in dataset.ContributingEquipmentSequence:  # highdicom names itself, at the time of writing
        equipment.ContributionDateTime = _date(made) + _time(made)
    dataset.SeriesDescription = description
    dataset.ManufacturerModelName, dataset.SoftwareVersions = made.checkpoint.name[:_MAX_LONG_STRING], __version__


def _reference(study_uid: str, series_uid: str, class_uid: str, image_uid: str) -> "Dataset":
    """An instance that the report refers to, as highdicom wants it; the patient is written by `_describe`."""
    from pydicom import Dataset

    found = Dataset()
    found.StudyInstanceUID, found.SeriesInstanceUID = study_uid, series_uid
    found.SOPClassUID, found.SOPInstanceUID = class_uid, image_uid
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(found, keyword, "")
    for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        setattr(found, keyword, "")
    return found


def _uid_of(*words: str) -> str:
    from pydicom.uid import generate_uid

    return generate_uid(entropy_srcs=list(words))


def _uid(made: Report, what: str) -> str:
    return _uid_of(made.identity, what)


def _study_uid(made: Report) -> str:
    return (made.patient.study_uid if made.patient else "") or _uid(made, "study")


def _date(made: Report) -> str:
    return made.created.strftime("%Y%m%d")


def _time(made: Report) -> str:
    return made.created.strftime("%H%M%S")


def _content(dataset: "Dataset") -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
