"""Train the classifier of turned pictures on the encoder of a kidney finder, measure it, and add it to the finder's folder.

    kidney-ct train-orientation ../shared/data/abdomen-volumes --unlabelled ../shared/data/ct-kidney-plain

It needs upright slices only, which it turns itself. Folds over volumes and scans give the figures of the card.
"""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kidney_core.common import digests
from kidney_core.common.entry_point import command, progress_printer
from kidney_core.common.files import write_atomically
from kidney_core.data import annotated_volumes
from kidney_core.data.dataset import Dataset, read_dataset
from kidney_core.data.image_batches import for_each_batch
from kidney_core.data.series import scan_table
from kidney_core.imaging.framing import View
from kidney_core.imaging.slices import Slice
from kidney_core.kidneys import finder as finders
from kidney_core.kidneys.finder import KidneyFinder
from kidney_core.kidneys.orientation import TURNED, TURNS_DEG, TurnClassifier
from kidney_core.training.finder_augmentation import change_greys

_N_FOLDS = 5
_EVERY_OF_VOLUMES, _N_OF_DATASET = 4, 1000  # slices that are learned from: one of so many; at most
_CHANGED = 2  # copies of each slice as of another scanner, beside the slice as it is
_REGULARISATION = 0.01  # C of the logistic regression
_MAX_ANGLE_DEG, _SMALLEST_PART = 15.0, 0.7  # of the changed copies
_BATCH = 32


@dataclass(frozen=True)
class UprightSlices:
    """Slices that stand upright.

    Attributes:
        squares: (N, S, S) uint8, as the finder sees them.
        sources: (N,) what the figures are split by.
        scans: (N,) the volume or scan of each.
    """

    squares: np.ndarray = field(repr=False)
    sources: np.ndarray
    scans: np.ndarray


def of_volumes(folder: Path, view: View) -> UprightSlices:
    """Slices of annotated volumes in all planes."""
    rows: list[tuple[np.ndarray, str, str]] = []
    for volume in annotated_volumes.read_volumes(folder):
        slices = annotated_volumes.of_volumes([volume], view)
        rows += [(slices.squares[i], str(slices.planes[i]), volume.name) for i in range(len(slices.squares))][
            ::_EVERY_OF_VOLUMES
        ]
    return _gather(rows)


def of_dataset(dataset: Dataset, view: View) -> UprightSlices:
    """Slices of a dataset, evenly over its files."""
    chosen = set(np.linspace(0, len(dataset) - 1, min(_N_OF_DATASET, len(dataset))).astype(int))
    series = scan_table(dataset)["series"].to_numpy()
    rows: list[tuple[np.ndarray, str, str]] = []

    def collect(start: int, images: list[Slice]) -> None:
        rows.extend(
            (view.frame(image.network_grey8()).square, dataset.root.name, str(series[position]))
            for position, image in enumerate(images, start)
            if position in chosen
        )

    for_each_batch(dataset, collect, progress=progress_printer("Reading images"))
    return _gather(rows)


def _gather(rows: list[tuple[np.ndarray, str, str]]) -> UprightSlices:
    squares, sources, scans = zip(*rows, strict=True)
    return UprightSlices(np.stack(squares), np.array(sources), np.array(scans))


def changed(square: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A slice as of another scanner, lying a little askew, mirrored or cropped: (S, S) uint8 -> the same."""
    grey = change_greys(square.astype(np.float32), rng)
    grey = ndimage.rotate(grey, rng.uniform(-_MAX_ANGLE_DEG, _MAX_ANGLE_DEG), reshape=False, order=1)
    size = len(grey)
    height, width = (round(size * rng.uniform(_SMALLEST_PART, 1)) for _ in range(2))
    top, left = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
    part = ndimage.zoom(grey[top : top + height, left : left + width], (size / height, size / width), order=1)
    part = part[:size, :size].clip(0, 255)
    return np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part).astype(np.uint8)


def turned_features(finder: KidneyFinder, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The features of slices in all four orientations, and which it is: (N, S, S) uint8 -> (4 N, F) float32 and (4 N,)."""
    features = []
    for start in range(0, len(squares), _BATCH):
        batch = squares[start : start + _BATCH]
        every = np.stack([np.rot90(each, turn) for each in batch for turn in range(len(TURNS_DEG))])
        features.append(finder.turn_features(every).numpy())
    return np.concatenate(features), np.tile(np.arange(len(TURNS_DEG)), len(squares))


def fit(features: np.ndarray, turns: np.ndarray) -> TurnClassifier:
    """A logistic regression on standardised features, with the standardising taken into its weights."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=_REGULARISATION, max_iter=500)).fit(features, turns)
    scaler, regression = model[0], model[1]
    weight = regression.coef_ / scaler.scale_
    bias = regression.intercept_ - weight @ scaler.mean_
    return TurnClassifier(torch.from_numpy(np.ascontiguousarray(weight)).float(), torch.from_numpy(bias).float())


def train_and_measure(finder: KidneyFinder, slices: UprightSlices) -> tuple[TurnClassifier, dict[str, dict[str, Any]]]:
    """The classifier of all slices, and by source, on volumes and scans not seen, how many upright slices it takes for turned."""
    rng = np.random.default_rng(0)
    copies = [slices.squares] + [np.stack([changed(each, rng) for each in slices.squares]) for _ in range(_CHANGED)]
    parts = [turned_features(finder, each) for each in copies]
    per_slice = len(TURNS_DEG)
    is_turned = np.empty(per_slice * len(slices.squares), bool)
    scans = np.repeat(slices.scans, per_slice)
    for train, test in GroupKFold(_N_FOLDS).split(scans, groups=scans):
        model = fit(
            np.concatenate([features[train] for features, _ in parts]), np.concatenate([y[train] for _, y in parts])
        )
        upright = model.probabilities(torch.from_numpy(parts[0][0][test]))[:, 0]
        is_turned[test] = upright < 1 - TURNED
    turns, sources = parts[0][1], np.repeat(slices.sources, per_slice)
    metrics = {
        str(source): {
            "n": int((slices.sources == source).sum()),
            "n_scans": len(set(slices.scans[slices.sources == source])),
            "upright_called_turned": float(is_turned[(sources == source) & (turns == 0)].mean()),
            "turned_found": float(is_turned[(sources == source) & (turns != 0)].mean()),
        }
        for source in sorted(set(slices.sources))
    }
    return fit(*(np.concatenate(each) for each in zip(*parts, strict=True))), metrics


@command
def main(arguments: list[str] | None = None) -> int:
    """Train the classifier from the command line."""
    parser = argparse.ArgumentParser(description="Train the classifier of turned pictures of a kidney finder.")
    parser.add_argument("folder", type=Path, help="annotated volumes: slices/VOLUME and kidneys/VOLUME")
    parser.add_argument("--unlabelled", type=Path, required=True, help="dataset of upright slices")
    parser.add_argument("--finder", type=Path, help="folder of the finder (default: the installed one)")
    options = parser.parse_args(arguments)
    folder = options.finder or finders.installed_folder()
    finder = finders.open_finder(folder)
    dataset = read_dataset(options.unlabelled, progress=progress_printer("Reading images"))
    both = of_volumes(options.folder, finder.view), of_dataset(dataset, finder.view)
    names = ("squares", "sources", "scans")
    slices = UprightSlices(*(np.concatenate([getattr(each, name) for each in both]) for name in names))
    classifier, metrics = train_and_measure(finder, slices)
    content = classifier.to_bytes()
    write_atomically(folder / finders.ORIENTATION_FILE, lambda partial: partial.write_bytes(content))
    measured = {
        "protocol": f"slices of volumes and scans that were left out ({_N_FOLDS} folds), as they are and turned by 90, 180 and 270 degrees; "
        f"turned: at least {TURNED:.0%} certain",
        "metrics": metrics,
        "weights_sha256": digests.sha256(content),
    }
    finders.write_card(folder, {**finder.card, "orientation": measured})
    for source, row in metrics.items():
        print(
            f"{source}: {row['n']} slices of {row['n_scans']} scans: {row['upright_called_turned']:.1%} of the upright ones are taken for "
            f"turned, {row['turned_found']:.1%} of the turned ones are found"
        )
    print(f"wrote {folder / finders.ORIENTATION_FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
