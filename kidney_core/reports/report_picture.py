"""The report of a slice as one picture: prediction, image and overlay, probabilities, performance of the model."""

import numpy as np
from PIL import Image, ImageDraw

from kidney_core.reports import report_sections
from kidney_core.reports.picture_parts import (
    HEIGHT_PX,
    MUTED,
    PANEL,
    PANEL_LEFTS,
    PANEL_PX,
    PANEL_TOP,
    WIDTH_PX,
    Page,
    bars,
    foot,
    head,
    paste,
    performance,
)
from kidney_core.reports.report import Report


def draw(report: Report) -> np.ndarray:
    """The picture, (1200, 1280, 3) uint8."""
    picture = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), "black")
    page = Page(ImageDraw.Draw(picture))
    head(page, report)
    left, right = PANEL_LEFTS
    below = PANEL_TOP + PANEL_PX + 110
    bottom = paste(picture, report.picture, left, PANEL_TOP, PANEL, PANEL_PX)
    page.write(report_sections.image_caption(report), left, bottom + 10, PANEL, size=16, color=MUTED, lines=4)
    if report.overlay is None:
        bottom = PANEL_TOP
    else:
        paste(picture, report.overlay, right, PANEL_TOP, PANEL, PANEL_PX)
    y = page.write(report_sections.map_caption(report), right, bottom + 10, PANEL, size=16, color=MUTED, lines=4)
    performance(page, report_sections.performance(report), left, below)
    if report.findings:
        bars(page, report, right, below)
    else:
        failed = report.verdict.steps[-1]
        y = page.write(f"{failed.title}: {failed.outcome}", right, y + 20, PANEL, size=18, bold=True)
        page.write(failed.reason, right, y + 6, PANEL, size=18)
    foot(page, report)
    return np.asarray(picture)
