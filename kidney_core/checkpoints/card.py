"""What the card of a checkpoint must hold before it is used."""

import math
import shlex
from pathlib import Path
from typing import Any

from kidney_core.common import digests
from kidney_core.common.errors import CheckpointError
from kidney_core.imaging.framing import FRAMINGS, GREYS, ORIGINAL, WHOLE

CARD_FORMAT = 1
FOLDS, VALIDATION = "folds", "validation"  # of its entry calibrated_on
MAX_LABELS, MAX_SIZE_PX = 1000, 2048
_REQUIRED: dict[str, type | tuple[type, ...]] = {
    "format": int,
    "architecture": str,
    "labels": list,
    "preprocessing": dict,
    "temperature": (int, float),
    "training": dict,
    "command": str,
    "data": dict,
    "split": dict,
    "metrics": dict,
    "intended_use": str,
    "limits": list,
    "weights_sha256": str,
}
_LOSSES = ("calibrated_validation_loss", "validation_loss")
_BEST_BY_WORDS = {
    "loss": "its loss after calibration",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
}
_METRICS = {"n", "accuracy", "balanced_accuracy", "labels", "confusion", "per_label", "macro", "weighted"}


def calibration_source(card: dict[str, Any]) -> str:
    """What the temperature was fitted on, in words; empty where it was not fitted. Cards of 0.4 know validation only."""
    source = card.get("calibrated_on", VALIDATION if card["training"].get("validation_fraction") else "")
    if source == FOLDS:
        return "the test predictions of all folds, on unseen scans"
    return "validation slices" if source == VALIDATION else ""


def reported_epoch(card: dict[str, Any]) -> str:
    """Of which epoch the weights are, and why, in sentences; for older cards, as their curves tell."""
    training, curves = card["training"], [row for row in card.get("curves", []) if "epoch" in row]
    n_epochs = curves[-1]["epoch"] if curves else training.get("n_epochs", 0)
    if training.get("reported_epoch") != "best":
        why = (
            "the recipe reports the last epoch, whatever the validation part says"
            if training.get("validation_fraction")
            else "there was no validation part to choose a better one by, and choosing by the test part would inflate the test figures"
        )
        return f"The weights are those of the last epoch, {n_epochs}: {why}."
    best_by = training.get("best_by", "loss")
    epoch = card.get("epoch") or _best_epoch(curves, best_by)
    which = f"epoch {epoch} of {n_epochs}" if epoch else "the best epoch"
    asked = training.get("n_epochs", n_epochs)
    early = f" Early stopping ended the training before its {asked} epochs." if n_epochs < asked else ""
    words = _BEST_BY_WORDS.get(best_by, best_by.replace("recall:", "recall of "))
    return f"The weights are those of {which}: it was the best on the validation part, by {words}.{early}"


def _best_epoch(curves: list[dict[str, Any]], best_by: str) -> int | None:
    """The epoch with the best validation metric; None where it was not measured. Ties go to the lower loss."""
    if best_by == "loss":
        name = next((name for name in _LOSSES if any(name in row for row in curves)), "")
        return min((row for row in curves if name in row), key=lambda row: row[name], default={}).get("epoch")
    name = f"validation_{best_by.replace(':', '_')}"
    measured = [row for row in curves if name in row]
    return max(measured, key=lambda row: (row[name], -row.get(_LOSSES[0], 0.0)), default={}).get("epoch")


def check_card(card: Any, folder: Path) -> None:
    """Raise CheckpointError for a card that is incomplete, of a newer format, impossible, or changed after it was sealed."""
    name = folder.name
    missing = _missing(card)
    if missing:
        raise CheckpointError(
            f"The card of the checkpoint “{name}” lacks “{missing}”, or has it in a form that this version cannot read. Publish the run again."
        )
    if card["format"] != CARD_FORMAT:
        raise CheckpointError(
            f"The checkpoint “{name}” has card format {card['format']}; this version reads {CARD_FORMAT}. "
            "Update the workbench."
        )
    if digests.has_seal(card) and not digests.is_intact(card):
        raise CheckpointError(
            f"The card of “{name}” is not as it was published (its seal does not fit): it was damaged or edited. Copy the "
            f"checkpoint's folder again, or confirm your own change: {shlex.join(['kidney-ct', 'seal', str(folder)])}"
        )
    impossible = _impossible_value(card)
    if impossible:
        raise CheckpointError(
            f"The card of the checkpoint “{name}” cannot be true: {impossible}. Publish the run again."
        )


def _missing(card: Any) -> str:
    """The first entry that the pages need and the card lacks."""
    for key, kind in _REQUIRED.items():
        if not isinstance(card, dict) or not isinstance(card.get(key), kind):
            return key
    for protocol, metrics in card["metrics"].items():
        described = isinstance(card["split"].get(protocol), dict)
        if not isinstance(metrics, dict) or not set(metrics) >= _METRICS or not described:
            return f"metrics.{protocol}"
    if digests.has_seal(card) and not isinstance(card.get("files_sha256"), dict):
        return "files_sha256"
    return ""


def _impossible_value(card: dict[str, Any]) -> str:
    """A value that would exhaust memory or give no probabilities; empty if none."""
    labels, size, temperature = card["labels"], card["preprocessing"].get("size_px"), card["temperature"]
    if not all(isinstance(label, str) and label for label in labels) or len(set(labels)) != len(labels):
        return f"its labels {labels[:5]} are not different names"
    if not 2 <= len(labels) <= MAX_LABELS:
        return f"it has {len(labels)} labels"
    if not isinstance(size, int) or not 8 <= size <= MAX_SIZE_PX:
        return f"its images have {size} px"
    if card["preprocessing"].get("framing", WHOLE) not in FRAMINGS:
        return f"it cuts images in a way that this version does not know ({str(card['preprocessing']['framing'])[:20]})"
    if card["preprocessing"].get("greys", ORIGINAL) not in GREYS:
        return f"it changes grey values in a way that this version does not know ({str(card['preprocessing']['greys'])[:20]})"
    for name in ("mean", "std"):
        if not _is_per_channel(card["preprocessing"].get(name, [1.0] * 3), positive=name == "std"):
            return f"its {name} of the channels is {str(card['preprocessing'][name])[:50]}"
    if not math.isfinite(temperature) or temperature <= 0:
        return f"its temperature is {temperature}"
    return ""


def _is_per_channel(values: Any, *, positive: bool) -> bool:
    """Whether a value is one finite number for each of red, green and blue, above 0 where it divides."""
    numbers = isinstance(values, list) and all(type(each) in (int, float) and math.isfinite(each) for each in values)
    return numbers and len(values) == 3 and not (positive and min(values) <= 0)


def _texts(value: Any) -> list[str]:
    """Every string within a JSON value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for key, each in value.items() for text in [key, *_texts(each)]]
    return [text for each in value for text in _texts(each)] if isinstance(value, list) else []
