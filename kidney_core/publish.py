"""A finished run, its pair under the other protocol and its cross-validation -> a checkpoint with its card.

python -m kidney_core.publish runs/GROUPED runs/RANDOM --folds runs/FOLD --name NAME
"""

import argparse
import os
import sys
import time
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from kidney_core import __version__, calibration, evaluation, intervals, recipes
from kidney_core.card import FOLDS, VALIDATION
from kidney_core.checkpoint import INTENDED_USE, REFERENCE_FILE, Checkpoint, checkpoints_folder, save_checkpoint
from kidney_core.cross_validation import (
    OF_A_PAIR,
    OF_FOLDS,
    find_folds,
    pooled_predictions,
    same_data,
    same_recipe,
    tested_predictions,
)
from kidney_core.errors import CheckpointError, RunError, command
from kidney_core.recipes import TrainingConfig
from kidney_core.runs import FINISHED, TRAINED_ON_FILE, Run, usable_name
from kidney_core.splits import CROSS_VALIDATED, GROUPED, PROTOCOLS, TEST, honest_of

ACCEPTED_ERROR = 0.1  # of the answers on scans never seen; below the confidence that keeps it, a model abstains
LEAST_COVERAGE = 0.05  # of the slices; an error measured on fewer answers says nothing, and the model always abstains

# What a card says of the data; the rest of a run's data.json is about that run.
_DESCRIBED = (
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
)

if TYPE_CHECKING:
    from torch import Tensor


def publish(
    run: Run, *, name: str, other: Run | None = None, folds: Run | None = None, folder: Path | None = None
) -> Checkpoint:
    """Make a checkpoint of a finished run.

    The weights are those of the grouped run where there is one, since they are the ones that the honest
    figure describes.

    Args:
        other: the run that contributes the figures under the other protocol.
        folds: any fold of the cross-validation that contributes the figures over all scans.

    Raises: RunError when a run is not finished or they do not belong together; CheckpointError when the
        name is taken.
    """
    runs = {item.config().protocol: item for item in (run, other) if item is not None}
    _check(runs, run, other, folds)
    target = (folder or checkpoints_folder()) / name
    if not usable_name(name):
        raise CheckpointError(
            f"“{name}” cannot name a checkpoint: use up to 100 letters, digits, dots, dashes and underscores."
        )
    if (target / "card.json").exists():
        raise CheckpointError(f"A checkpoint named “{name}” exists already. Choose another name.")
    source = runs.get(GROUPED, run)
    state = _weights(source)
    tested = {
        protocol: runs[protocol] for protocol in PROTOCOLS if protocol in runs and runs[protocol].data()["parts"][TEST]
    }
    if not tested and folds is None:
        raise RunError(f"Nothing was tested in “{run.name}”. Give the cross-validation of its recipe with --folds.")
    predictions = {protocol: tested_predictions(item) for protocol, item in tested.items()}
    if folds is not None:
        predictions[CROSS_VALIDATED] = pooled_predictions(folds)
    card = _card(name, source, tested, folds, predictions)
    hashes, reference = source.folder / TRAINED_ON_FILE, source.folder / REFERENCE_FILE
    return save_checkpoint(
        target,
        state,
        card,
        predictions,
        trained_on=hashes.read_text() if hashes.is_file() else "",
        reference=reference.read_bytes() if reference.is_file() else b"",
    )


def _weights(run: Run) -> dict[str, "Tensor"]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(run.folder / "best.safetensors")
    except (OSError, SafetensorError) as error:
        raise RunError(f"The weights of “{run.name}” cannot be read ({error}). Train the run anew.") from error


def _check(runs: dict[str, Run], run: Run, other: Run | None, folds: Run | None) -> None:
    for item in runs.values():
        if item.state()["state"] != FINISHED or item.report() is None:
            raise RunError(f"The run “{item.name}” is not finished. Resume it, or choose another one.")
    for item in (other, folds):
        if item is not None and not same_data(run, item):
            raise RunError(
                f"“{run.name}” and “{item.name}” were not trained on the same data. Choose runs of one folder."
            )
    if other is not None:
        if len(runs) != 2:
            raise RunError(f"“{run.name}” and “{other.name}” have the same protocol. Give one of each.")
        if not same_recipe(run.config(), other.config(), but=OF_A_PAIR):
            raise RunError(f"“{run.name}” and “{other.name}” differ in more than their protocol.")
    if folds is not None and (
        folds.config().protocol != GROUPED or not same_recipe(run.config(), folds.config(), but=OF_FOLDS)
    ):
        raise RunError(f"“{folds.name}” is no grouped cross-validation of the recipe of “{run.name}”.")


def _card(
    name: str, source: Run, runs: dict[str, Run], folds: Run | None, predictions: dict[str, pd.DataFrame]
) -> dict[str, Any]:
    config, data, report = source.config(), source.data(), source.report()
    options = {key: value for key, value in asdict(config).items() if value not in ("", None)}
    # Folders of the training machine are nobody else's business.
    named = {key: Path(getattr(config, key)).name for key in ("data", "init")}
    named["extra_data"] = os.pathsep.join(Path(folder).name for folder in config.extra_folders)
    options |= {key: value for key, value in named.items() if value}
    return {
        "name": name,
        "architecture": config.architecture,
        "labels": data["labels"],
        "preprocessing": {
            "size_px": config.image_size_px,
            "framing": config.framing,
            "fit": "padded to a square, bilinear",
            "normalise": "ImageNet",
        },
        # A run's own validation part has few scans, the folds have tested all.
        "temperature": evaluation.fitting_temperature(predictions[CROSS_VALIDATED]) if folds else report["temperature"],
        "calibrated_on": FOLDS if folds else VALIDATION if config.validation_fraction else "",
        "training": options,
        "command": recipes.command_line(replace(config, device="auto", **named)),
        "data": {key: data[key] for key in data if key in _DESCRIBED},
        "split": {
            protocol: {key: item.data()[key] for key in ("parts", "test_series", "shared_series_fraction")}
            for protocol, item in runs.items()
        }
        | ({CROSS_VALIDATED: _describe_folds(folds)} if folds else {}),
        "metrics": {protocol: evaluation.figures(table) for protocol, table in predictions.items()},
        "intervals": {protocol: _intervals(table) for protocol, table in predictions.items()},
        "curves": source.epochs(),
        "familiarity": report.get("familiarity") or _familiarity_of(folds),
        "abstention": _abstention(predictions),
        "intended_use": INTENDED_USE,
        "limits": _limits(config, data, runs, folds),
        "created": time.strftime("%Y-%m-%d"),
        "software": {"kidney-ct-workbench": __version__, "torch": version("torch"), "timm": version("timm")},
    }


def _intervals(predictions: pd.DataFrame) -> dict[str, list[float | None]]:
    """95 % intervals over series, rounded to what they can bear."""
    found = intervals.intervals(predictions)
    return {name: [None if end is None else round(end, 4) for end in (at.low, at.high)] for name, at in found.items()}


def _abstention(predictions: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """The confidence from which the model answers, from its answers on scans never seen; empty without any."""
    protocol = honest_of(predictions)
    if protocol is None:
        return {}
    table = predictions[protocol]
    found = calibration.risk_coverage(evaluation.probabilities_of(table), evaluation.true_positions(table))
    threshold = found.threshold_for(ACCEPTED_ERROR)
    coverage, risk = found.at(threshold) if threshold is not None else (0.0, 0.0)
    if coverage < LEAST_COVERAGE:
        threshold, coverage, risk = None, 0.0, 0.0
    return {
        "protocol": protocol,
        "accepted_error": ACCEPTED_ERROR,
        "threshold": threshold,
        "coverage": round(coverage, 4),
        "error": round(risk, 4),
    }


def _familiarity_of(fold: Run | None) -> dict[str, float]:
    """What the folds of a cross-validation would call foreign and seen of their test slices, on the mean; else empty."""
    reports = [each.report() or {} for each in find_folds(fold).values()] if fold else []
    found = [report["familiarity"] for report in reports if report.get("familiarity")]
    return {key: sum(each[key] for each in found) / len(found) for key in found[0]} if found else {}


def _describe_folds(fold: Run) -> dict[str, Any]:
    config, data = fold.config(), fold.data()
    return {
        "n_folds": config.n_folds,
        "seed": config.seed,
        "test_series": data["n_series"],
        "shared_series_fraction": max(each.data()["shared_series_fraction"] for each in find_folds(fold).values()),
    }


def _limits(config: TrainingConfig, data: dict[str, Any], runs: dict[str, Run], folds: Run | None) -> list[str]:
    limits = [
        "It sees one slice at a time and knows only its labels: anything else is forced into one of them.",
        f"One dataset, “{data['name']}”; scanners, protocols and people elsewhere differ.",
    ]
    if folds is not None:
        limits.append(
            f"The honest figure is of the recipe: {folds.config().n_folds} networks, each tested on the "
            f"scans it never saw, {folds.data()['n_series']} in all. "
            + (
                "The network that ships is one more of the recipe, or one of them."
                if data["parts"][TEST]
                else "The network that ships is one more of the recipe, taught with the scans that the folds tested on too."
            )
        )
    elif GROUPED in runs:
        test = runs[GROUPED].data()
        limits.append(
            f"The honest figure rests on {test['test_series']} test series of one split: another split would give "
            "another figure, by several points."
        )
    else:
        limits.append("No figure on unseen scans was measured: how it does on a new patient is unknown.")
    if config.init == "scratch":
        limits.append("Trained from random weights, for want of ImageNet weights on the training machine.")
    if data.get("extra_training_slices"):
        limits.append(
            f"{data['extra_training_slices']:,} slices of “{data['extra_data']}” were added to the training part."
        )
    return limits


@command
def main(arguments: list[str] | None = None) -> int:
    """Publish from the command line."""
    parser = argparse.ArgumentParser(description="Publish a finished run as a checkpoint.")
    parser.add_argument("run", type=Path)
    parser.add_argument("other", type=Path, nargs="?", help="the same recipe under the other protocol")
    parser.add_argument("--folds", type=Path, help="any fold of a cross-validation of the same recipe")
    parser.add_argument("--name", required=True)
    options = parser.parse_args(arguments)
    other, folds = (Run(path) if path else None for path in (options.other, options.folds))
    made = publish(Run(options.run), name=options.name, other=other, folds=folds)
    print(f"published {made.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
