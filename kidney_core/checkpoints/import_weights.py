"""A network that was trained elsewhere as a checkpoint: its weights, and what the user states about them.

kidney-ct import-weights FILE --architecture resnet18 --labels Cyst Normal Stone Tumor --name NAME

Its card has no figures. Nothing is known about its training data, so no slice is recognised as out of distribution or seen in
training, and nothing is calibrated.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from kidney_core import __version__
from kidney_core.checkpoints.card import MAX_LABELS
from kidney_core.checkpoints.checkpoint import INTENDED_USE, Checkpoint, half_precision, name_taken, save_checkpoint
from kidney_core.common import digests, settings
from kidney_core.common.entry_point import command
from kidney_core.common.errors import CheckpointError
from kidney_core.common.labels import canonical_label
from kidney_core.common.typed_paths import path_argument
from kidney_core.imaging.framing import FRAMINGS, GREYS, ORIGINAL, STRETCHED
from kidney_core.networks import models, weight_files, weight_names
from kidney_core.networks.preprocessing import MEAN, STD
from kidney_core.runs.run_folder import check_name

_SIZES_PX = (32, 1024)
LIMITS = (
    "It sees one slice at a time and knows only its labels: whatever a slice shows, it predicts one of them.",
    "It was trained elsewhere and never evaluated here: its accuracy is unknown, also on the data that it learned from.",
    "Its labels, the order of its labels and the preparation of its images are as stated at the import; if they are wrong, so are "
    "its predictions, without any warning.",
    "Its training slices are not known: slices that are unlike them, or among them, are not recognised.",
)


@dataclass(frozen=True)
class StatedNetwork:
    """What the user states about weights.

    Attributes:
        labels: in the order of the network's outputs.
        image_size_px, framing, greys: how it saw images, as the options of a training.
        mean, std: of red, green and blue, of values from 0 to 1.
    """

    architecture: str
    labels: tuple[str, ...]
    image_size_px: int = 224
    framing: str = STRETCHED
    greys: str = ORIGINAL
    mean: Sequence[float] = field(default=MEAN)
    std: Sequence[float] = field(default=STD)


def import_weights(path: Path, stated: StatedNetwork, *, name: str, folder: Path | None = None) -> Checkpoint:
    """Make a checkpoint of a file of weights.

    Raises: ModelError for a file that cannot be read or does not fit the architecture; CheckpointError for labels or a name that
        cannot be used.
    """
    check_name(name, noun="checkpoint", error=CheckpointError)
    target = (folder or settings.checkpoints_folder()) / name
    if target.exists():
        raise name_taken(name)
    labels = _labels(stated.labels)
    architecture = models.timm_name(stated.architecture)
    _require_possible(stated)
    stored = weight_files.read_weights(path)
    model = models.build_model(architecture, len(labels), image_size_px=stated.image_size_px)
    state = weight_names.all_weights(stored, model, architecture, source=path.name)
    model.load_state_dict(state, strict=False)
    weights = half_precision(model.state_dict())
    for parameter, tensor in weights.items():
        if not tensor.isfinite().all():
            raise CheckpointError(
                f"“{path.name}” has values in {parameter} that are not finite in half precision, so its answers would mean nothing. "
                "Choose another file."
            )
    card = _card(name, path, stated, architecture, labels, digests.sha256(save(weights)))
    return save_checkpoint(target, model.state_dict(), card, {})


def _labels(stated: Sequence[str]) -> list[str]:
    labels = [canonical_label(label) for label in stated if label.strip()]
    if not 2 <= len(labels) <= MAX_LABELS:
        raise CheckpointError(
            f"A network needs 2 to {MAX_LABELS} labels, in the order of its outputs; {len(labels)} are given."
        )
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice:
        raise CheckpointError(f"The label {twice} is given twice. Give each output of the network its own label.")
    return labels


def _require_possible(stated: StatedNetwork) -> None:
    """Raise CheckpointError for a preparation of images that cannot be."""
    low, high = _SIZES_PX
    if not low <= stated.image_size_px <= high:
        raise CheckpointError(f"The image size must be between {low} and {high} px; it is {stated.image_size_px}.")
    if stated.framing not in FRAMINGS or stated.greys not in GREYS:
        raise CheckpointError(f"framing must be one of {', '.join(FRAMINGS)}, and greys one of {', '.join(GREYS)}.")
    numbers = torch.tensor([*stated.mean, *stated.std], dtype=torch.float64)
    if len(stated.mean) != 3 or len(stated.std) != 3 or not numbers.isfinite().all() or min(stated.std) <= 0:
        raise CheckpointError(
            "Mean and standard deviation must be three numbers each, for values from 0 to 1; a deviation is above 0."
        )


def _card(
    name: str, path: Path, stated: StatedNetwork, architecture: str, labels: list[str], weights_sha256: str
) -> dict[str, Any]:
    """The card of an imported network, without what `save_checkpoint` adds."""
    usual = tuple(stated.mean) == MEAN and tuple(stated.std) == STD
    return {
        "name": name,
        "architecture": architecture,
        "labels": labels,
        "preprocessing": {
            "size_px": stated.image_size_px,
            "framing": stated.framing,
            "greys": stated.greys,
            "fit": "bilinear",
            "normalise": "ImageNet" if usual else "as stated",
            **({} if usual else {"mean": list(stated.mean), "std": list(stated.std)}),
        },
        "temperature": 1.0,
        "calibrated_on": "",
        "training": {},
        "command": "Trained elsewhere; the command is not known.",
        "data": {},
        "split": {},
        "metrics": {},
        "imported": {"file": path.name, "weights_sha256": weights_sha256},
        "intended_use": INTENDED_USE,
        "limits": list(LIMITS),
        "created": time.strftime("%Y-%m-%d"),
        "software": {"kidney-ct-workbench": __version__, "torch": version("torch"), "timm": version("timm")},
    }


@command
def main(arguments: list[str] | None = None) -> int:
    """Import from the command line."""
    parser = argparse.ArgumentParser(description="Make a checkpoint of a network that was trained elsewhere.")
    parser.add_argument("file", type=path_argument, help="its weights: safetensors, or PyTorch (.pth, .pt, .bin)")
    parser.add_argument("--architecture", required=True, help="timm name, or ResNet18, MobileNetV2, EfficientNet-B0")
    parser.add_argument("--labels", nargs="+", required=True, help="its labels, in the order of its outputs")
    parser.add_argument("--name", required=True, help="name of the new checkpoint")
    parser.add_argument(
        "--image-size", type=int, default=224, help="side of the square that it saw, in pixels (default 224)"
    )
    parser.add_argument(
        "--framing",
        choices=FRAMINGS,
        default=STRETCHED,
        help=f"part of the image that it saw, as in training (default {STRETCHED})",
    )
    parser.add_argument(
        "--greys", choices=GREYS, default=ORIGINAL, help=f"grey values that it saw (default {ORIGINAL})"
    )
    parser.add_argument(
        "--mean", type=float, nargs=3, default=MEAN, help="mean of red, green, blue (default: ImageNet)"
    )
    parser.add_argument(
        "--std", type=float, nargs=3, default=STD, help="standard deviation of red, green, blue (default: ImageNet)"
    )
    options = parser.parse_args(arguments)
    stated = StatedNetwork(
        architecture=options.architecture,
        labels=tuple(options.labels),
        image_size_px=options.image_size,
        framing=options.framing,
        greys=options.greys,
        mean=options.mean,
        std=options.std,
    )
    checkpoint = import_weights(options.file, stated, name=options.name)
    print(f"imported {checkpoint.folder}; it was never evaluated here: kidney-ct evaluate FOLDER {checkpoint.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
