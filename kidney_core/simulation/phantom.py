"""Simulated CT slices of the kidney region, with the lesion's mask: always labelled simulated.

    python -m kidney_core.phantom demo-data          writes a dataset (make demo-data)

Phantoms teach and test; they are no substitute for patients.
"""

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from kidney_core.anatomy import Anatomy
from kidney_core.canvas import SPACING_MM
from kidney_core.errors import DatasetError, command
from kidney_core.labels import LABELS
from kidney_core.slices import SOFT_TISSUE, Slice

MASKS_FOLDER = "masks"
_UPRIGHT = {"axial": {"top": "A", "bottom": "P"}, "coronal": {"top": "H", "bottom": "F"}}


@dataclass(frozen=True)
class PhantomSlice:
    """One simulated slice.

    Attributes:
        hu: (256, 256) float32 Hounsfield units.
        lesion: (256, 256) bool, the lesion's pixels; all False for Normal.
    """

    hu: np.ndarray
    lesion: np.ndarray
    label: str
    plane: str
    contrast: bool

    def as_slice(self, name: str) -> Slice:
        """The slice as the rest of the workbench knows it."""
        phase = "with contrast agent" if self.contrast else "without contrast agent"
        return Slice(
            name=name,
            pixels=self.hu,
            unit="HU",
            window=SOFT_TISSUE,
            spacing_mm=(SPACING_MM, SPACING_MM),
            letters={"left": "R", "right": "L"} | _UPRIGHT[self.plane],
            facts={"Format": "simulated", "Values": "Hounsfield units", "Plane": self.plane, "Phase": phase},
            notes=("This slice is simulated, not a patient.",),
        )


def draw_series(label: str, seed: int, *, n_slices: int = 8) -> list[PhantomSlice]:
    """Neighbouring slices of one simulated scan; each shows the lesion. The same seed draws the same scan."""
    if label not in LABELS:
        raise ValueError(f"label must be one of {LABELS}, got {label!r}")
    anatomy = Anatomy(label, np.random.default_rng([LABELS.index(label), seed]))
    noise = np.random.default_rng([LABELS.index(label), seed, 1])
    heights = np.linspace(-1, 1, n_slices) if n_slices > 1 else np.zeros(1)
    cuts = [anatomy.slice_at(float(height), noise) for height in heights]
    return [PhantomSlice(hu, lesion, label, anatomy.plane, anatomy.contrast) for hu, lesion in cuts]


def write_dataset(folder: Path, *, n_series: int = 12, n_slices: int = 8, seed: int = 0) -> int:
    """Write PNG slices in class folders, `series.csv`, and the lesions under `masks/`; the number of slices.

    Raises: DatasetError when the folder is not empty, since old slices would mix with new ones.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"“{folder}” is there already and is not an empty folder. Delete it, or name another one.")
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
    with (folder / "series.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "series", "plane", "contrast"), *rows])
    (folder / "README.txt").write_text(
        "Simulated CT slices (kidney_core.phantom), not patients. masks/ holds the lesions; series.csv the scans.\n"
    )
    return len(rows)


@command
def main(arguments: list[str] | None = None) -> int:
    """Write a simulated dataset from the command line."""
    parser = argparse.ArgumentParser(description="Write a dataset of simulated CT slices.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", type=int, default=12, help="simulated scans per class (default 12)")
    parser.add_argument("--slices", type=int, default=8, help="slices per scan (default 8)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    n = write_dataset(options.folder, n_series=options.series, n_slices=options.slices, seed=options.seed)
    print(f"{n} simulated slices written to {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
