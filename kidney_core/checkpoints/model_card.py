"""A checkpoint's card as a model card in Markdown, and the CLAIM checklist with what is known.

Sources: Mitchell et al. 2019, Model Cards for Model Reporting, arXiv:1810.03993; Tejani et al. 2024,
Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiology: AI 6:e240300
(the items are paraphrased).
"""

from typing import Any

from kidney_core.checkpoints import hospital_results
from kidney_core.checkpoints.card import calibration_source, reported_epoch
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.markdown import code, escape
from kidney_core.metrics.number_format import model_name, percent, percent_range
from kidney_core.metrics.splits import CROSS_VALIDATED, GROUPED, MEASURED, PROTOCOL_TITLES, RANDOM
from kidney_core.networks.explanation import DEFAULT_METHOD

DATA_SOURCE = "CT KIDNEY DATASET: Normal-Cyst-Tumor and Stone (Islam et al., Scientific Reports 12:11440, 2022), hospitals of Dhaka"
# Folders that are known to hold that dataset.
_PUBLIC = ("ct-kidney-plain", "ct-kidney-clahe", "CT-KIDNEY-DATASET-Normal-Cyst-Tumor-Stone")
UNKNOWN = "Not known."
_SEEN = {
    "whole": "the whole image, padded",
    "stretched": "the whole image, stretched",
    "body": "cut to the body, padded",
    "kidneys": "cut to the kidneys, padded",
    "each-kidney": "each kidney cut out, padded",
}
_GREYS = {
    "original": "Grey",
    "equalized": "Grey, contrast equalised (CLAHE)",
    "relative": "Grey, relative to the median of the kidneys",
}
_OF_THE_SOFTWARE = (
    "Title",
    "Abstract",
    "Introduction",
    "Evaluation",
    "Discussion",
    "Other",
)  # sections that hold for any network
TO_FILL_IN = "To be filled in by the holder of the data"


def markdown(checkpoint: Checkpoint) -> str:
    """The model card as Markdown."""
    card = checkpoint.card
    training, data = card["training"], card["data"]
    lines = [
        f"# Model card: {escape(checkpoint.name)}",
        "",
        "## Model details",
        "",
        f"- Architecture: {escape(model_name(card['architecture']))} (timm {code(card['architecture'])}), one slice of "
        f"{checkpoint.size_px} × {checkpoint.size_px} px in, {len(checkpoint.labels)} labels out: {escape(', '.join(checkpoint.labels))}",
        f"- Initial weights: {escape(training.get('init', 'unknown'))}; what was trained: "
        f"{escape(training.get('trainable', 'unknown'))}",
        f"- Probabilities are calibrated by a temperature of {checkpoint.temperature:.3g}, "
        + (
            f"fitted on {calibration_source(card)}"
            if calibration_source(card)
            else f"not fitted: {'there was no validation part' if checkpoint.is_evaluated else 'it was never evaluated here'}"
        ),
        f"- Made {escape(card.get('created', 'at an unknown date'))} with {_software(card)}",
        f"- Command: {code(card['command'])}",
        "",
        *([escape(checkpoint.seal_warning), ""] if checkpoint.seal_warning else []),
        "## Intended use",
        "",
        escape(card["intended_use"]),
        "",
        "## Training and evaluation data",
        "",
        *_training_data(data),
        f"- Fingerprint: {code(data.get('fingerprint', 'unknown'))}",
        "",
        "## Metrics, per class and protocol",
        "",
        *([] if checkpoint.is_evaluated else [checkpoint.without_figures, ""]),
    ]
    for protocol in reversed(MEASURED):
        if metrics := checkpoint.metrics(protocol):
            lines += _metrics(checkpoint, protocol, metrics)
    lines += _other_hospitals(checkpoint)
    lines += ["## Limits and caveats", "", *(f"- {escape(limit)}" for limit in card["limits"]), ""]
    return "\n".join(lines)


def _training_data(data: dict[str, Any]) -> list[str]:
    """What the network learned from; unknown where it was trained elsewhere."""
    if not data:
        return ["- Not known: the network was trained elsewhere"]
    return [
        f"- {escape(data.get('name', 'unknown'))}: {data.get('n_slices', 0):,} slices in {data.get('n_series', 0):,} scans, "
        + ", ".join(f"{count:,} {escape(label)}" for label, count in data.get("counts", {}).items()),
        f"- Scans per class: {', '.join(f'{n:,} {escape(label)}' for label, n in data.get('series_per_label', {}).items())}",
        f"- Extra slices added to training: {data.get('extra_training_slices', 0):,} of “{escape(data.get('extra_data') or 'none')}”",
    ]


def _other_hospitals(checkpoint: Checkpoint) -> list[str]:
    """The results on other hospitals; empty where there are none."""
    measured = checkpoint.other_hospitals()
    if not measured:
        return []
    lines = hospital_results.summary(checkpoint.name, measured).splitlines()[1:]
    return [
        "## Other hospitals",
        "",
        *(f"- {escape(line)}" if line[:1] != " " else f"  - {escape(line)}" for line in lines),
        "",
    ]


def _subset(checkpoint: Checkpoint) -> str:
    """Which slices of the folder were used."""
    leaves_out = checkpoint.card["training"].get("slices") == "kidneys" or checkpoint.view.needs_kidneys
    return "Slices on which the kidney finder sees a kidney" if leaves_out else "None within the folder"


def _software(card: dict[str, Any]) -> str:
    return (
        ", ".join(f"{escape(name)} {escape(version)}" for name, version in card.get("software", {}).items())
        or "unknown software"
    )


def _metrics(checkpoint: Checkpoint, protocol: str, metrics: dict[str, Any]) -> list[str]:
    ranges = checkpoint.intervals(protocol)
    leak = checkpoint.card["split"].get(protocol, {}).get("shared_series_fraction", 0.0)

    def cell(name: str, value: float | None) -> str:
        interval = percent_range(*ranges[name]) if name in ranges else "–"
        return f"{percent(value)} ({interval})"

    lines = [
        f"### {PROTOCOL_TITLES[protocol].capitalize()}",
        "",
        f"{metrics['n']:,} test slices; {percent(leak, 0)} of them have other slices of the same scan in training (data leakage). In brackets, "
        "95 % intervals by bootstrap over scans.",
        "",
        f"Accuracy {cell('accuracy', metrics['accuracy'])}, balanced accuracy {cell('balanced_accuracy', metrics['balanced_accuracy'])}.",
        "",
        "| class | slices | precision | recall | F1 | ROC AUC |",
        "|---|---|---|---|---|---|",
    ]
    for label, values in metrics["per_label"].items():
        cells = [cell(f"per_label.{label}.{name}", values[name]) for name in ("precision", "recall", "f1", "roc_auc")]
        lines.append(f"| {escape(label)} | {values['support']:,} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _external(checkpoint: Checkpoint) -> str:
    measured = checkpoint.other_hospitals()
    if not measured:
        return "Not measured; the Evaluation page takes any labelled folder"
    return "; ".join(
        escape(f"{line.source}: {line.what} {line.value}, {line.tested_on}")
        for line in hospital_results.headlines(measured)
    )


def claim_checklist(checkpoint: Checkpoint) -> str:
    """The 44 items of CLAIM 2024 with what is known of this checkpoint, as Markdown."""
    card = checkpoint.card
    training, data, name = card["training"], card["data"], model_name(card["architecture"])
    unseen, metrics = checkpoint.unseen_protocol, checkpoint.unseen_metrics()
    result = (
        f"{PROTOCOL_TITLES[unseen].capitalize()}: accuracy {percent(metrics['accuracy'])}, balanced {percent(metrics['balanced_accuracy'])}"
        if unseen and metrics
        else "Not measured on unseen scans."
    )
    public = data.get("name") in _PUBLIC
    leak = card["split"].get(RANDOM, {}).get("shared_series_fraction")
    items = [
        (
            "Title",
            "AI methodology and its category",
            f"Deep learning: {escape(name)}, a convolutional or transformer network",
        ),
        ("Abstract", "Summary of design, methods, results, conclusions", result),
        ("Introduction", "Background, intended use and role", escape(card["intended_use"])),
        (
            "Introduction",
            "Aims and hypotheses",
            "Classify a CT slice of the kidney region; measure it on unseen scans",
        ),
        ("Study design", "Prospective or retrospective", "Retrospective"),
        ("Study design", "Goal", "Model creation and evaluation on unseen scans; no clinical claim"),
        ("Data", "Sources", f"{DATA_SOURCE if public else TO_FILL_IN}; folder “{escape(data.get('name', 'unknown'))}”"),
        ("Data", "Inclusion and exclusion", "Every readable image of the folder; criteria for patients: " + UNKNOWN),
        (
            "Data",
            "Preprocessing",
            f"{_GREYS[checkpoint.view.greys]}, {_SEEN[checkpoint.view.framing]} to a square of {checkpoint.size_px} px, ImageNet mean and standard deviation",
        ),
        ("Data", "Selection of subsets", _subset(checkpoint)),
        (
            "Data",
            "De-identification",
            "By the dataset's authors; the images carry no patient data" if public else TO_FILL_IN,
        ),
        ("Data", "Missing data", "Unreadable files are listed and left out"),
        (
            "Data",
            "Acquisition protocol",
            UNKNOWN + " Axial and coronal, with and without contrast agent" if public else TO_FILL_IN,
        ),
        (
            "Reference standard",
            "How it was obtained",
            "Class folders by the dataset's authors, from radiology diagnoses" if public else TO_FILL_IN,
        ),
        ("Reference standard", "Rationale", UNKNOWN),
        (
            "Reference standard",
            "Source of annotations",
            "The dataset's authors (a radiologist, a technologist)" if public else TO_FILL_IN,
        ),
        ("Reference standard", "Annotation of the test set", "As the training set: it is the same source"),
        ("Reference standard", "Inter- and intrarater variability", UNKNOWN),
        (
            "Partitions",
            "Assignment",
            f"Seed {escape(training.get('seed', 'unknown'))}, stratified by class; by scan in the scan-level split",
        ),
        (
            "Partitions",
            "Level of disjointness",
            "Scan (inferred from near-duplicates, patients are not known)"
            + (
                f"; under the random split {percent(leak, 0)} of test slices are of a scan that is also in training"
                if leak is not None
                else ""
            ),
        ),
        ("Partitions", "Intended sample size", "All available images; see the intervals"),
        ("Model", "Description", f"timm {escape(card['architecture'])}, {len(checkpoint.labels)} outputs"),
        ("Model", "Software", _software(card)),
        ("Model", "Initialisation", escape(training.get("init", "unknown"))),
        ("Training", "Approach", code(card["command"])),
        (
            "Training",
            "Selection of the final model",
            reported_epoch(card),
        ),
        ("Training", "Ensembling", "None"),
        ("Evaluation", "Metrics", "Accuracy, balanced accuracy, precision, recall, F1, ROC AUC, calibration error"),
        (
            "Evaluation",
            "Uncertainty and significance",
            "Bootstrap and permutation tests over scans, corrected by Holm's method",
        ),
        (
            "Evaluation",
            "Robustness",
            "Not done" if unseen != CROSS_VALIDATED else "Scan-level cross-validation",
        ),
        ("Evaluation", "Explainability", f"Heatmaps by {DEFAULT_METHOD}, or by a method of choice"),
        ("Evaluation", "Internal data", result),
        ("Evaluation", "External data", _external(checkpoint)),
        ("Evaluation", "Trial registration", "Not a trial"),
        (
            "Results",
            "Numbers included and excluded",
            f"{data.get('n_slices', 0):,} slices, {data.get('n_series', 0)} scans; patients: {UNKNOWN}",
        ),
        ("Results", "Demographics by partition", UNKNOWN),
        ("Results", "Performance with uncertainty", "See the model card"),
        ("Results", "Diagnostic performance with precision", "See the model card, per class"),
        ("Results", "Failure analysis", "The Evaluation page shows the worst errors with their evidence"),
        ("Discussion", "Limits", escape("; ".join(card["limits"]))),
        ("Discussion", "Implications for practice", "None claimed: research and teaching, not a medical device"),
        ("Other", "Protocol", "The command and the split on the card reproduce it"),
        ("Other", "Availability", "Software and weights are open; the data are offered by their authors"),
        ("Other", "Funding", "Not stated"),
    ]
    if not data:  # trained elsewhere
        own = ("Preprocessing", "Description", "Software", "Missing data")
        items = [
            (section, item, known if item in own or section in _OF_THE_SOFTWARE else f"{UNKNOWN} {TO_FILL_IN}")
            for section, item, known in items
        ]
    lines = [
        f"# CLAIM 2024 checklist: {escape(checkpoint.name)}",
        "",
        "| # | section | item | what is known |",
        "|---|---|---|---|",
    ]
    lines += [f"| {i} | {section} | {item} | {known} |" for i, (section, item, known) in enumerate(items, start=1)]
    if unseen == GROUPED:
        lines += ["", "One scan-level split: cross-validation would give a better estimate."]
    return "\n".join([*lines, ""])
