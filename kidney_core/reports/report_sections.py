"""The sections of a report: the text that PDF, picture and DICOM Structured Report share."""

from dataclasses import dataclass

from kidney_core import __version__
from kidney_core.checkpoints import hospital_results
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.checkpoints.label_performance import describe_label
from kidney_core.common.errors import CheckpointError
from kidney_core.common.labels import DESCRIPTIONS
from kidney_core.diagnosis import outcomes
from kidney_core.diagnosis.outcomes import Outcome
from kidney_core.diagnosis.verdict import FAILED
from kidney_core.metrics.number_format import model_name, percent, percent_range
from kidney_core.metrics.splits import FOLDER, PROTOCOL_NAMES, RANDOM
from kidney_core.reports.report import SOFTWARE, Report, ReportBasis

_MEANINGS = {
    Outcome.ANSWERED: "How often such a prediction was correct on unseen scans is given below.",
    Outcome.MEMORY: "The file or its scan was in the training data, so this prediction and its confidence do not test the model.",
    Outcome.NO_KIDNEY: "No kidney is visible, so the model has nothing to judge.",
    Outcome.PENDING: "Read the scan to its end first.",
    Outcome.REFUSED: "This is unlike the training data. Any label would be a guess, so none is given.",
}


@dataclass(frozen=True)
class Lead:
    """What a reader sees first: the kind of result, the label, and what it means."""

    kicker: str
    result: str
    meaning: str


@dataclass(frozen=True)
class Section:
    """A table of texts with a title; the first cell of a row names the row.

    Attributes:
        columns: titles of the columns; empty where none are needed.
        note: a sentence under the rows.
    """

    title: str
    rows: tuple[tuple[str, ...], ...]
    columns: tuple[str, ...] = ()
    note: str = ""


def lead(report: ReportBasis) -> Lead:
    """The result in words: predicted, abstains, seen in training, or out of distribution."""
    outcome, label = report.verdict.outcome, report.label
    meaning = report.undecided_because if outcome == Outcome.UNDECIDED else _MEANINGS[outcome]
    if outcome in outcomes.NO_PREDICTION or label is None:
        return Lead(outcomes.NO_PREDICTION[outcome], "Not answered", meaning)
    if outcome == Outcome.ANSWERED and label in DESCRIPTIONS:
        meaning = f"{label}: {DESCRIPTIONS[label].plain}. {meaning}"
    kicker = outcomes.lead(outcome, abstains=report.verdict.abstains)
    return Lead(kicker, report.result, meaning)


def performance(report: ReportBasis) -> Section:
    """The accuracy on unseen scans beside that of the random split, the results on other hospitals, and how often this label was
    correct.
    """
    checkpoint = report.checkpoint
    rows = [_protocol_row(checkpoint, protocol) for protocol in checkpoint.shown_protocols]
    rows += _hospital_rows(checkpoint)
    note = describe_label(checkpoint, report.label) if report.has_prediction and report.label else ""
    return Section(
        "How accurate such networks are",
        tuple(rows),
        ("Measured on", "Result", "How it was measured"),
        note,
    )


def _hospital_rows(checkpoint: Checkpoint) -> list[tuple[str, str, str]]:
    """A row for each result on another hospital."""
    try:
        measured = checkpoint.other_hospitals()
    except CheckpointError as error:
        return [("Other hospitals", "–", str(error))]
    if not measured:
        return [("Other hospitals", "–", checkpoint.without_figures)]
    return [
        (f"{line.source}: {line.what}", line.value, f"{line.tested_on}; 95 % interval in brackets where there is one.")
        for line in hospital_results.headlines(measured)
    ]


def _protocol_row(checkpoint: Checkpoint, protocol: str) -> tuple[str, str, str]:
    title = PROTOCOL_NAMES[protocol].capitalize()
    metrics = checkpoint.metrics(protocol)
    if not metrics:
        return title, "–", checkpoint.without_figures
    low, high = checkpoint.intervals(protocol).get("accuracy", (None, None))
    interval = f"95 % interval {percent_range(low, high)}; " if low is not None and high is not None else ""
    n_scans = checkpoint.card["split"][protocol].get("test_series")
    text = f"{interval}balanced accuracy {percent(metrics['balanced_accuracy'])}; {metrics['n']:,} slices"
    text += f" of {n_scans:,} scans." if n_scans else "."
    leak = checkpoint.card["split"][protocol].get("shared_series_fraction")
    if protocol == FOLDER and leak:
        text += f" {percent(leak, 0)} of them have slices of the same scan in training (data leakage)."
    if protocol == RANDOM:
        text += " Neighbours of these slices were in training (data leakage): too high for new patients."
    return title, percent(metrics["accuracy"]), text


def checks(report: ReportBasis) -> Section:
    """The checks before a prediction is shown, each with its outcome and its reason."""
    note = "A check that fails ends the list." if report.verdict.steps[-1].outcome == FAILED else ""
    rows = tuple((step.title, step.outcome, step.reason) for step in report.verdict.steps)
    return Section(f"Checks of this {report.noun}", rows, ("Check", "Outcome", "Reason"), note)


def probabilities(report: ReportBasis) -> Section | None:
    """The probability of each label; None where the image is out of distribution."""
    if not report.findings:
        return None
    rows = tuple((label, percent(value)) for label, value in report.findings.items())
    return Section("Calibrated probabilities", rows, ("Label", "Probability"))


def map_caption(report: Report) -> str:
    """What the heatmap shows, or why there is none."""
    answer = report.diagnosis
    if not report.has_prediction:
        return "No heatmap: the image is out of distribution."
    return answer.map_in_words


def image_caption(report: Report) -> str:
    """Size and window of the image, and what was noted when it was read."""
    image = report.image
    size = f"{image.width_px} × {image.height_px} px"
    if image.unit == "HU":
        size += f", window {image.window.width:.0f}/{image.window.center:.0f} HU"
    if image.n_frames > 1:
        size += f", frame {image.frame + 1} of {image.n_frames}"
    return " ".join((f"The image as read: {size}.", *image.notes))


def map_grades(report: Report) -> Section | None:
    """How far to trust the heatmap; None where that was not measured or none is shown."""
    if report.overlay is None or not report.grades:
        return None
    rows = tuple((grade.title, f"{grade.value:.3g}", grade.outcome, grade.reason) for grade in report.grades)
    return Section("How far to trust the heatmap", rows, ("Property", "Value", "Grade", "Reason"))


def measurements(report: Report) -> Section | None:
    """What the user measured on the slice; None where nothing was."""
    if not report.measures:
        return None
    rows = tuple((f"{kind} {number}", value) for number, (kind, value) in enumerate(report.measures, start=1))
    return Section("Measured by the reader", rows, ("Measurement", "Value"))


def metrics_by_label(report: ReportBasis) -> Section | None:
    """Recall and precision of each label under each protocol."""
    checkpoint = report.checkpoint
    shown = [each for each in checkpoint.shown_protocols if checkpoint.metrics(each)]
    if not shown:
        return None
    columns = ["Label"]
    for protocol in shown:
        name = PROTOCOL_NAMES[protocol].capitalize()
        columns += [f"{name}: recall", f"{name}: precision"]
    rows = []
    for label in checkpoint.labels:
        row = [label]
        for protocol in shown:
            metrics = checkpoint.metrics(protocol)
            rates = metrics["per_label"].get(label) if metrics else None
            if rates:
                row += [f"{percent(rates['recall'])} of {rates['support']:,}", percent(rates["precision"])]
            else:
                row += ["–", "–"]
        rows.append(tuple(row))
    note = "Each protocol has its own test slices. Precision also depends on how frequent a label is among them."
    return Section("Test metrics by label", tuple(rows), tuple(columns), note)


def model_card(report: ReportBasis) -> Section:
    """The model in short: what it was trained on, its calibration, intended use and limits."""
    checkpoint = report.checkpoint
    card, data = checkpoint.card, checkpoint.card["data"]
    extra = data.get("extra_training_slices")
    training_data = "not known: the network was trained elsewhere"
    if data:
        training_data = (
            f"{data.get('name', 'unknown')}: {data.get('n_slices', 0):,} slices of {data.get('n_series', 0):,} scans"
        )
    rows = [
        ("Model", checkpoint.name),
        ("Architecture", f"{model_name(card['architecture'])}, {checkpoint.size_px} × {checkpoint.size_px} px"),
        ("Training data", training_data + (f", and {extra:,} slices of “{data['extra_data']}”" if extra else "")),
        (
            "Calibration",
            f"temperature {checkpoint.temperature:.3g}"
            if checkpoint.is_evaluated
            else "none: it was never evaluated here",
        ),
        ("Intended use", card["intended_use"]),
        ("Weights, SHA-256", card["weights_sha256"]),
    ]
    rows += [("" if position else "Limits", limit) for position, limit in enumerate(card["limits"])]
    return Section("Model card, shortened", tuple(rows))


def about(report: ReportBasis) -> Section:
    """What was read, when, and with which software."""
    facts = "; ".join(f"{name}: {value}" for name, value in report.facts.items())
    rows = [(report.noun.capitalize(), report.title), *([("Facts", facts)] if facts else [])]
    rows += [("Report made", report.time), ("Software", f"{SOFTWARE} {__version__}")]
    return Section("This report", tuple(rows))


def patient(report: ReportBasis) -> Section | None:
    """The patient and the study from the tags of the source file; None unless ticked."""
    tags = report.patient
    if tags is None:
        return None
    rows = (
        ("Patient", tags.plain_name),
        ("Patient ID", tags.patient_id),
        ("Born", _date(tags.birth_date)),
        ("Sex", tags.sex),
        ("Study", _date(tags.study_date)),
        ("Accession", tags.accession_number),
    )
    return Section("Patient, from the tags of the source file", tuple((name, value or "–") for name, value in rows))


def _date(digits: str) -> str:
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}" if digits else ""
