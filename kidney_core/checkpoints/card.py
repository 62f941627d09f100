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
_METRICS = {"n", "accuracy", "balanced_accuracy", "labels", "confusion", "per_label", "macro", "weighted"}


def calibration_source(card: dict[str, Any]) -> str:
    """What the temperature was fitted on, in words; empty where it was not fitted. Cards of 0.4 know validation only."""
    source = card.get("calibrated_on", VALIDATION if card["training"].get("validation_fraction") else "")
    if source == FOLDS:
        return "the test predictions of all folds, on unseen scans"
    return "validation slices" if source == VALIDATION else ""


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
    if not math.isfinite(temperature) or temperature <= 0:
        return f"its temperature is {temperature}"
    return ""
