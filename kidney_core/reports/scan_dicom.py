"""The report of a scan as DICOM: a Secondary Capture of the slices that carry the label, and a Structured Report."""

from kidney_core.diagnosis.stack_verdict import KidneyVerdict
from kidney_core.imaging.patient_tags import PatientTags
from kidney_core.kidneys.stack_kidneys import KidneyAlongStack
from kidney_core.reports import dicom_parts, report_sections, scan_picture, scan_sections
from kidney_core.reports.scan_report import ScanReport


def to_secondary_capture(report: ScanReport) -> bytes:
    """The report's picture as a DICOM Secondary Capture; nothing is written to disk."""
    burned_in = "YES" if report.patient or report.file_name else "NO" if report.unit == "HU" else None
    return dicom_parts.secondary_capture(report, scan_picture.draw(report), burned_in=burned_in)


def to_structured_report(report: ScanReport) -> bytes:
    """The report as a DICOM Comprehensive SR after TID 1500: probabilities and kidneys as numbers, the rest as text."""
    sources = [each.tags for each in report.driving if each.tags and each.tags.identifies_image]
    verdicts = {each.side: each for each in report.verdict.by_kidney}
    groups = [dicom_parts.classification(report, sources, probability_of="Mean calibrated probability of")]
    for kidney in report.kidneys.kidneys if report.kidneys else ():
        groups.append(
            dicom_parts.kidney_group(
                report,
                kidney.side,
                _measurements(kidney, verdicts.get(kidney.side)),
                seen="scan",
                finder_sha256=report.finder_sha256,
                sources=_sources_of(kidney, report),
            )
        )
    return dicom_parts.structured_report(
        report,
        groups,
        {
            "KIDNEYS": scan_sections.kidneys(report),
            "PEAK": scan_sections.peaks(report),
            "STEP": report_sections.checks(report),
            "PERFORMANCE": scan_sections.scan_performance(report),
            "CARD": report_sections.model_card(report),
            "ABOUT": report_sections.about(report),
        },
        {"PICTURES_CAPTION": scan_sections.pictures_caption(report)} if report.driving else {},
        sources=sources,
    )


def _sources_of(kidney: KidneyAlongStack, report: ScanReport) -> list[PatientTags]:
    """The driving slices that show this kidney."""
    return [
        each.tags
        for each in report.driving
        if each.tags and each.tags.identifies_image and kidney.areas_mm2[each.index] > 0
    ]


def _measurements(kidney: KidneyAlongStack, verdict: KidneyVerdict | None) -> list:
    """The range of a kidney in slices, its length and volume where spacings are known, and its label's probability."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    own, none = dicom_parts.own, codes.UCUM.NoUnits
    found = [
        sr.Measurement(name=own("FIRST_SLICE", "First slice, from 1"), value=kidney.first + 1, unit=none),
        sr.Measurement(name=own("LAST_SLICE", "Last slice"), value=kidney.last + 1, unit=none),
    ]
    if kidney.length_mm:
        found.append(
            sr.Measurement(name=codes.SCT.Length, value=round(kidney.length_mm, 1), unit=codes.UCUM.Millimeter)
        )
    if kidney.volume_ml:
        found.append(
            sr.Measurement(name=codes.SCT.Volume, value=round(kidney.volume_ml, 1), unit=codes.UCUM.CubicCentimeter)
        )
    if verdict:
        name = own("LABEL_OF_KIDNEY", f"Calibrated probability of {verdict.label}")
        found.append(sr.Measurement(name=name, value=round(verdict.probability, 6), unit=none))
    return found
