"""The report of a scan as one picture: the result, the slices that carry it, the kidneys, the checks."""

import numpy as np
from PIL import Image, ImageDraw

from kidney_core.reports import scan_sections
from kidney_core.reports.picture_parts import EDGE, GAP, HEIGHT_PX, MUTED, WIDTH_PX, Page, foot, head, paste
from kidney_core.reports.scan_report import ScanReport

_PER_ROW, _TOP, _PANEL_PX, _ROW_PX = 3, 236, 350, 400
_PANEL = (WIDTH_PX - 2 * EDGE - (_PER_ROW - 1) * GAP) // _PER_ROW


def draw(report: ScanReport) -> np.ndarray:
    """The picture, (1200, 1280, 3) uint8."""
    picture = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), "black")
    page = Page(ImageDraw.Draw(picture))
    head(page, report)
    for position, each in enumerate(report.driving):
        x, y = _corner(position)
        bottom = paste(picture, each.picture, x, y, _PANEL, _PANEL_PX)
        page.write(scan_sections.driving_caption(report, position), x, bottom + 6, _PANEL, size=18, lines=1)
    _write_facts(page, report, *_corner(len(report.driving)))
    foot(page, report)
    return np.asarray(picture)


def _corner(position: int) -> tuple[int, int]:
    return EDGE + (position % _PER_ROW) * (_PANEL + GAP), _TOP + (position // _PER_ROW) * _ROW_PX


def _write_facts(page: Page, report: ScanReport, x: int, y: int) -> None:
    """In the cell after the last picture: the kidneys, or the check that failed; and what the pictures show."""
    width = _PANEL if report.driving else WIDTH_PX - 2 * EDGE
    kidneys = scan_sections.kidneys(report)
    if kidneys:
        y = page.write(kidneys.title, x, y, width, size=18, bold=True) + 6
        for row in kidneys.rows:
            known = [cell for cell in row[2:] if cell != "–"]
            y = page.write(", ".join((f"{row[0]}: slices {row[1]}", *known)), x, y, width, size=16) + 4
    if not report.has_prediction:
        failed = report.verdict.steps[-1]
        y = page.write(f"{failed.title}: {failed.outcome}", x, y + 10, width, size=18, bold=True)
        page.write(failed.reason, x, y + 4, width, size=18)
        return
    page.write(scan_sections.pictures_caption(report), x, y + 10, width, size=15, color=MUTED)
