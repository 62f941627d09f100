"""A report as one picture: what the model says, image and overlay, probabilities, what the model is worth."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kidney_core import __version__, fonts, report_sections
from kidney_core.labels import color_of
from kidney_core.report import NOTICE, SOFTWARE, Report
from kidney_core.report_sections import Section

WIDTH_PX, HEIGHT_PX = 1280, 1200
_EDGE, _GAP = 40, 24
_PANEL = (WIDTH_PX - 2 * _EDGE - _GAP) // 2
PANEL_TOP, PANEL_PX = 236, 500  # where image and overlay begin, and how high they are at most
PANEL_LEFTS = (_EDGE, _EDGE + _PANEL + _GAP)
# Light on black, as on the screens where it will be read.
_INK, _MUTED, _RAIL = "#F2F5F7", "#A9B6BF", "#26323A"
_COLORS = {"answered": "#5BD39A", "undecided": "#F5B951", "memory": "#F5B951", "refused": "#FF8A80"}


def draw(made: Report) -> np.ndarray:
    """The picture, (1200, 1280, 3) uint8."""
    picture = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), "black")
    page = _Page(ImageDraw.Draw(picture))
    _head(page, made)
    left, right = PANEL_LEFTS
    below = PANEL_TOP + PANEL_PX + 110
    bottom = _paste(picture, made.picture, left)
    page.write(report_sections.image_caption(made), left, bottom + 10, _PANEL, size=16, color=_MUTED, lines=4)
    if made.overlay is None:
        bottom = PANEL_TOP
    else:
        _paste(picture, made.overlay, right)
    y = page.write(report_sections.map_caption(made), right, bottom + 10, _PANEL, size=16, color=_MUTED, lines=4)
    _worth(page, report_sections.worth(made), left, below)
    if made.findings:
        _bars(page, made, right, below)
    else:
        refusal = made.judged.steps[-1]
        y = page.write(f"{refusal.title}: {refusal.outcome}", right, y + 20, _PANEL, size=18, bold=True)
        page.write(refusal.reason, right, y + 6, _PANEL, size=18)
    _foot(page, made)
    return np.asarray(picture)


class _Page:
    """Text on a drawing, broken into lines that fit."""

    def __init__(self, drawing: ImageDraw.ImageDraw) -> None:
        self.drawing = drawing

    def write(
        self, text: str, x: int, y: int, width: int, *, size: int, color: str = _INK, bold: bool = False, lines: int = 9
    ) -> int:
        """Write at most so many lines, the last one cut with dots; the y below them."""
        font = ImageFont.truetype(str(fonts.path_of(bold=bold)), size)
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


def _head(page: _Page, made: Report) -> None:
    said, color, width = report_sections.lead(made), _COLORS[made.judged.in_a_word], WIDTH_PX - 2 * _EDGE
    named = f"{SOFTWARE} {__version__}  ·  {made.checkpoint.name}  ·  {made.time}"
    page.write(
        named + (f"  ·  {_shortened(made.file_name)}" if made.file_name else ""),
        _EDGE,
        20,
        width,
        size=16,
        color=_MUTED,
        lines=1,
    )
    patient = report_sections.patient(made)
    if patient:
        page.write(_in_a_line(patient), _EDGE, 46, width, size=16, lines=1)
    page.drawing.rectangle((_EDGE, 82, _EDGE + 5, 216), fill=color)
    page.write(said.kicker, _EDGE + 22, 80, width, size=20, color=color, bold=True)
    page.write(said.answer, _EDGE + 22, 108, width, size=42, bold=True, lines=1)
    page.write(said.meaning, _EDGE + 22, 168, width - 22, size=18, lines=2)


def _shortened(name: str, longest: int = 48) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _in_a_line(section: Section) -> str:
    return "  ·  ".join(f"{name}: {value}" for name, value in section.rows)


def _paste(picture: Image.Image, pixels: np.ndarray, left: int) -> int:
    """One panel: the pixels as large as they fit, at its left edge; the y below them."""
    shown = Image.fromarray(pixels).convert("RGB")
    scale = min(_PANEL / shown.width, PANEL_PX / shown.height)
    size = (max(1, round(shown.width * scale)), max(1, round(shown.height * scale)))
    picture.paste(shown.resize(size, Image.Resampling.BICUBIC), (left, PANEL_TOP))
    return PANEL_TOP + size[1]


def _worth(page: _Page, section: Section, x: int, y: int) -> None:
    y = page.write(section.title, x, y, _PANEL, size=18, bold=True) + 8
    for title, value, _ in section.rows:
        page.write(title, x, y, 400, size=18)
        page.write(value, x + 420, y, _PANEL - 420, size=18, bold=True)
        y += 28
    page.write(section.note, x, y + 8, _PANEL, size=16, color=_MUTED)


def _bars(page: _Page, made: Report, x: int, y: int) -> None:
    section = report_sections.probabilities(made)
    y = page.write(section.title, x, y, _PANEL, size=18, bold=True) + 8
    left, room = x + 130, _PANEL - 130 - 90
    for label, value in section.rows:
        chosen = label == made.answer.predicted_label
        page.write(label[:14], x, y, 126, size=18, bold=chosen, lines=1)
        page.drawing.rectangle((left, y + 3, left + room, y + 21), fill=_RAIL)
        length = round(room * made.findings[label])
        page.drawing.rectangle((left, y + 3, left + max(length, 1), y + 21), fill=color_of(label, tuple(made.findings)))
        page.write(value, left + room + 12, y, 90, size=18, bold=chosen)
        y += 34


def _foot(page: _Page, made: Report) -> None:
    width = WIDTH_PX - 2 * _EDGE
    page.drawing.line((_EDGE, HEIGHT_PX - 92, WIDTH_PX - _EDGE, HEIGHT_PX - 92), fill=_RAIL, width=2)
    asked = "  ·  ".join(f"{title}: {outcome}" for title, outcome, _ in report_sections.chain(made).rows)
    page.write(asked, _EDGE, HEIGHT_PX - 82, width, size=14, color=_MUTED, lines=1)
    page.write(NOTICE, _EDGE, HEIGHT_PX - 48, width, size=18, bold=True)
