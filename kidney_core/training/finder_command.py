"""Train the kidney finder, measure it on volumes it never saw, and write it as a sealed folder.

    kidney-ct train-finder ../shared/data/abdomen-volumes --weights mobilenetv2_100.imagenet.safetensors

Folds over the volumes give the figures of the card; all volumes together train what ships. Started again, it goes on.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from kidney_core.checkpoints.checkpoint import half_precision
from kidney_core.common import digests, settings
from kidney_core.common.entry_point import command, progress_printer
from kidney_core.common.errors import DatasetError
from kidney_core.common.files import write_atomically
from kidney_core.common.typed_paths import path_argument
from kidney_core.data import annotated_volumes
from kidney_core.data.annotated_volumes import AnnotatedSlices, Volume
from kidney_core.data.dataset import Dataset, read_dataset
from kidney_core.imaging.framing import BODY, View
from kidney_core.kidneys import finder
from kidney_core.kidneys.finder_network import FinderNetwork
from kidney_core.training import finder_evaluation, finder_pseudo_labels, finder_training
from kidney_core.training.finder_training import FinderRecipe

_TRAINED_VIEW = View(224, BODY)  # larger than what the network sees, so that turning and zooming lose nothing
_N_PHANTOM_SCANS = 60  # of each label
_EVERY_UNLABELLED = 3  # of neighbouring slices that a finder outlined itself, one of so many is learned from
INTENDED_USE = (
    "Finds the right and the left kidney in CT slices of the abdomen, so that other networks judge kidneys only. Research and "
    "teaching; not a medical device."
)
LIMITS = (
    "Its annotated kidneys are healthy, of one hospital and in the portal venous phase; other phases, cysts and masses were simulated, "
    "or outlined by the finder itself.",
    "Not measured on transplanted kidneys, horseshoe kidneys or children.",
)


def train_and_measure(
    volumes: list[Volume],
    recipe: FinderRecipe,
    work: Path,
    *,
    encoder_weights: Path,
    n_folds: int,
    unlabelled: Dataset | None = None,
) -> tuple[FinderNetwork, list[dict[str, Any]]]:
    """The network trained on all volumes, and the measures of each volume by the fold that left it out.

    Args:
        unlabelled: a dataset on whose slices each finder outlines kidneys itself and learns from them in a second training.
    """
    per_volume = [annotated_volumes.of_volumes([volume], _TRAINED_VIEW) for volume in volumes]
    phantoms = annotated_volumes.simulated(_N_PHANTOM_SCANS, _TRAINED_VIEW)
    rows: list[dict[str, Any]] = []

    def train(name: str, chosen: list[int]) -> FinderNetwork:
        slices = annotated_volumes.concatenate([*(per_volume[i] for i in chosen), phantoms])
        network = _train(name, slices, recipe, work, encoder_weights)
        if unlabelled is None:
            return network
        first = finder.KidneyFinder({"view": _view(recipe)}, network)
        outlined = finder_pseudo_labels.pseudo_label(
            unlabelled, first, _TRAINED_VIEW, every=_EVERY_UNLABELLED, progress=progress_printer(f"{name}: outlining")
        )
        more = annotated_volumes.concatenate([slices, outlined])
        return _train(f"{name}-second", more, recipe.second(), work, encoder_weights, start=network)

    for fold in range(n_folds):
        held_out = list(range(fold, len(volumes), n_folds))
        network = train(f"fold{fold}", [i for i in range(len(volumes)) if i not in held_out])
        measured = finder.KidneyFinder({"view": _view(recipe)}, network)
        for index in held_out:
            rows += finder_evaluation.measure(measured, volumes[index])
            print(rows[-1], flush=True)
    return train("all", list(range(len(volumes)))), rows


def _train(
    name: str,
    slices: AnnotatedSlices,
    recipe: FinderRecipe,
    work: Path,
    encoder_weights: Path,
    *,
    start: FinderNetwork | None = None,
) -> FinderNetwork:
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    return finder_training.train(
        slices,
        recipe,
        folder,
        encoder_weights=encoder_weights,
        start=start,
        progress=lambda step, total, loss: print(f"{name}: step {step} of {total}, loss {loss:.3f}", flush=True),
    )


def _view(recipe: FinderRecipe) -> dict[str, Any]:
    return {"size_px": recipe.size_px, "framing": BODY}


def write(folder: Path, network: FinderNetwork, card: dict[str, Any]) -> None:
    """Write a finder as `finder.open_finder` reads it; the card last."""
    content = save(half_precision(network.state_dict()))
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / finder.WEIGHTS_FILE, lambda partial: partial.write_bytes(content))
    described = {"format": finder.CARD_FORMAT, **card, "weights_sha256": digests.sha256(content)}
    finder.write_card(folder, described)


@command
def main(arguments: list[str] | None = None) -> int:
    """Train the finder from the command line."""
    parser = argparse.ArgumentParser(description="Train the kidney finder on annotated volumes.")
    parser.add_argument("folder", type=path_argument, help="annotated volumes: slices/VOLUME and kidneys/VOLUME")
    parser.add_argument(
        "--weights", type=path_argument, required=True, help="ImageNet weights of mobilenetv2_100 (safetensors)"
    )
    parser.add_argument(
        "--work", type=path_argument, help="folder of the trainings' state (default: kidney-finder in the runs)"
    )
    parser.add_argument(
        "--out", type=path_argument, help="folder of the finder (default: kidney-finder in the checkpoints)"
    )
    parser.add_argument(
        "--unlabelled", type=path_argument, help="dataset for a second training on slices it outlines itself"
    )
    parser.add_argument("--steps", type=int, default=FinderRecipe.n_steps)
    parser.add_argument("--second-steps", type=int, default=FinderRecipe.n_second_steps)
    parser.add_argument("--folds", type=int, default=3)
    options = parser.parse_args(arguments)
    volumes = annotated_volumes.read_volumes(options.folder)
    if not 2 <= options.folds <= len(volumes):
        raise DatasetError(
            f"--folds is {options.folds}. Give at least 2 and at most {len(volumes)}, the number of volumes."
        )
    recipe = FinderRecipe(n_steps=options.steps, n_second_steps=options.second_steps)
    unlabelled = (
        read_dataset(options.unlabelled, progress=progress_printer("Reading images")) if options.unlabelled else None
    )
    work = options.work or settings.runs_folder() / finder.FOLDER
    out = options.out or settings.checkpoints_folder() / finder.FOLDER
    network, rows = train_and_measure(
        volumes, recipe, work, encoder_weights=options.weights, n_folds=options.folds, unlabelled=unlabelled
    )
    card = {
        "name": "Kidney finder",
        "encoder": "mobilenetv2_100",
        "initial_weights": {"file": options.weights.name, "sha256": digests.sha256(options.weights.read_bytes())},
        "view": _view(recipe),
        "recipe": asdict(recipe),
        "data": {
            "volumes": [volume.name for volume in volumes],
            "n_slices": sum(len(volume.pixels) for volume in volumes),
            "n_phantom_scans": 4 * _N_PHANTOM_SCANS,
            "unlabelled": unlabelled.root.resolve().name if unlabelled else "",
        },
        "protocol": f"each volume measured by a network that did not see it ({options.folds} folds over the volumes)",
        "metrics": finder_evaluation.summarize(rows),
        "by_volume": rows,
        "intended_use": INTENDED_USE,
        "limits": list(LIMITS),
        "software": {"torch": torch.__version__.split("+")[0]},
    }
    write(out, network, card)
    print(f"wrote {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
