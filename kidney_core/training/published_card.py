"""What the card of a published run states: recipe, data, metrics with intervals, when it abstains, and its limits."""

import os
import time
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kidney_core import __version__
from kidney_core.checkpoints import gate_thresholds
from kidney_core.checkpoints.card import FOLDS, VALIDATION
from kidney_core.checkpoints.checkpoint import INTENDED_USE
from kidney_core.metrics import abstention, evaluation, intervals, prediction_sets
from kidney_core.metrics.predictions import Predictions
from kidney_core.metrics.splits import CROSS_VALIDATED, GROUPED, TEST, unseen_protocol
from kidney_core.runs import recipes
from kidney_core.runs.cross_validation import find_folds, tested_distances
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.runs.run_folder import Run

# The keys of a run's data.json that a card repeats; the others are about that run only.
_DATA_KEYS = (
    "name",
    "fingerprint",
    "labels",
    "n_slices",
    "counts",
    "n_series",
    "series_per_label",
    "test_series",
    "extra_training_slices",
    "extra_data",
    "painted_slices",
)


@dataclass(frozen=True)
class CardInputs:
    """What is known of a network that is published.

    Attributes:
        source: the run whose weights are published.
        tested: protocol -> the run of this recipe that was tested under it.
        folds: any fold of a cross-validation of this recipe; None without one.
        predictions: protocol -> the predictions that are stored beside the card.
    """

    source: Run
    tested: dict[str, Run]
    folds: Run | None
    predictions: dict[str, Predictions]


def describe(name: str, inputs: CardInputs) -> dict[str, Any]:
    """The card of a checkpoint, without what `save_checkpoint` adds: format and digests."""
    source, folds, predictions = inputs.source, inputs.folds, inputs.predictions
    config, data, report = source.config(), source.data(), source.finished_report()
    options = {key: value for key, value in asdict(config).items() if value not in ("", None)}
    public = _without_folders(config)
    options |= {key: value for key, value in asdict(public).items() if key in ("data", "init", "extra_data") and value}
    return {
        "name": name,
        "architecture": config.architecture,
        "labels": data["labels"],
        "preprocessing": {
            "size_px": config.image_size_px,
            "framing": config.framing,
            "greys": config.greys,
            "fit": "padded to a square, bilinear",
            "normalise": "ImageNet",
        },
        # The validation part of one run has few scans; the folds tested all.
        "temperature": predictions[CROSS_VALIDATED].best_temperature() if folds else report["temperature"],
        "calibrated_on": FOLDS if folds else VALIDATION if config.validation_fraction else "",
        "training": options,
        "command": recipes.command_line(replace(public, device="auto")),
        "data": {key: data[key] for key in data if key in _DATA_KEYS},
        "split": {
            protocol: {key: item.data()[key] for key in ("parts", "test_series", "shared_series_fraction")}
            for protocol, item in inputs.tested.items()
        }
        | ({CROSS_VALIDATED: _describe_folds(folds)} if folds else {}),
        "metrics": {protocol: evaluation.metrics(each) for protocol, each in predictions.items()},
        "intervals": {protocol: _intervals(each) for protocol, each in predictions.items()},
        "epoch": report["best_epoch"],
        "curves": source.epochs(),
        "familiarity": _refusals(folds) or report.get("familiarity", {}),
        "abstention": _abstention(predictions),
        "prediction_sets": _prediction_sets(predictions),
        "intended_use": INTENDED_USE,
        "limits": _limits(inputs),
        "created": time.strftime("%Y-%m-%d"),
        "software": {"kidney-ct-workbench": __version__, "torch": version("torch"), "timm": version("timm")},
    }


def _without_folders(config: TrainingConfig) -> TrainingConfig:
    """The configuration with the names of its files and folders only: where they are on this machine is private."""
    return replace(
        config,
        data=Path(config.data).name,
        init=Path(config.init).name,
        extra_data=os.pathsep.join(Path(folder).name for folder in config.extra_folders),
    )


def _intervals(predictions: Predictions) -> dict[str, list[float | None]]:
    """95 % intervals over scans, to four decimals."""
    return {
        name: [None if end is None else round(end, 4) for end in (interval.low, interval.high)]
        for name, interval in intervals.intervals(predictions).items()
    }


def _abstention(predictions: dict[str, Predictions]) -> dict[str, Any]:
    """When the model abstains, by its predictions on unseen scans; empty without any."""
    protocol = unseen_protocol(predictions)
    return {} if protocol is None else abstention.describe(predictions[protocol], protocol)


def _prediction_sets(predictions: dict[str, Predictions]) -> dict[str, Any]:
    """Which labels are in a prediction set, by the predictions on unseen scans; empty without any."""
    protocol = unseen_protocol(predictions)
    return {} if protocol is None else prediction_sets.describe(predictions[protocol], protocol)


def _refusals(fold: Run | None) -> dict[str, float]:
    """How much the out-of-distribution check refuses over the folds of a cross-validation; empty without any."""
    distances = tested_distances(fold) if fold else None
    return {} if distances is None else gate_thresholds.refusals(distances)


def _describe_folds(fold: Run) -> dict[str, Any]:
    config, data = fold.config(), fold.data()
    return {
        "n_folds": config.n_folds,
        "seed": config.seed,
        "test_series": data["n_series"],
        "shared_series_fraction": max(each.data()["shared_series_fraction"] for each in find_folds(fold).values()),
    }


def _limits(inputs: CardInputs) -> list[str]:
    """What a user of the network has to know, a sentence each."""
    config, data, folds = inputs.source.config(), inputs.source.data(), inputs.folds
    limits = [
        "It sees one slice at a time and knows only its labels: whatever a slice shows, it predicts one of them.",
        f"One dataset, “{data['name']}”; scanners, protocols and patients elsewhere differ.",
    ]
    if folds is not None:
        limits.append(
            f"The accuracy on unseen scans is that of the recipe: {folds.config().n_folds} networks, each tested on "
            f"scans that it was not trained on, {folds.data()['n_series']} in all. "
            + (
                "The published network is one of them, or another one of the same recipe."
                if data["parts"][TEST]
                else "The published network is another one of the same recipe, trained on scans of all folds."
            )
        )
    elif GROUPED in inputs.tested:
        test = inputs.tested[GROUPED].data()
        limits.append(
            f"The accuracy on unseen scans was measured on {test['test_series']} test scans of one split; with another "
            "split it could differ by several percentage points."
        )
    else:
        limits.append("It was not tested on unseen scans: its accuracy on new patients is unknown.")
    if config.init == "scratch":
        limits.append("Its initial weights were random, not pretrained on ImageNet.")
    if config.drawn_lesions:
        limits.append(
            f"Half of what it learned from were lesions drawn into healthy kidneys by a simulator, and {data.get('painted_slices', 0):,} "
            "slices whose marked lesions were painted over."
        )
    if data.get("extra_training_slices"):
        limits.append(
            f"{data['extra_training_slices']:,} slices of “{data['extra_data']}” were added to the training part."
        )
    return limits
