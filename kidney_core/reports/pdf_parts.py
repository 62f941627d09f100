"""A report as PDF: A4, one or two pages, made in memory; the same report gives the same bytes."""

import io
import re
from collections.abc import Sequence
from functools import cache
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

from kidney_core import __version__, fonts, report_sections
from kidney_core.figures import percent
from kidney_core.labels import color_of
from kidney_core.report import NOTICE, SOFTWARE, Report
from kidney_core.report_sections import Section

_MARGIN = 16 * mm
_WIDTH = A4[0] - 2 * _MARGIN
_FRAME = 6  # points that reportlab leaves free inside its frame, on each side
_INK, _MUTED, _LINE, _PALE = "#16262B", "#566570", "#CBD5DA", "#F2F6F8"
_GREEN, _AMBER, _RED = "#18794E", "#A15C00", "#B42318"
_COLORS = {
    **dict.fromkeys(("passed", "good", "answered"), _GREEN),
    **dict.fromkeys(("warned", "fair", "undecided", "memory"), _AMBER),
    **dict.fromkeys(("refused", "poor"), _RED),
    "unchecked": _MUTED,
}
_MAX_PICTURE_PX = 1024  # 8 cm at 300 dots an inch; a file of 64 megapixels must not make a PDF of 100 MB


def _style(size: float, color: str = _INK, *, bold: bool = False, above: float = 0, below: float = 0) -> ParagraphStyle:
    return ParagraphStyle(
        f"{size}{color}{bold}",
        fontName="Helvetica-Bold" if bold else "Helvetica",
        fontSize=size,
        leading=size * 1.28,
        textColor=HexColor(color),
        spaceBefore=above,
        spaceAfter=below,
    )


_BODY, _STRONG, _SMALL = _style(8.5), _style(8.5, bold=True), _style(8, _MUTED)
_HEADING = _style(10, bold=True, above=8, below=2)


def to_pdf(made: Report) -> bytes:
    """The report as a PDF file; nothing is written to disk."""
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

    class Numbered(_NumberedCanvas):
        report_time = made.created

    document.build(_story(made), canvasmaker=Numbered)
    return buffer.getvalue()


class _NumberedCanvas(Canvas):
    """A canvas that writes the notice and “page of pages” under every page, when their number is known."""

    report_time = None

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self._pages: list[dict] = []
        stamp = self.report_time.strftime("D:%Y%m%d%H%M%S%z")
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


def _story(made: Report) -> list[Flowable]:
    parts: list[Flowable] = [_header(made), Spacer(0, 6)]
    patient = report_sections.patient(made)
    if patient:
        parts += [_patient_line(patient), Spacer(0, 5)]
    parts += [_lead(made), *_section(report_sections.worth(made), (0.27, 0.11, 0.62), strong=1)]
    parts += _section(report_sections.chain(made), (0.32, 0.11, 0.57), strong=0)
    probabilities = report_sections.probabilities(made)
    if probabilities:
        parts.append(KeepTogether([_text(probabilities.title, _HEADING), _bars(made)]))
    parts += [_pictures(made)]
    grades = report_sections.map_grades(made)
    if grades:
        parts += _section(grades, (0.2, 0.1, 0.1, 0.6), strong=0)
    by_label = report_sections.figures_by_label(made)
    if by_label:
        n = len(by_label.columns) - 1
        parts += _section(by_label, (0.16, *(0.84 / n,) * n), strong=0)
    parts += _section(report_sections.model_card(made), (0.2, 0.8), strong=0)
    parts += _section(report_sections.about(made), (0.2, 0.8), strong=0)
    return parts


def _header(made: Report) -> Flowable:
    right = ParagraphStyle("right", parent=_SMALL, alignment=2)
    cells = [[_text("Kidney CT report", _style(15, bold=True)), _text(f"{SOFTWARE} {__version__}\n{made.time}", right)]]
    rule = ("LINEBELOW", (0, 0), (-1, -1), 0.8, HexColor(_INK))
    return _table(
        cells, (0.5, 0.5), [rule, ("VALIGN", (0, 0), (-1, -1), "BOTTOM"), ("BOTTOMPADDING", (0, 0), (-1, -1), 4)]
    )


def _patient_line(section: Section) -> Flowable:
    cells = [[_text(name, _SMALL) for name, _ in section.rows], [_text(value, _STRONG) for _, value in section.rows]]
    return _table(cells, (0.26, 0.18, 0.14, 0.08, 0.14, 0.2))


def _lead(made: Report) -> Flowable:
    said, color = report_sections.lead(made), _COLORS[made.judged.in_a_word]
    cells = [
        [_text(said.kicker, _style(9.5, color, bold=True))],
        [_text(said.answer, _style(20, bold=True))],
        [_text(said.meaning, _style(9))],
    ]
    marks = [
        ("BACKGROUND", (0, 0), (-1, -1), HexColor(_PALE)),
        ("LINEBEFORE", (0, 0), (0, -1), 4, HexColor(color), "butt"),
        ("LEFTPADDING", (0, 0), (-1, -1), 12),
        ("TOPPADDING", (0, 0), (0, 0), 7),
        ("BOTTOMPADDING", (0, -1), (-1, -1), 8),
    ]
    return _table(cells, (1.0,), marks)


def _section(section: Section, shares: Sequence[float], *, strong: int) -> list[Flowable]:
    """A heading with its table; the cells of column `strong` are bold, and outcomes have their colour."""
    rows = []
    for row in section.rows:
        rows.append([_text(cell, _cell_style(cell, column == strong)) for column, cell in enumerate(row)])
    marks = [("LINEBELOW", (0, 0), (-1, -1), 0.4, HexColor(_LINE))]
    if section.columns:
        rows.insert(0, [_text(title, _SMALL) for title in section.columns])
    parts: list[Flowable] = [_text(section.title, _HEADING), _table(rows, shares, marks)]
    if section.note:
        parts.append(_text(section.note, _style(8.5, above=3)))
    return [KeepTogether(parts)]


def _cell_style(cell: str, strong: bool) -> ParagraphStyle:
    if cell in _COLORS:
        return _style(8.5, _COLORS[cell], bold=True)
    return _STRONG if strong else _BODY


def _bars(made: Report) -> Flowable:
    """Horizontal bars, one a label in its fixed colour, with the number written at each."""
    row, left, room = 14, 70, _WIDTH - 70 - 50
    labels = list(made.findings)
    drawing = Drawing(_WIDTH, row * len(labels))
    for position, label in enumerate(labels):
        base, value = row * (len(labels) - 1 - position), made.findings[label]
        drawing.add(Rect(left, base + 3, room, 8, fillColor=HexColor(_PALE), strokeColor=None))
        color = HexColor(color_of(label, tuple(labels)))
        drawing.add(Rect(left, base + 3, max(room * value, 0.5), 8, fillColor=color, strokeColor=None))
        for x, text, anchor in ((0, label[:16], "start"), (_WIDTH, percent(value), "end")):
            bold = "-Bold" if label == made.answer.predicted_label else ""
            font = f"Helvetica{bold}" if _is_plain(text) else _wide_font()
            drawing.add(
                String(x, base + 4, text, fontName=font, fontSize=8.5, fillColor=HexColor(_INK), textAnchor=anchor)
            )
    return drawing


def _pictures(made: Report) -> Flowable:
    """The image and its overlay side by side, each with what it shows."""
    overlay, width, height = made.overlay, _WIDTH / 2 - 6, 68 * mm
    picture = _picture(made.picture, width, height)
    captions = [_text(report_sections.image_caption(made), _SMALL), _text(report_sections.map_caption(made), _SMALL)]
    if overlay is None:
        return KeepTogether([_text("Image", _HEADING), _table([[picture, captions]], (0.5, 0.5))])
    cells = [[picture, _picture(overlay, width, height)], captions]
    return KeepTogether([_text("Image and evidence", _HEADING), _table(cells, (0.5, 0.5))])


def _picture(pixels: np.ndarray, width: float, height: float) -> Flowable:
    picture = Pictures.fromarray(pixels)
    picture.thumbnail((_MAX_PICTURE_PX, _MAX_PICTURE_PX))
    scale = min(width / picture.width, height / picture.height)
    return Image(_png(picture), picture.width * scale, picture.height * scale, hAlign="LEFT")


def _png(picture: Pictures.Image) -> io.BytesIO:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    buffer.seek(0)
    return buffer


def _table(rows: list, shares: Sequence[float], marks: Sequence[tuple] = ()) -> Table:
    base = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("RIGHTPADDING", (0, 0), (-1, -1), 6),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
    ]
    return Table(rows, [share * _WIDTH for share in shares], style=TableStyle([*base, *marks]), hAlign="LEFT")


def _text(text: str, style: ParagraphStyle) -> Paragraph:
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
    pdfmetrics.registerFont(TTFont("DejaVuSans", str(fonts.path_of())))
    return "DejaVuSans"
