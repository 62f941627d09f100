"""The report of a scan as PDF: two pages."""

from reportlab.lib.units import mm
from reportlab.platypus import Flowable, KeepTogether

from kidney_core.reports import pdf_parts, report_sections, scan_sections
from kidney_core.reports.pdf_parts import (
    HEADING,
    SMALL,
    WIDTH,
    closing,
    fitted_picture,
    opening,
    paragraph,
    plain_table,
    probability_bars,
    section_parts,
)
from kidney_core.reports.scan_report import ScanReport

_PER_ROW = 3


def to_pdf(report: ScanReport) -> bytes:
    """The report as a PDF file; nothing is written to disk."""
    return pdf_parts.build(report, _story(report))


def _story(report: ScanReport) -> list[Flowable]:
    parts = opening(report)
    kidneys = scan_sections.kidneys(report)
    if kidneys:
        n = len(kidneys.columns)
        parts += section_parts(kidneys, (0.16, *(0.84 / (n - 1),) * (n - 1)), strong=0)
    parts += section_parts(report_sections.checks(report), (0.32, 0.11, 0.57), strong=0)
    if report.findings:
        parts.append(KeepTogether([paragraph("Mean calibrated probabilities", HEADING), probability_bars(report)]))
    if report.driving:
        parts.append(_pictures(report))
    peaks = scan_sections.peaks(report)
    if peaks:
        parts += section_parts(peaks, (0.25, 0.15, 0.2, 0.4), strong=0)
    parts += section_parts(scan_sections.scan_performance(report), (0.27, 0.11, 0.62), strong=1)
    return [*parts, *closing(report)]


def _pictures(report: ScanReport) -> Flowable:
    """The slices that carry the label, three in a row, each with its number and probability."""
    width, height = WIDTH / _PER_ROW - 6, 39 * mm
    cells: list[list[Flowable] | str] = [
        [
            fitted_picture(each.picture, width, height),
            paragraph(scan_sections.driving_caption(report, position), SMALL),
        ]
        for position, each in enumerate(report.driving)
    ]
    rows = [cells[start : start + _PER_ROW] for start in range(0, len(cells), _PER_ROW)]
    rows = [row + [""] * (_PER_ROW - len(row)) for row in rows]
    caption = paragraph(scan_sections.pictures_caption(report), SMALL)
    title = paragraph("Slices that carry the label", HEADING)
    return KeepTogether([title, plain_table(rows, (1 / _PER_ROW,) * _PER_ROW), caption])
