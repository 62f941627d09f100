"""The parts of a PDF report, A4, made in memory; the same report gives the same bytes."""

import io
import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache, partial
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image as Pictures
from reportlab.graphics.shapes import Drawing, Rect, String
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Image, KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from kidney_core import NOTICE, __version__
from kidney_core.common import fonts
from kidney_core.common.labels import color_of
from kidney_core.diagnosis import verdict
from kidney_core.diagnosis.outcomes import Outcome
from kidney_core.metrics.number_format import percent
from kidney_core.reports import report_sections
from kidney_core.reports.report import SOFTWARE, ReportBasis
from kidney_core.reports.report_sections import Section

_MARGIN = 16 * mm
WIDTH = A4[0] - 2 * _MARGIN
_FRAME = 6  # points that reportlab leaves free inside its frame, on each side
_INK, _MUTED, _LINE, _PALE = "#16262B", "#566570", "#CBD5DA", "#F2F6F8"
_GREEN, _AMBER, _RED = "#18794E", "#A15C00", "#B42318"
_COLORS = {
    **dict.fromkeys((verdict.PASSED, "good", Outcome.ANSWERED), _GREEN),
    **dict.fromkeys((verdict.WARNED, "fair", Outcome.UNDECIDED, Outcome.MEMORY), _AMBER),
    **dict.fromkeys((verdict.FAILED, "poor", Outcome.NO_KIDNEY, Outcome.REFUSED, Outcome.PENDING), _RED),
    verdict.UNCHECKED: _MUTED,
}
_MAX_PICTURE_PX = 1024  # 8 cm at 300 dots an inch; a file of 64 megapixels must not make a PDF of 100 MB


def text_style(
    size: float, color: str = _INK, *, bold: bool = False, above: float = 0, below: float = 0
) -> ParagraphStyle:
    return ParagraphStyle(
        f"{size}{color}{bold}",
        fontName="Helvetica-Bold" if bold else "Helvetica",
        fontSize=size,
        leading=size * 1.28,
        textColor=HexColor(color),
        spaceBefore=above,
        spaceAfter=below,
    )


BODY, STRONG, SMALL = text_style(8.5), text_style(8.5, bold=True), text_style(8, _MUTED)
HEADING = text_style(10, bold=True, above=8, below=2)


def build(report: ReportBasis, story: Sequence[Flowable]) -> bytes:
    """The parts of a report as a PDF file; nothing is written to disk."""
    buffer = io.BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=_MARGIN - _FRAME,
        rightMargin=_MARGIN - _FRAME,
        topMargin=14 * mm,
        bottomMargin=18 * mm,
        title="Kidney CT report",
        author=SOFTWARE,
        subject=NOTICE,
        creator=f"{SOFTWARE} {__version__}",
        lang="en",
        invariant=1,
    )

    document.build(list(story), canvasmaker=partial(_NumberedCanvas, report_time=report.created))
    return buffer.getvalue()


class _NumberedCanvas(Canvas):
    """A canvas that writes the notice and “page of pages” under every page, when their number is known."""

    def __init__(self, *arguments: Any, report_time: datetime, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pages: list[dict] = []
        stamp = report_time.strftime("D:%Y%m%d%H%M%S%z")
        self.setDateFormatter(lambda *_: f"{stamp[:-2]}'{stamp[-2:]}'")  # the report's time, not that of drawing
        self.setViewerPreference("DisplayDocTitle", "true")

    def showPage(self) -> None:  # noqa: N802 -- reportlab's name
        self._pages.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        for number, page in enumerate(self._pages, start=1):
            self.__dict__.update(page)
            self._footer(number, len(self._pages))
            super().showPage()
        super().save()

    def _footer(self, number: int, n_pages: int) -> None:
        self.setStrokeColor(HexColor(_LINE))
        self.line(_MARGIN, 14 * mm, A4[0] - _MARGIN, 14 * mm)
        self.setFont("Helvetica-Bold", 8)
        self.setFillColor(HexColor(_INK))
        self.drawString(_MARGIN, 10 * mm, NOTICE)
        self.setFont("Helvetica", 8)
        self.drawRightString(A4[0] - _MARGIN, 10 * mm, f"Page {number} of {n_pages}")


def opening(report: ReportBasis) -> list[Flowable]:
    """How every report begins: title, the patient where that was ticked, the result."""
    parts: list[Flowable] = [header(report), Spacer(0, 6)]
    patient = report_sections.patient(report)
    if patient:
        parts += [patient_line(patient), Spacer(0, 5)]
    return [*parts, result_box(report)]


def closing(report: ReportBasis) -> list[Flowable]:
    """How every report ends: the model card, and the report itself."""
    card, about = report_sections.model_card(report), report_sections.about(report)
    return [*section_parts(card, (0.2, 0.8), strong=0), *section_parts(about, (0.2, 0.8), strong=0)]


def header(report: ReportBasis) -> Flowable:
    right = ParagraphStyle("right", parent=SMALL, alignment=2)
    cells = [
        [
            paragraph("Kidney CT report", text_style(15, bold=True)),
            paragraph(f"{SOFTWARE} {__version__}\n{report.time}", right),
        ]
    ]
    rule = ("LINEBELOW", (0, 0), (-1, -1), 0.8, HexColor(_INK))
    return plain_table(
        cells, (0.5, 0.5), [rule, ("VALIGN", (0, 0), (-1, -1), "BOTTOM"), ("BOTTOMPADDING", (0, 0), (-1, -1), 4)]
    )


def patient_line(section: Section) -> Flowable:
    cells = [
        [paragraph(name, SMALL) for name, _ in section.rows],
        [paragraph(value, STRONG) for _, value in section.rows],
    ]
    return plain_table(cells, (0.26, 0.18, 0.14, 0.08, 0.14, 0.2))


def result_box(report: ReportBasis) -> Flowable:
    lead, color = report_sections.lead(report), _COLORS[report.verdict.outcome]
    cells = [
        [paragraph(lead.kicker, text_style(9.5, color, bold=True))],
        [paragraph(lead.result, text_style(20, bold=True))],
        [paragraph(lead.meaning, text_style(9))],
    ]
    marks = [
        ("BACKGROUND", (0, 0), (-1, -1), HexColor(_PALE)),
        ("LINEBEFORE", (0, 0), (0, -1), 4, HexColor(color), "butt"),
        ("LEFTPADDING", (0, 0), (-1, -1), 12),
        ("TOPPADDING", (0, 0), (0, 0), 7),
        ("BOTTOMPADDING", (0, -1), (-1, -1), 8),
    ]
    return plain_table(cells, (1.0,), marks)


def section_parts(section: Section, shares: Sequence[float], *, strong: int) -> list[Flowable]:
    """A heading with its table; the cells of column `strong` are bold, and outcomes have their colour."""
    rows = []
    for row in section.rows:
        rows.append([paragraph(cell, _cell_style(cell, column == strong)) for column, cell in enumerate(row)])
    marks = [("LINEBELOW", (0, 0), (-1, -1), 0.4, HexColor(_LINE))]
    if section.columns:
        rows.insert(0, [paragraph(title, SMALL) for title in section.columns])
    parts: list[Flowable] = [paragraph(section.title, HEADING), plain_table(rows, shares, marks)]
    if section.note:
        parts.append(paragraph(section.note, text_style(8.5, above=3)))
    return [KeepTogether(parts)]


def _cell_style(cell: str, strong: bool) -> ParagraphStyle:
    if cell in _COLORS:
        return text_style(8.5, _COLORS[cell], bold=True)
    return STRONG if strong else BODY


def probability_bars(report: ReportBasis) -> Flowable:
    """Horizontal bars, one a label in its fixed colour, with the number written at each."""
    row, left, room = 14, 70, WIDTH - 70 - 50
    labels = list(report.findings)
    drawing = Drawing(WIDTH, row * len(labels))
    for position, label in enumerate(labels):
        base, value = row * (len(labels) - 1 - position), report.findings[label]
        drawing.add(Rect(left, base + 3, room, 8, fillColor=HexColor(_PALE), strokeColor=None))
        color = HexColor(color_of(label, tuple(labels)))
        drawing.add(Rect(left, base + 3, max(room * value, 0.5), 8, fillColor=color, strokeColor=None))
        for x, text, anchor in ((0, label[:16], "start"), (WIDTH, percent(value), "end")):
            bold = "-Bold" if label == report.label else ""
            font = f"Helvetica{bold}" if _is_plain(text) else _wide_font()
            drawing.add(
                String(x, base + 4, text, fontName=font, fontSize=8.5, fillColor=HexColor(_INK), textAnchor=anchor)
            )
    return drawing


def fitted_picture(pixels: np.ndarray, width: float, height: float) -> Flowable:
    picture = Pictures.fromarray(pixels)
    picture.thumbnail((_MAX_PICTURE_PX, _MAX_PICTURE_PX))
    scale = min(width / picture.width, height / picture.height)
    return Image(_png(picture), picture.width * scale, picture.height * scale, hAlign="LEFT")


def _png(picture: Pictures.Image) -> io.BytesIO:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    buffer.seek(0)
    return buffer


def plain_table(rows: list, shares: Sequence[float], marks: Sequence[tuple] = ()) -> Table:
    base = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("RIGHTPADDING", (0, 0), (-1, -1), 6),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
    ]
    return Table(rows, [share * WIDTH for share in shares], style=TableStyle([*base, *marks]), hAlign="LEFT")


def paragraph(text: str, style: ParagraphStyle) -> Paragraph:
    """A paragraph; what Helvetica's code page lacks is set in DejaVu Sans."""
    marked = re.sub(
        r"[^\x00-\x7f]+",
        lambda found: escape(found[0]) if _is_plain(found[0]) else f'<font name="{_wide_font()}">{found[0]}</font>',
        escape(text),
    )
    return Paragraph(marked.replace("\n", "<br/>"), style)


def _is_plain(text: str) -> bool:
    """True where Helvetica has every sign: the PDF's WinAnsiEncoding is code page 1252."""
    try:
        text.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True


@cache
def _wide_font() -> str:
    pdfmetrics.registerFont(TTFont("DejaVuSans", str(fonts.font_path())))
    return "DejaVuSans"
