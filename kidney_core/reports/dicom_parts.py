"""The parts of a report in DICOM, which an archive takes: a Secondary Capture, and a Structured Report.

Both objects of one report are of one study, and the second refers to the first. Without the patient's
tags the study is new, the name is "Anonymous" and the ID random. Sources: PS3.3 A.8.1 (Secondary Capture
Image), A.35.3 (Comprehensive SR); PS3.16 TID 1500 (Measurement Report), TID 4019 (Algorithm Identification).
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kidney_core import NOTICE, __version__
from kidney_core.imaging.patient_tags import PatientTags
from kidney_core.kidneys.found import LEFT, RIGHT
from kidney_core.metrics.number_format import model_name
from kidney_core.reports import report_sections
from kidney_core.reports.report import SOFTWARE, ReportBasis
from kidney_core.reports.report_sections import Section

if TYPE_CHECKING:
    from highdicom.sr import (
        CodedConcept,
        FindingSite,
        Measurement,
        MeasurementsAndQualitativeEvaluations,
        SourceImageForMeasurementGroup,
    )
    from pydicom import Dataset
    from pydicom.sr.coding import Code

SCHEME = "99KIDNEYCT"  # PS3.3 8.2: private coding schemes begin with 99
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SERIES_NUMBER = 9001  # beyond those that scanners give
_MAX_LONG_STRING = 64  # PS3.5 6.2, LO


def secondary_capture(report: ReportBasis, pixels: np.ndarray, *, burned_in: str | None) -> bytes:
    """A report's picture, (H, W, 3) uint8, as a DICOM Secondary Capture; nothing is written to disk.

    Args:
        burned_in: whether the picture tells who the patient is, "YES" or "NO"; None where it may.
    """
    from highdicom import sc

    capture = sc.SCImage(
        pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),  # highdicom asks for one; it is taken away below
        study_instance_uid=study_uid(report),
        series_instance_uid=uid(report, "picture series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=uid(report, "picture"),
        instance_number=1,
        manufacturer=SOFTWARE,
    )
    capture.add_new("PatientOrientation", "CS", None)  # a page has none; type 2C, so it is there and empty
    # PS3.3 C.7.3.1: Laterality is absent for a part of the body that is not one of a pair, and empty where unknown.
    if report.has_prediction:
        capture.BodyPartExamined = "ABDOMEN"
    else:
        capture.add_new("Laterality", "CS", None)
    capture.ConversionType = "WSD"  # PS3.3 C.8.6.1: made by a workstation
    capture.add_new("DateOfSecondaryCapture", "DA", date(report))
    capture.add_new("TimeOfSecondaryCapture", "TM", time(report))
    if burned_in:
        capture.BurnedInAnnotation = burned_in
    describe(capture, report, "Kidney CT report, picture")
    return content(capture)


def structured_report(
    report: ReportBasis,
    groups: "list[MeasurementsAndQualitativeEvaluations]",
    sections: dict[str, Section | None],
    captions: dict[str, str],
    *,
    sources: Sequence[PatientTags],
) -> bytes:
    """A DICOM Comprehensive SR after TID 1500: what was measured, then the report's sections as texts, which it allows.

    Args:
        groups: of measurements, TID 1501.
        sections: code -> section, whose rows become texts.
        captions: code -> text.
        sources: the images that were read, where the report may name them.
    """
    from highdicom import sr
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    evidence = [reference(study_uid(report), uid(report, "picture series"), SECONDARY_CAPTURE, uid(report, "picture"))]
    evidence += [reference(each.study_uid, each.series_uid, each.image_class_uid, each.image_uid) for each in sources]
    document = sr.ComprehensiveSR(
        evidence=evidence,
        content=_tree(report, groups, texts(report, sections, captions)),
        series_instance_uid=uid(report, "report series"),
        series_number=SERIES_NUMBER + 1,
        sop_instance_uid=uid(report, "report"),
        instance_number=1,
        manufacturer=SOFTWARE,
        is_complete=True,
        specific_character_set="ISO_IR 192",
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, name=f"{SOFTWARE}, own concepts")],
    )
    describe(document, report, "Kidney CT report, structured")
    return content(document)


def _tree(
    report: ReportBasis,
    groups: "list[MeasurementsAndQualitativeEvaluations]",
    named_texts: "list[tuple[CodedConcept | Code, str]]",
) -> "Dataset":
    from highdicom import sr
    from pydicom.sr.codedict import codes

    device = sr.DeviceObserverIdentifyingAttributes(
        uid=uid_of(SOFTWARE, __version__), name=SOFTWARE, manufacturer_name=SOFTWARE, model_name=__version__
    )
    context = sr.ObservationContext(observer_device_context=sr.ObserverContext(codes.DCM.Device, device))
    root = sr.MeasurementReport(
        observation_context=context,
        procedure_reported=sr.CodedConcept("77477000", "SCT", "Computed tomography"),
        imaging_measurements=groups,
    )[0]
    contains = sr.RelationshipTypeValues.CONTAINS
    root.ContentSequence.append(
        sr.ImageContentItem(
            name=own("REPORT_PICTURE", "Picture of this report"),
            referenced_sop_class_uid=SECONDARY_CAPTURE,
            referenced_sop_instance_uid=uid(report, "picture"),
            relationship_type=contains,
        )
    )
    for name, text in named_texts:
        root.ContentSequence.append(sr.TextContentItem(name=name, value=text, relationship_type=contains))
    return root


def classification(
    report: ReportBasis, sources: Sequence[PatientTags], *, probability_of: str = "Calibrated probability of"
) -> "MeasurementsAndQualitativeEvaluations":
    """TID 1501: the verdict as a code, and each probability as a number; none where the model gives no label."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    checkpoint = report.checkpoint
    algorithm = sr.AlgorithmIdentification(
        name=f"{SOFTWARE}, {checkpoint.name} ({model_name(checkpoint.card['architecture'])})",
        version=__version__,
        parameters=[
            f"weights SHA-256 {checkpoint.card['weights_sha256']}",
            f"calibration temperature {checkpoint.temperature:.6g}",
        ],
        manufacturer=SOFTWARE,
    )
    word = report.verdict.outcome
    verdict = sr.QualitativeEvaluation(
        own("VERDICT", "Verdict"), own(word.upper(), report_sections.lead(report).kicker)
    )
    numbers = [
        sr.Measurement(
            name=own(f"PROBABILITY_{position}", f"{probability_of} {label}"),
            value=round(value, 6),
            unit=codes.UCUM.NoUnits,
        )
        for position, (label, value) in enumerate(report.findings.items(), start=1)
    ]
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=uid(report, "measurements"), identifier="Classification"),
        algorithm_id=algorithm,
        finding_sites=[kidney_site()],
        measurements=numbers,
        qualitative_evaluations=[verdict],
        source_images=_source_images(sources),
    )


def kidney_group(
    report: ReportBasis,
    side: str,
    measurements: "list[Measurement]",
    *,
    seen: str,
    finder_sha256: str,
    sources: Sequence[PatientTags],
) -> "MeasurementsAndQualitativeEvaluations":
    """TID 1501: a kidney that the finder sees, with its side and what was measured of it.

    Args:
        side: "right", "left" or "side unknown".
        seen: what the report is of, "slice" or "scan".
    """
    from highdicom import sr

    algorithm = sr.AlgorithmIdentification(
        name=f"{SOFTWARE}, kidney finder",
        version=__version__,
        parameters=[f"weights SHA-256 {finder_sha256}"],
        manufacturer=SOFTWARE,
    )
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=uid(report, f"kidney {side}"), identifier=f"Kidney, {side}"),
        algorithm_id=algorithm,
        finding_sites=[kidney_site(side)],
        measurements=measurements,
        qualitative_evaluations=[
            sr.QualitativeEvaluation(own("KIDNEY", f"Kidney on the {seen}"), own("VISIBLE", "Visible"))
        ],
        source_images=_source_images(sources),
    )


def kidney_site(side: str = "") -> "FindingSite":
    """The kidney as a finding site, with its laterality where the side is known."""
    from highdicom import sr

    lateralities = {
        RIGHT: sr.CodedConcept("24028007", "SCT", "Right"),
        LEFT: sr.CodedConcept("7771000", "SCT", "Left"),
    }
    return sr.FindingSite(sr.CodedConcept("64033007", "SCT", "Kidney"), laterality=lateralities.get(side))


def _source_images(sources: Sequence[PatientTags]) -> "list[SourceImageForMeasurementGroup] | None":
    from highdicom import sr

    return [sr.SourceImageForMeasurementGroup(each.image_class_uid, each.image_uid) for each in sources] or None


def texts(
    report: ReportBasis, sections: dict[str, Section | None], captions: dict[str, str]
) -> list[tuple["CodedConcept | Code", str]]:
    """(coded name, text): the lead, the notice, and every row of every section."""
    from pydicom.sr.codedict import codes

    lead = report_sections.lead(report)
    named = [
        (codes.DCM.Conclusion, f"{lead.kicker}: {lead.result}. {lead.meaning}"),
        (own("NOTICE", "Intended use"), NOTICE),
    ]
    for code, section in sections.items():
        if section is None:
            continue
        for position, row in enumerate(section.rows, start=1):
            named.append((own(f"{code}_{position}", row[0] or "Limits"), _sentence(row[1:], section.columns[1:])))
        if section.note:
            named.append((own(f"{code}_NOTE", section.title), section.note))
    return named + [(own(code, code.replace("_", " ").capitalize()), text) for code, text in captions.items()]


def _sentence(cells: tuple[str, ...], columns: tuple[str, ...]) -> str:
    if not columns:
        return " ".join(cells)
    return "; ".join(f"{column}: {cell}" for column, cell in zip(columns, cells, strict=True))


def own(code: str, meaning: str) -> "CodedConcept":
    """A concept of this workbench's own scheme; PS3.3 8.8 allows 16 signs of code, 64 of meaning."""
    from highdicom.sr import CodedConcept

    return CodedConcept(code[:16], SCHEME, meaning[:_MAX_LONG_STRING])


def describe(dataset: "Dataset", report: ReportBasis, description: str) -> None:
    """Who was scanned, of which study this is, when and with which software it was made."""
    tags = report.patient or PatientTags(
        name="Anonymous^", patient_id=f"ANON-{report.identity[:16].upper()}", study_id="1"
    )
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID = tags.name, tags.patient_id
    dataset.PatientBirthDate, dataset.PatientSex = tags.birth_date, tags.sex
    dataset.StudyID, dataset.AccessionNumber = tags.study_id, tags.accession_number
    dataset.StudyDate = tags.study_date if report.patient else date(report)
    dataset.StudyTime = tags.study_time if report.patient else time(report)
    if report.patient is None:
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = "Made without the patient's tags"
        dataset.StudyDescription = "Kidney CT report, anonymous"
    for keyword in ("Series", "InstanceCreation", "Content"):
        setattr(dataset, f"{keyword}Date", date(report))
        setattr(dataset, f"{keyword}Time", time(report))
    for equipment in dataset.ContributingEquipmentSequence:  # highdicom names itself, at the time of writing
        equipment.ContributionDateTime = date(report) + time(report)
    dataset.SeriesDescription = description
    dataset.ManufacturerModelName, dataset.SoftwareVersions = report.checkpoint.name[:_MAX_LONG_STRING], __version__


def reference(study_uid: str, series_uid: str, class_uid: str, image_uid: str) -> "Dataset":
    """An instance that the report refers to, as highdicom wants it; the patient is written by `_describe`."""
    from pydicom import Dataset

    instance = Dataset()
    instance.StudyInstanceUID, instance.SeriesInstanceUID = study_uid, series_uid
    instance.SOPClassUID, instance.SOPInstanceUID = class_uid, image_uid
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(instance, keyword, "")
    for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        setattr(instance, keyword, "")
    return instance


def uid_of(*words: str) -> str:
    from pydicom.uid import generate_uid

    return generate_uid(entropy_srcs=list(words))


def uid(report: ReportBasis, what: str) -> str:
    return uid_of(report.identity, what)


def study_uid(report: ReportBasis) -> str:
    return (report.patient.study_uid if report.patient else "") or uid(report, "study")


def date(report: ReportBasis) -> str:
    return report.created.strftime("%Y%m%d")


def time(report: ReportBasis) -> str:
    return report.created.strftime("%H%M%S")


def content(dataset: "Dataset") -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
