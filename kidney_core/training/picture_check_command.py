"""Train the finder's check for turned pictures and contact sheets on its own features, measure it, and add it to its folder.

    kidney-ct train-picture-check ../shared/data/abdomen-volumes --unlabelled ../shared/data/ct-kidney-plain

It needs upright slices only, which it turns and lays side by side itself. Folds over volumes and scans give the figures of the card.
"""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kidney_core.common import digests
from kidney_core.common.entry_point import command, progress_printer
from kidney_core.common.files import write_atomically
from kidney_core.common.typed_paths import path_argument
from kidney_core.data import annotated_volumes
from kidney_core.data.dataset import Dataset, read_dataset
from kidney_core.data.image_batches import for_each_batch
from kidney_core.data.series import scan_table
from kidney_core.imaging.framing import View
from kidney_core.imaging.slices import Slice
from kidney_core.kidneys import finder as finders
from kidney_core.kidneys.finder import KidneyFinder
from kidney_core.kidneys.picture_check import CERTAIN, N_TURNS, SEVERAL, UPRIGHT, PictureClassifier
from kidney_core.training.finder_augmentation import change_greys

_N_FOLDS = 5
_EVERY_OF_VOLUMES, _N_OF_DATASET = 4, 1000  # slices that are learned from: one of so many; at most
_CHANGED = 2  # copies of each slice as of another scanner, beside the slice as it is
_REGULARISATION = 0.01  # C of the logistic regression
_MAX_ANGLE_DEG, _SMALLEST_PART = 15.0, 0.7  # of the changed copies
_FEW_TILES, _MOST_TILES, _MAX_GAP_PX = 2, 6, 12  # of a contact sheet, along each side
_MAX_MARGIN = 0.4  # of the side of a slice on a contact sheet
_FROM_ONE_SCAN = 0.6  # of the contact sheets
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


@dataclass(frozen=True)
class Examples:
    """Features of pictures and what each is.

    Attributes:
        features: (N, F) float32.
        kinds: (N,) of `picture_check`.
        rows: (N,) the slice that each was made of, the first one of a contact sheet.
    """

    features: np.ndarray = field(repr=False)
    kinds: np.ndarray = field(repr=False)
    rows: np.ndarray = field(repr=False)


def of_volumes(folder: Path, view: View) -> UprightSlices:
    """Slices of annotated volumes in all planes."""
    rows: list[tuple[np.ndarray, str, str]] = []
    for volume in annotated_volumes.read_volumes(folder):
        slices = annotated_volumes.of_volumes([volume], view)
        chosen = range(0, len(slices.squares), _EVERY_OF_VOLUMES)
        rows += [(slices.squares[i], str(slices.planes[i]), volume.name) for i in chosen]
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


def contact_sheet(tiles: np.ndarray, n_down: int, n_across: int, gap_px: int, grey: int) -> np.ndarray:
    """Slices side by side: (n_down * n_across, S, S) uint8 -> (H, W) uint8."""
    size = tiles.shape[-1] + gap_px
    sheet = np.full((n_down * size + gap_px, n_across * size + gap_px), grey, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = gap_px + number // n_across * size, gap_px + number % n_across * size
        sheet[top : top + len(tile), left : left + len(tile)] = tile
    return sheet


def turned(finder: KidneyFinder, squares: np.ndarray) -> Examples:
    """Slices in all four orientations: (N, S, S) uint8 -> 4 N examples."""
    features = []
    for start in range(0, len(squares), _BATCH):
        batch = squares[start : start + _BATCH]
        every = np.stack([np.rot90(each, turn) for each in batch for turn in range(N_TURNS)])
        features.append(finder.picture_features(every).numpy())
    rows = np.repeat(np.arange(len(squares)), N_TURNS)
    return Examples(np.concatenate(features), np.tile(np.arange(N_TURNS), len(squares)), rows)


def sheets(finder: KidneyFinder, slices: UprightSlices, folds: np.ndarray, rng: np.random.Generator) -> Examples:
    """As many contact sheets as slices, each of one scan or of one source, and of one fold: (N,) numbers."""
    squares = []
    for row in range(len(slices.squares)):
        is_near = (slices.sources == slices.sources[row]) & (folds == folds[row])
        if rng.random() < _FROM_ONE_SCAN:
            is_near &= slices.scans == slices.scans[row]
        candidates = np.flatnonzero(is_near)
        most = _FEW_TILES if rng.random() < 0.5 else _MOST_TILES
        n_down, n_across = (int(n) for n in rng.integers(1, most + 1, 2))
        if n_down * n_across == 1:  # half of the smallest ones have two slices, the others four
            n_down, n_across = [(1, 2), (2, 1), (2, 2), (2, 2)][rng.integers(4)]
        first = int(np.searchsorted(candidates, row))
        chosen = candidates[(first + np.arange(n_down * n_across)) % len(candidates)]
        margin = rng.uniform(0, _MAX_MARGIN)  # of air around each body, as in the whole picture
        tiles = np.stack([_shrunk(each, 224 // max(n_down, n_across), margin) for each in slices.squares[chosen]])
        gap = int(rng.integers(0, _MAX_GAP_PX)) if rng.random() < 0.5 else 0
        sheet = contact_sheet(tiles, n_down, n_across, gap, int(rng.choice([0, 0, 128, 255])))
        squares.append(finder.view.frame(sheet).square)
    parts = [
        finder.picture_features(np.stack(squares[start : start + _BATCH])).numpy()
        for start in range(0, len(squares), _BATCH)
    ]
    return Examples(np.concatenate(parts), np.full(len(squares), SEVERAL), np.arange(len(squares)))


def _shrunk(square: np.ndarray, size_px: int, margin: float) -> np.ndarray:
    """A smaller copy in the middle of a black square, with a margin that is a share of its side: (size_px, size_px) uint8."""
    inside = round(size_px * (1 - margin))
    tile, start = np.zeros((size_px, size_px), np.uint8), (size_px - inside) // 2
    shown = np.asarray(Image.fromarray(square).resize((inside, inside), Image.Resampling.BILINEAR))
    tile[start : start + inside, start : start + inside] = shown
    return tile


def fit(features: np.ndarray, kinds: np.ndarray) -> PictureClassifier:
    """A logistic regression on standardised features, with the standardising taken into its weights."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=_REGULARISATION, max_iter=500)).fit(features, kinds)
    scaler, regression = model[0], model[1]
    weight = np.ascontiguousarray(regression.coef_ / scaler.scale_)
    bias = regression.intercept_ - weight @ scaler.mean_
    return PictureClassifier(torch.from_numpy(weight).float(), torch.from_numpy(bias).float())


def train_and_measure(
    finder: KidneyFinder, slices: UprightSlices
) -> tuple[PictureClassifier, dict[str, dict[str, Any]]]:
    """The classifier of all slices, and by source, on volumes and scans not seen, the shares of pictures that it finds fault with."""
    rng = np.random.default_rng(0)
    folds = np.zeros(len(slices.squares), int)
    for number, (_, held_out) in enumerate(GroupKFold(_N_FOLDS).split(folds, groups=slices.scans)):
        folds[held_out] = number
    parts = [turned(finder, slices.squares)]
    for _ in range(_CHANGED):
        parts.append(turned(finder, np.stack([changed(each, rng) for each in slices.squares])))
    parts += [sheets(finder, slices, folds, rng) for _ in range(_CHANGED)]
    features, kinds, rows = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("features", "kinds", "rows")
    )
    # Measured on slices as they are, and on one contact sheet of each.
    is_measured = np.concatenate([np.full(len(part.kinds), part is parts[0] or part is parts[-1]) for part in parts])
    is_faulty = np.zeros(len(kinds), bool)
    for fold in range(_N_FOLDS):
        held_out = folds[rows] == fold
        model, tested = fit(features[~held_out], kinds[~held_out]), held_out & is_measured
        is_faulty[tested] = model.probabilities(torch.from_numpy(features[tested]))[:, UPRIGHT] < 1 - CERTAIN
    metrics = {}
    for source in sorted(set(slices.sources)):
        of_source = (slices.sources[rows] == source) & is_measured
        metrics[str(source)] = {
            "n": int((slices.sources == source).sum()),
            "n_scans": len(set(slices.scans[slices.sources == source])),
            "upright_refused": float(is_faulty[of_source & (kinds == UPRIGHT)].mean()),
            "turned_found": float(is_faulty[of_source & (kinds != UPRIGHT) & (kinds != SEVERAL)].mean()),
            "several_found": float(is_faulty[of_source & (kinds == SEVERAL)].mean()),
        }
    return fit(features, kinds), metrics


@command
def main(arguments: list[str] | None = None) -> int:
    """Train the check from the command line."""
    parser = argparse.ArgumentParser(description="Train a finder's check for turned pictures and contact sheets.")
    parser.add_argument("folder", type=path_argument, help="annotated volumes: slices/VOLUME and kidneys/VOLUME")
    parser.add_argument("--unlabelled", type=path_argument, required=True, help="dataset of upright slices")
    parser.add_argument("--finder", type=path_argument, help="folder of the finder (default: the installed one)")
    options = parser.parse_args(arguments)
    folder = options.finder or finders.installed_folder()
    finder = finders.open_finder(folder)
    dataset = read_dataset(options.unlabelled, progress=progress_printer("Reading images"))
    both = of_volumes(options.folder, finder.view), of_dataset(dataset, finder.view)
    names = ("squares", "sources", "scans")
    slices = UprightSlices(*(np.concatenate([getattr(each, name) for each in both]) for name in names))
    classifier, metrics = train_and_measure(finder, slices)
    content = classifier.to_bytes()
    write_atomically(folder / finders.PICTURE_CHECK_FILE, lambda partial: partial.write_bytes(content))
    measured = {
        "protocol": f"slices of volumes and scans that were left out ({_N_FOLDS} folds): as they are, turned by 90, 180 and 270 degrees, "
        f"and side by side; a fault is found where it is at least {CERTAIN:.0%} certain",
        "metrics": metrics,
        "weights_sha256": digests.sha256(content),
    }
    finders.write_card(folder, {**finder.card, "picture_check": measured})
    for source, row in metrics.items():
        print(
            f"{source}: {row['n']} slices of {row['n_scans']} scans: {row['upright_refused']:.1%} of the upright ones are refused; "
            f"{row['turned_found']:.1%} of the turned ones and {row['several_found']:.1%} of the contact sheets are found"
        )
    print(f"wrote {folder / finders.PICTURE_CHECK_FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
