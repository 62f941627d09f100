"""Simulated CT slices of the kidney region with masks of their lesions, always marked as simulated.

    kidney-ct phantom demo-data          writes a dataset (make demo-data)

They are for teaching and tests, not a substitute for patients.
"""

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from kidney_core.common.entry_point import command
from kidney_core.common.errors import DatasetError
from kidney_core.common.labels import LABELS
from kidney_core.common.typed_paths import path_argument
from kidney_core.imaging.slices import SOFT_TISSUE, Slice
from kidney_core.simulation.anatomy import Anatomy
from kidney_core.simulation.canvas import SPACING_MM

MASKS_FOLDER = "masks"
_VERTICAL_LETTERS = {"axial": {"top": "A", "bottom": "P"}, "coronal": {"top": "H", "bottom": "F"}}


@dataclass(frozen=True)
class PhantomSlice:
    """One simulated slice.

    Attributes:
        hu: (256, 256) float32 Hounsfield units.
        lesion: (256, 256) bool, the mask of the lesion; all False for Normal.
        right: (256, 256) bool, the mask of the right kidney with its lesion.
        left: the same of the left kidney.
        label: one of `LABELS`.
        plane: "axial" or "coronal".
        contrast: True with contrast agent.
    """

    hu: np.ndarray
    lesion: np.ndarray
    right: np.ndarray
    left: np.ndarray
    label: str
    plane: str
    contrast: bool

    def as_slice(self, name: str) -> Slice:
        """The phantom as a `Slice` in Hounsfield units, with facts and a note that mark it as simulated."""
        phase = "with contrast agent" if self.contrast else "without contrast agent"
        return Slice(
            name=name,
            pixels=self.hu,
            unit="HU",
            window=SOFT_TISSUE,
            spacing_mm=(SPACING_MM, SPACING_MM),
            letters={"left": "R", "right": "L"} | _VERTICAL_LETTERS[self.plane],
            facts={"Format": "simulated", "Values": "Hounsfield units", "Plane": self.plane, "Phase": phase},
            notes=("This slice is simulated, not a patient.",),
        )


def draw_series(label: str, seed: int, *, n_slices: int = 8) -> list[PhantomSlice]:
    """Draw neighbouring slices of one simulated scan, each with the lesion; the same seed draws the same scan.

    Raises: ValueError for an unknown label.
    """
    if label not in LABELS:
        raise ValueError(f"label must be one of {LABELS}, got {label!r}")
    anatomy = Anatomy(label, np.random.default_rng([LABELS.index(label), seed]))
    noise = np.random.default_rng([LABELS.index(label), seed, 1])
    heights = np.linspace(-1, 1, n_slices) if n_slices > 1 else np.zeros(1)
    cuts = [anatomy.slice_at(float(height), noise) for height in heights]
    return [
        PhantomSlice(hu, lesion, right, left, label, anatomy.plane, anatomy.contrast)
        for hu, lesion, (right, left) in cuts
    ]


def write_dataset(folder: Path, *, n_series: int = 12, n_slices: int = 8, seed: int = 0) -> int:
    """Write PNG slices in class folders, `series.csv`, and the masks of the lesions under `masks/`.

    Args:
        n_series: simulated scans per class.
        n_slices: slices per scan.

    Returns: the number of slices written.

    Raises: DatasetError when the folder is not empty, since old slices would mix with new ones.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"“{folder}” exists already and is not an empty folder. Delete it, or choose another one.")
    rows = []
    for label in LABELS:
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / MASKS_FOLDER / label).mkdir(parents=True, exist_ok=True)
        for number in range(n_series):
            for index, phantom in enumerate(draw_series(label, seed * 100_000 + number, n_slices=n_slices)):
                name = f"{label}/{label}- ({number * n_slices + index + 1}).png"
                Image.fromarray(phantom.as_slice(name).grey8()).save(folder / name)
                Image.fromarray(phantom.lesion.astype(np.uint8) * 255).save(folder / MASKS_FOLDER / name)
                rows.append((name, f"{label}-{number + 1:03d}", phantom.plane, phantom.contrast))
    with (folder / "series.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "series", "plane", "contrast"), *rows])
    (folder / "README.txt").write_text(
        "Simulated CT slices (kidney_core.simulation.phantom), not patients. "
        "masks/ contains masks of the lesions, series.csv the scan of each slice.\n",
        encoding="utf-8",
    )
    return len(rows)


@command
def main(arguments: list[str] | None = None) -> int:
    """Write a simulated dataset from the command line."""
    parser = argparse.ArgumentParser(description="Write a dataset of simulated CT slices.")
    parser.add_argument("folder", type=path_argument)
    parser.add_argument("--series", type=int, default=12, help="simulated scans per class (default 12)")
    parser.add_argument("--slices", type=int, default=8, help="slices per scan (default 8)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    n = write_dataset(options.folder, n_series=options.series, n_slices=options.slices, seed=options.seed)
    print(f"{n} simulated slices written to {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
