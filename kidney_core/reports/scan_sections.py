"""The sections of the report of a scan that the report of a slice does not have."""

from kidney_core.checkpoints import hospital_results
from kidney_core.kidneys.stack_kidneys import KidneyAlongStack
from kidney_core.metrics.number_format import percent
from kidney_core.reports.report_sections import Section, performance
from kidney_core.reports.scan_report import ScanReport


def kidneys(report: ScanReport) -> Section | None:
    """Each kidney with its range, its size and, where the network reads each, its label; None where nobody looked."""
    if report.kidneys is None or not report.kidneys.kidneys:
        return None
    labels = {each.side: each.in_words.partition(": ")[2] for each in report.verdict.by_kidney}
    columns = ("Kidney", "Slices", "Length along the scan", "Volume")
    rows = [(*_size(each), *((labels.get(each.side, "–"),) if labels else ())) for each in report.kidneys.kidneys]
    note = "Found by the kidney finder. Its outline is an estimate; no cyst or mass is measured apart from the kidney."
    return Section("Kidneys", tuple(rows), (*columns, *(("Predicted",) if labels else ())), note)


def _size(kidney: KidneyAlongStack) -> tuple[str, str, str, str]:
    length = f"{kidney.length_mm / 10:.1f} cm" if kidney.length_mm else "–"
    volume = f"{kidney.volume_ml:.0f} ml" if kidney.volume_ml else "–"
    return kidney.side.capitalize(), f"{kidney.first + 1} to {kidney.last + 1}", length, volume


def peaks(report: ScanReport) -> Section | None:
    """Where each label is most probable; None without a prediction."""
    if not report.has_prediction or not report.verdict.peaks:
        return None
    rows = [
        (
            peak.label,
            str(peak.index + 1),
            percent(peak.probability),
            f"{peak.run[0] + 1} to {peak.run[1] + 1}" if peak.run else "–",
        )
        for peak in report.verdict.peaks
    ]
    columns = ("Label", "Slice", "Probability", "Neighbouring slices above 50 %")
    return Section("Where each label is most probable", tuple(rows), columns)


def scan_performance(report: ScanReport) -> Section:
    """The accuracy on single slices, and whether whole scans were measured."""
    section = performance(report)
    note = "Measured on single slices; the label of a series is the mean over its slices."
    if report.verdict.is_whole_scan:
        note = "The accuracy is of single slices of scans that are cropped to the kidneys. " + (
            "What was measured on whole scans stands below it."
            if hospital_results.has_whole_scans(report.checkpoint)
            else "On whole scans this model was not measured."
        )
    return Section(section.title, section.rows, section.columns, note)


def driving_caption(report: ScanReport, position: int) -> str:
    """The words under the picture of a driving slice."""
    each = report.driving[position]
    return f"Slice {each.index + 1} of {report.n_slices}: {report.label} {percent(each.probability, 0)}"


def pictures_caption(report: ScanReport) -> str:
    """What the pictures show."""
    outline = "The outline is what the kidney finder takes for kidney." if report.kidneys is not None else ""
    heat = (
        f"Heatmap: {report.method} of {report.label}; each is scaled to its own maximum, and shows what the network used, which "
        "need not be the lesion."
        if report.method
        else "For Normal there is nothing to point at, so no heatmap is drawn."
    )
    return f"{heat} {outline}".strip()
