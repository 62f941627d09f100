"""How many copies of slices the linking of scans finds: `python -m benchmarks.copies FOLDER [--slices 1500] [--copies 100]`.

Copies of some slices of a folder are added, all changed in one way, each by other amounts. For each way: the share of
copies in the group of their original, and how many scans were joined to another one by mistake. The scans are those
that all slices of the folder, without copies, are linked to.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from kidney_core.data import series
from kidney_core.data.dataset import read_dataset
from kidney_core.data.thumbnails import thumbnail
from kidney_core.imaging.slices import read_slice

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def recompressed(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As JPEG of a poor quality."""
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=int(rng.integers(40, 80)))
    return np.asarray(Image.open(file))


def equalised(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation."""
    return cv2.createCLAHE(float(rng.uniform(2, 4)), (8, 8)).apply(grey)


def rotated(grey: np.ndarray, rng: np.random.Generator, *, scales: tuple[float, float] = (1, 1)) -> np.ndarray:
    """Rotated about the middle by up to 15 degrees, and scaled."""
    middle = (grey.shape[1] - 1) / 2, (grey.shape[0] - 1) / 2
    matrix = cv2.getRotationMatrix2D(middle, float(rng.uniform(-15, 15)), float(rng.uniform(*scales)))
    return cv2.warpAffine(grey, matrix, grey.shape[::-1])


def shifted(grey: np.ndarray, rng: np.random.Generator, *, most: float = 0.08) -> np.ndarray:
    """Shifted by up to a part of the picture; what leaves it is lost."""
    height, width = grey.shape
    down, across = rng.uniform(-most, most, 2)
    return cv2.warpAffine(grey, np.array([[1, 0, across * width], [0, 1, down * height]]), (width, height))


def padded(grey: np.ndarray, rng: np.random.Generator, *, level: int = 0) -> np.ndarray:
    """Bars of one grey level at two sides or at all four, as letterboxing does."""
    wide, high = (int(side * rng.uniform(0.08, 0.3)) for side in grey.shape[::-1])
    return np.pad(
        grey,
        [((0, 0), (wide, wide)), ((high, high), (0, 0)), ((high, high), (wide, wide))][rng.integers(3)],
        constant_values=level,
    )


def cropped(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A part of the picture from anywhere in it."""
    height, width = (int(side * rng.uniform(0.85, 0.97)) for side in grey.shape)
    top, left = rng.integers(grey.shape[0] - height + 1), rng.integers(grey.shape[1] - width + 1)
    return grey[top : top + height, left : left + width]


def turned(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turned by quarters, or mirrored, or both."""
    turns, mirrored = divmod(int(rng.integers(1, 8)), 2)
    return np.rot90(grey[:, ::-1] if mirrored else grey, turns)


CHANGES: dict[str, Change] = {
    "recompressed": recompressed,
    "equalised": equalised,
    "flipped or turned": turned,
    "rotated by up to 15°": rotated,
    "rotated by up to 15° and scaled by 0.87 to 1.15": lambda grey, rng: rotated(grey, rng, scales=(0.87, 1.15)),
    "shifted by up to 4 %": lambda grey, rng: shifted(grey, rng, most=0.04),
    "shifted by up to 8 %": shifted,
    "padded with black": padded,
    "padded with white": lambda grey, rng: padded(grey, rng, level=255),
    "cropped anywhere, 85 to 97 % of each side": cropped,
    "rotated and turned": lambda grey, rng: turned(rotated(grey, rng), rng),
    "cropped and flipped": lambda grey, rng: cropped(grey, rng)[:, ::-1],
    "equalised and turned": lambda grey, rng: turned(equalised(grey, rng), rng),
    "equalised and rotated": lambda grey, rng: rotated(equalised(grey, rng), rng),
    "equalised and padded": lambda grey, rng: padded(equalised(grey, rng), rng),
}


def found(
    greys: list[np.ndarray], scans: np.ndarray, n_copies: int, change: Change, *, seed: int = 0
) -> tuple[float, int]:
    """The share of copies in the group of their original, and how many scans are in one group with another scan.

    Args:
        greys: (H, W) uint8.
        scans: their numbers.
        n_copies: of the first ones.
    """
    rng = np.random.default_rng(seed)
    made = [change(grey, rng) for grey in greys[:n_copies]]
    groups = linked(greys + made)
    originals = pd.DataFrame({"group": groups[: len(greys)], "scan": scans}).drop_duplicates()
    is_found = groups[len(greys) :] == groups[:n_copies]
    return float(is_found.mean()), int((originals["group"].value_counts() - 1).sum())


def linked(greys: list[np.ndarray]) -> np.ndarray:
    """(N,) numbers of the scans that these pictures, (H, W) uint8, are linked to."""
    return series.link_scans(np.stack([thumbnail(each) for each in greys]), [f"{n}.png" for n in range(len(greys))])


def main() -> None:
    """Print a row for each change."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--slices", type=int, default=1_500)
    options.add_argument("--copies", type=int, default=100)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    dataset = read_dataset(given.folder)
    scans = series.group_series(dataset)
    chosen = np.random.default_rng(given.seed).permutation(len(dataset))[: given.slices]
    greys = [read_slice(given.folder / path).network_grey8() for path in dataset.table["path"].iloc[chosen]]
    print("| copies | found | scans joined by mistake |\n|---|---|---|")
    for name, change in CHANGES.items():
        share, n_joined = found(greys, scans[chosen], given.copies, change, seed=given.seed)
        print(f"| {name} | {share:.0%} | {n_joined} |", flush=True)


if __name__ == "__main__":
    main()
