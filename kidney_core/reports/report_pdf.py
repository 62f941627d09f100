"""The report of a slice as PDF: one or two pages."""

from reportlab.lib.units import mm
from reportlab.platypus import Flowable, KeepTogether

from kidney_core.reports import pdf_parts, report_sections
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
from kidney_core.reports.report import Report


def to_pdf(report: Report) -> bytes:
    """The report as a PDF file; nothing is written to disk."""
    return pdf_parts.build(report, _story(report))


def _story(report: Report) -> list[Flowable]:
    parts = opening(report)
    parts += section_parts(report_sections.performance(report), (0.27, 0.11, 0.62), strong=1)
    parts += section_parts(report_sections.checks(report), (0.32, 0.11, 0.57), strong=0)
    probabilities = report_sections.probabilities(report)
    if probabilities:
        parts.append(KeepTogether([paragraph(probabilities.title, HEADING), probability_bars(report)]))
    parts += [_pictures(report)]
    measured = report_sections.measurements(report)
    if measured:
        parts += section_parts(measured, (0.3, 0.7), strong=0)
    grades = report_sections.map_grades(report)
    if grades:
        parts += section_parts(grades, (0.2, 0.1, 0.1, 0.6), strong=0)
    by_label = report_sections.metrics_by_label(report)
    if by_label:
        n = len(by_label.columns) - 1
        parts += section_parts(by_label, (0.16, *(0.84 / n,) * n), strong=0)
    return [*parts, *closing(report)]


def _pictures(report: Report) -> Flowable:
    """The image and its overlay side by side, each with what it shows."""
    overlay, width, height = report.overlay, WIDTH / 2 - 6, 68 * mm
    image = fitted_picture(report.picture, width, height)
    captions = [
        paragraph(report_sections.image_caption(report), SMALL),
        paragraph(report_sections.map_caption(report), SMALL),
    ]
    if overlay is None:
        return KeepTogether([paragraph("Image", HEADING), plain_table([[image, captions]], (0.5, 0.5))])
    cells = [[image, fitted_picture(overlay, width, height)], captions]
    return KeepTogether([paragraph("Image and heatmap", HEADING), plain_table(cells, (0.5, 0.5))])
