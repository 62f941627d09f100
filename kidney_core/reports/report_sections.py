"""What a report says, section by section: the words that PDF, picture and Structured Report have in common."""

from dataclasses import dataclass

from kidney_core import __version__
from kidney_core.checkpoint import Checkpoint
from kidney_core.figures import model_name, percent, percent_range
from kidney_core.labels import DESCRIPTIONS
from kidney_core.report import SOFTWARE, Report
from kidney_core.splits import GROUPED, PROTOCOL_NAMES, RANDOM
from kidney_core.verdict import REFUSED
from kidney_core.worth import worth_of_answer

_LEADS = {
    "answered": (
        "The model says",
        "How often such an answer was right on scans never seen stands below.",
    ),
    "undecided": (
        "The model abstains. Its first guess, which is no finding",
        "It is not sure enough: nothing should be concluded from this guess.",
    ),
    "memory": (
        "The model remembers this scan. It says",
        "The file or its scan was in training: this is memory, not diagnosis, and its confidence means nothing.",
    ),
    "refused": (
        "The model does not answer",
        "The image is unlike what it learned from. Any label would be a guess, so none is given.",
    ),
}


@dataclass(frozen=True)
class Lead:
    """What a reader sees first: who speaks, the answer, and how to take it."""

    kicker: str
    answer: str
    meaning: str


@dataclass(frozen=True)
class Section:
    """A titled table of sentences; the first cell of a row says what it is about.

    Attributes:
        columns: their titles; empty where the rows speak for themselves.
        note: a sentence under the rows.
    """

    title: str
    rows: tuple[tuple[str, ...], ...]
    columns: tuple[str, ...] = ()
    note: str = ""


def lead(report: Report) -> Lead:
    """What the model says, in the verdict's words."""
    kicker, meaning = _LEADS[report.judged.in_a_word]
    if report.judged.in_a_word == "memory" and report.judged.abstains:
        kicker = "The model remembers this scan, and abstains even so. Its first guess"
    if report.judged.refused:
        return Lead(kicker, "Refused", meaning)
    label = report.answer.predicted_label
    if report.judged.in_a_word == "answered" and label in DESCRIPTIONS:
        meaning = f"{label}: {DESCRIPTIONS[label].plain}. {meaning}"
    return Lead(kicker, f"{label} · {percent(report.answer.probabilities[label])}", meaning)


def worth(report: Report) -> Section:
    """The accuracy on scans never seen beside that of the random split, and how often this very answer was right."""
    checkpoint = report.checkpoint
    rows = [_protocol_row(checkpoint, protocol) for protocol in (checkpoint.honest or GROUPED, RANDOM)]
    note = "" if report.judged.refused else worth_of_answer(checkpoint, report.answer.predicted_label)
    return Section(
        "Share of test slices that networks of this recipe name rightly",
        tuple(rows),
        ("Measured on", "Accuracy", "How it was measured"),
        note,
    )


def _protocol_row(checkpoint: Checkpoint, protocol: str) -> tuple[str, str, str]:
    title = PROTOCOL_NAMES[protocol].capitalize()
    found = checkpoint.figures(protocol)
    if not found:
        return title, "–", "Not measured for this model."
    low, high = checkpoint.intervals(protocol).get("accuracy", (None, None))
    interval = f"95 % interval {percent_range(low, high)}; " if low is not None and high is not None else ""
    n_scans = checkpoint.card["split"][protocol].get("test_series")
    text = f"{interval}balanced accuracy {percent(found['balanced_accuracy'])}; {found['n']:,} slices"
    text += f" of {n_scans:,} scans." if n_scans else "."
    if protocol == RANDOM:
        text += " Neighbours of these slices were in training: memory of scans, not diagnosis of a new patient."
    return title, percent(found["accuracy"]), text


def chain(report: Report) -> Section:
    """The questions that were asked before answering, each with its outcome and its reason."""
    note = "The questions end at the refusal." if report.judged.steps[-1].outcome == REFUSED else ""
    rows = tuple((step.title, step.outcome, step.reason) for step in report.judged.steps)
    return Section("May the model speak about this image?", rows, ("Question", "Outcome", "Reason"), note)


def probabilities(report: Report) -> Section | None:
    """Label by label; None where the model does not answer."""
    if not report.findings:
        return None
    rows = tuple((label, percent(value)) for label, value in report.findings.items())
    return Section("Calibrated probabilities", rows, ("Label", "Probability"))


def map_caption(report: Report) -> str:
    """What the map shows, or why there is none."""
    answer = report.answer
    if report.judged.refused:
        return "No map is shown, since the model does not answer."
    return answer.map_in_words


def image_caption(report: Report) -> str:
    """What the picture is, and what to beware of."""
    image = report.image
    said = f"{image.width_px} × {image.height_px} px"
    if image.unit == "HU":
        said += f", window {image.window.width:.0f}/{image.window.center:.0f} HU"
    if image.n_frames > 1:
        said += f", frame {image.frame + 1} of {image.n_frames}"
    return " ".join((f"The image as it was read: {said}.", *image.notes))


def map_grades(report: Report) -> Section | None:
    """How far the map can be trusted; None where that was not measured or no map is shown."""
    if report.overlay is None or not report.grades:
        return None
    rows = tuple((grade.title, f"{grade.value:.3g}", grade.outcome, grade.reason) for grade in report.grades)
    return Section("How far the map can be trusted", rows, ("Property", "Value", "Grade", "Reason"))


def figures_by_label(report: Report) -> Section | None:
    """How many of each label were found and how often it was said rightly, under both protocols."""
    checkpoint = report.checkpoint
    shown = [each for each in (checkpoint.honest, RANDOM) if each and checkpoint.figures(each)]
    if not shown:
        return None
    columns = ["Label"]
    for protocol in shown:
        name = PROTOCOL_NAMES[protocol].capitalize()
        columns += [f"{name}: found", "right when said"]
    rows = []
    for label in checkpoint.labels:
        row = [label]
        for protocol in shown:
            rates = checkpoint.figures(protocol)["per_label"].get(label)
            if rates:
                row += [f"{percent(rates['recall'])} of {rates['support']:,}", percent(rates["precision"])]
            else:
                row += ["–", "–"]
        rows.append(tuple(row))
    return Section("Test figures by label", tuple(rows), tuple(columns))


def model_card(report: Report) -> Section:
    """Who spoke: the card's extract with its limits."""
    checkpoint = report.checkpoint
    card, data = checkpoint.card, checkpoint.card["data"]
    extra = data.get("extra_training_slices")
    trained = f"{data.get('name', 'unknown')}: {data.get('n_slices', 0):,} slices of {data.get('n_series', 0):,} scans"
    rows = [
        ("Model", checkpoint.name),
        ("Architecture", f"{model_name(card['architecture'])}, {checkpoint.size_px} × {checkpoint.size_px} px"),
        ("Training data", trained + (f", and {extra:,} slices of “{data['extra_data']}”" if extra else "")),
        ("Calibration", f"temperature {checkpoint.temperature:.3g}"),
        ("Intended use", card["intended_use"]),
        ("Weights, SHA-256", card["weights_sha256"]),
    ]
    rows += [("" if position else "Limits", limit) for position, limit in enumerate(card["limits"])]
    return Section("Model card, in extract", tuple(rows))


def about(report: Report) -> Section:
    """What was read, when, and with which software."""
    facts = "; ".join(f"{name}: {value}" for name, value in report.image.facts.items())
    rows = [("Image", report.title), *([("Facts", facts)] if facts else [])]
    rows += [("Report made", report.time), ("Software", f"{SOFTWARE} {__version__}")]
    return Section("This report", tuple(rows))


def patient(report: Report) -> Section | None:
    """The patient and the study as the source file names them; None unless ticked."""
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
    return Section("Patient, as the source file names it", tuple((name, value or "–") for name, value in rows))


def _date(digits: str) -> str:
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}" if digits else ""
