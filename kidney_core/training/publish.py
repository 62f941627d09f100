"""Publish a finished run, with the metrics of its pair and of its cross-validation, as a checkpoint with a card.

kidney-ct publish runs/GROUPED runs/RANDOM --folds runs/FOLD --name NAME
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kidney_core.checkpoints.checkpoint import (
    REFERENCE_FILE,
    STORED_DIGITS,
    Checkpoint,
    name_taken,
    save_checkpoint,
)
from kidney_core.common import os_errors, settings
from kidney_core.common.entry_point import command
from kidney_core.common.errors import CheckpointError, RunError
from kidney_core.common.typed_paths import path_argument
from kidney_core.metrics.splits import CROSS_VALIDATED, GROUPED, MEASURED, TEST
from kidney_core.runs.cross_validation import (
    OF_A_PAIR,
    OF_FOLDS,
    pooled_predictions,
    same_data,
    same_recipe,
    tested_distances,
    tested_predictions,
)
from kidney_core.runs.run_folder import BEST_FILE, TRAINED_ON_FILE, Run, check_name
from kidney_core.training import published_card
from kidney_core.training.published_card import CardInputs

if TYPE_CHECKING:
    from torch import Tensor


def publish(
    run: Run, *, name: str, other: Run | None = None, folds: Run | None = None, folder: Path | None = None
) -> Checkpoint:
    """Make a checkpoint of a finished run.

    Its weights are those of the run with the scan-level split where there is one, since they are the ones that were
    tested on unseen scans.

    Args:
        other: a run of the same recipe with the other split, for the metrics under that.
        folds: any fold of a cross-validation of the same recipe, for the metrics over all scans.

    Raises: RunError when a run is not finished, or the runs do not belong together; CheckpointError when the name is
        taken or the folder cannot be written.
    """
    runs = {item.config().protocol: item for item in (run, other) if item is not None}
    _check(runs, run, other, folds)
    target = (folder or settings.checkpoints_folder()) / name
    check_name(name, noun="checkpoint", error=CheckpointError)
    if target.exists():
        raise name_taken(name)
    source = runs.get(GROUPED, run)
    state = _weights(source)
    tested = {
        protocol: runs[protocol] for protocol in MEASURED if protocol in runs and runs[protocol].data()["parts"][TEST]
    }
    if not tested and folds is None:
        raise RunError(f"Nothing was tested in “{run.name}”. Give the cross-validation of its recipe with --folds.")
    predictions = {protocol: tested_predictions(item) for protocol, item in tested.items()}
    if folds is not None:
        predictions[CROSS_VALIDATED] = pooled_predictions(folds)
    # The card states what its files hold: an exported zip recomputes it from the rounded probabilities.
    predictions = {protocol: each.rounded(STORED_DIGITS) for protocol, each in predictions.items()}
    card = published_card.describe(name, CardInputs(source, tested, folds, predictions))
    return save_checkpoint(
        target,
        state,
        card,
        predictions,
        trained_on=_content(source, TRAINED_ON_FILE),
        reference=_reference(source, folds),
    )


def _reference(source: Run, folds: Run | None) -> bytes:
    """The content of reference.safetensors, with the thresholds of all folds where there are some."""
    content = _content(source, REFERENCE_FILE)
    distances = tested_distances(folds) if folds is not None and content else None
    if distances is None:
        return content
    from kidney_core.checkpoints import ood  # imports torch

    return ood.to_bytes(ood.with_thresholds_of(ood.load(source.folder / REFERENCE_FILE), distances))


def _content(run: Run, name: str) -> bytes:
    """The content of a file of a run; empty where it has none."""
    path = run.folder / name
    with os_errors.reraise_as(RunError, path):
        return path.read_bytes() if path.is_file() else b""


def _weights(run: Run) -> dict[str, "Tensor"]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(run.folder / BEST_FILE)
    except (OSError, SafetensorError) as error:
        raise RunError(f"The weights of “{run.name}” cannot be read ({error}). Train a new run.") from error


def _check(runs: dict[str, Run], run: Run, other: Run | None, folds: Run | None) -> None:
    """Raise RunError for a run that is not finished, or runs that do not belong together."""
    for item in runs.values():
        item.finished_report()
    for second in (other, folds):
        if second is not None and not same_data(run, second):
            raise RunError(
                f"“{run.name}” and “{second.name}” were not trained on the same data. Choose runs of one folder."
            )
    if other is not None:
        if len(runs) != 2:
            raise RunError(f"“{run.name}” and “{other.name}” have the same split. Give one run of each.")
        if not same_recipe(run.config(), other.config(), but=OF_A_PAIR):
            raise RunError(
                f"“{run.name}” and “{other.name}” differ in more than their split. Choose runs of one recipe."
            )
    if folds is not None and (
        folds.config().protocol != GROUPED or not same_recipe(run.config(), folds.config(), but=OF_FOLDS)
    ):
        raise RunError(f"“{folds.name}” is not a fold of a scan-level cross-validation of the recipe of “{run.name}”.")


@command
def main(arguments: list[str] | None = None) -> int:
    """Publish from the command line."""
    parser = argparse.ArgumentParser(description="Publish a finished run as a checkpoint.")
    parser.add_argument("run", type=path_argument, help="folder of a finished run")
    parser.add_argument("other", type=path_argument, nargs="?", help="a run of the same recipe with the other split")
    parser.add_argument("--folds", type=path_argument, help="any fold of a cross-validation of the same recipe")
    parser.add_argument("--name", required=True, help="name of the new checkpoint")
    options = parser.parse_args(arguments)
    other, folds = (Run(path) if path else None for path in (options.other, options.folds))
    checkpoint = publish(Run(options.run), name=options.name, other=other, folds=folds)
    print(f"published {checkpoint.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
