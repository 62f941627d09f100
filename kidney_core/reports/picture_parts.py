"""The parts of a report that is one picture."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kidney_core import NOTICE, __version__
from kidney_core.common import fonts
from kidney_core.common.labels import color_of
from kidney_core.diagnosis.outcomes import Outcome
from kidney_core.reports import report_sections
from kidney_core.reports.report import SOFTWARE, ReportBasis
from kidney_core.reports.report_sections import Section

WIDTH_PX, HEIGHT_PX = 1280, 1200
EDGE, GAP = 40, 24
PANEL = (WIDTH_PX - 2 * EDGE - GAP) // 2
PANEL_TOP, PANEL_PX = 236, 500  # where image and overlay begin, and how high they are at most
PANEL_LEFTS = (EDGE, EDGE + PANEL + GAP)
# Light on black, as on the screens where it will be read.
INK, MUTED, _RAIL = "#F2F5F7", "#A9B6BF", "#26323A"
_COLORS = {
    Outcome.ANSWERED: "#5BD39A",
    Outcome.UNDECIDED: "#F5B951",
    Outcome.MEMORY: "#F5B951",
    Outcome.NO_KIDNEY: "#FF8A80",
    Outcome.REFUSED: "#FF8A80",
    Outcome.PENDING: "#FF8A80",
}


class Page:
    """Text on a drawing, broken into lines that fit."""

    def __init__(self, drawing: ImageDraw.ImageDraw) -> None:
        self.drawing = drawing

    def write(
        self, text: str, x: int, y: int, width: int, *, size: int, color: str = INK, bold: bool = False, lines: int = 9
    ) -> int:
        """Write at most so many lines, the last one cut with dots; the y below them."""
        font = ImageFont.truetype(str(fonts.font_path(bold=bold)), size)
        broken = _broken(text, font, width)
        if len(broken) > lines:
            broken = [*broken[: lines - 1], broken[lines - 1] + " …"]
        for line in broken:
            self.drawing.text((x, y), line, font=font, fill=color)
            y += round(size * 1.36)
        return y


def _broken(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """The text in lines of at most `width` pixels; a word that is longer is cut."""
    lines = [""]
    for word in text.split():
        while font.getlength(word) > width:
            fits = next(n for n in range(len(word) - 1, 0, -1) if font.getlength(word[:n]) <= width)
            lines += [word[:fits]]
            word = word[fits:]
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return [line for line in lines if line]


def head(page: Page, report: ReportBasis) -> None:
    lead, color, width = report_sections.lead(report), _COLORS[report.verdict.outcome], WIDTH_PX - 2 * EDGE
    named = f"{SOFTWARE} {__version__}  ·  {report.checkpoint.name}  ·  {report.time}"
    page.write(
        named + (f"  ·  {_shortened(report.file_name)}" if report.file_name else ""),
        EDGE,
        20,
        width,
        size=16,
        color=MUTED,
        lines=1,
    )
    patient = report_sections.patient(report)
    if patient:
        page.write(_in_a_line(patient), EDGE, 46, width, size=16, lines=1)
    page.drawing.rectangle((EDGE, 82, EDGE + 5, 216), fill=color)
    page.write(lead.kicker, EDGE + 22, 80, width, size=20, color=color, bold=True)
    size, lines = (42, 1) if len(lead.result) < 48 else (24, 2)
    page.write(lead.result, EDGE + 22, 108, width - 22, size=size, bold=True, lines=lines)
    page.write(lead.meaning, EDGE + 22, 168, width - 22, size=18, lines=2)


def _shortened(name: str, longest: int = 48) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _in_a_line(section: Section) -> str:
    return "  ·  ".join(f"{name}: {value}" for name, value in section.rows)


def paste(picture: Image.Image, pixels: np.ndarray, x: int, y: int, width: int, height: int) -> int:
    """One panel: the pixels as large as they fit, at its upper left corner; the y below them."""
    shown = Image.fromarray(pixels).convert("RGB")
    scale = min(width / shown.width, height / shown.height)
    size = (max(1, round(shown.width * scale)), max(1, round(shown.height * scale)))
    picture.paste(shown.resize(size, Image.Resampling.BICUBIC), (x, y))
    return y + size[1]


def performance(page: Page, section: Section, x: int, y: int) -> None:
    y = page.write(section.title, x, y, PANEL, size=18, bold=True) + 8
    for title, value, _ in section.rows:
        page.write(title, x, y, PANEL - 210, size=16, lines=1)
        page.write(value, x + PANEL - 200, y, 200, size=16, bold=True, lines=1)
        y += 24
    page.write(section.note, x, y + 8, PANEL, size=16, color=MUTED)


def bars(page: Page, report: ReportBasis, x: int, y: int) -> None:
    section = report_sections.probabilities(report)
    if section is None:
        return
    y = page.write(section.title, x, y, PANEL, size=18, bold=True) + 8
    left, room = x + 130, PANEL - 130 - 90
    for label, value in section.rows:
        chosen = label == report.label
        page.write(label[:14], x, y, 126, size=18, bold=chosen, lines=1)
        page.drawing.rectangle((left, y + 3, left + room, y + 21), fill=_RAIL)
        length = round(room * report.findings[label])
        page.drawing.rectangle(
            (left, y + 3, left + max(length, 1), y + 21), fill=color_of(label, tuple(report.findings))
        )
        page.write(value, left + room + 12, y, 90, size=18, bold=chosen)
        y += 34


def foot(page: Page, report: ReportBasis) -> None:
    width = WIDTH_PX - 2 * EDGE
    page.drawing.line((EDGE, HEIGHT_PX - 92, WIDTH_PX - EDGE, HEIGHT_PX - 92), fill=_RAIL, width=2)
    asked = "  ·  ".join(f"{title}: {outcome}" for title, outcome, _ in report_sections.checks(report).rows)
    page.write(asked, EDGE, HEIGHT_PX - 82, width, size=14, color=MUTED, lines=1)
    page.write(NOTICE, EDGE, HEIGHT_PX - 48, width, size=18, bold=True)
