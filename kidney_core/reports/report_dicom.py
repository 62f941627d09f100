"""The report of a slice as DICOM that an archive takes: a Secondary Capture of its picture, and a Structured Report."""

from kidney_core.imaging.patient_tags import PatientTags
from kidney_core.kidneys.found import mask_area_cm2
from kidney_core.reports import dicom_parts, report_picture, report_sections
from kidney_core.reports.report import Report

SCHEME = dicom_parts.SCHEME


def to_secondary_capture(report: Report) -> bytes:
    """The report's picture as a DICOM Secondary Capture; nothing is written to disk."""
    # PS3.3 C.7.6.1.1: does the picture tell who the patient is? Absent: it may. Grey values from a
    # picture file may carry a name in their corners; Hounsfield units are as the scanner made them.
    burned_in = "YES" if report.patient or report.file_name else "NO" if report.image.unit == "HU" else None
    return dicom_parts.secondary_capture(report, report_picture.draw(report), burned_in=burned_in)


def to_structured_report(report: Report) -> bytes:
    """The report as a DICOM Comprehensive SR after TID 1500: probabilities and kidneys as numbers, the rest as text."""
    sources = [report.patient] if report.patient and report.patient.identifies_image else []
    return dicom_parts.structured_report(
        report,
        [dicom_parts.classification(report, sources), *_kidneys(report, sources)],
        {
            "PERFORMANCE": report_sections.performance(report),
            "STEP": report_sections.checks(report),
            "MEASURED": report_sections.measurements(report),
            "GRADE": report_sections.map_grades(report),
            "BY_LABEL": report_sections.metrics_by_label(report),
            "CARD": report_sections.model_card(report),
            "ABOUT": report_sections.about(report),
        },
        {
            "IMAGE_CAPTION": report_sections.image_caption(report),
            "MAP_CAPTION": report_sections.map_caption(report),
        },
        sources=sources,
    )


def _kidneys(report: Report, sources: list[PatientTags]) -> list:
    """Each kidney that the finder sees and, with pixel spacing, its area on the slice."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    groups = []
    for side, mask in report.diagnosis.kidney_masks.items():
        area_cm2 = mask_area_cm2(mask, report.image)
        areas = [] if area_cm2 is None else [round(100 * area_cm2, 1)]
        measurements = [
            sr.Measurement(name=codes.SCT.Area, value=area, unit=codes.UCUM.SquareMillimeter) for area in areas
        ]
        groups.append(
            dicom_parts.kidney_group(
                report,
                side,
                measurements,
                seen="slice",
                finder_sha256=report.diagnosis.finder_sha256,
                sources=sources,
            )
        )
    return groups
