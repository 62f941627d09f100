"""Lay the data of other hospitals out as `kidney-ct evaluate --outside` reads them: `python -m benchmarks.hospital_folders DATA FOLDER`.

DATA is the folder shared/data of the development machines. Links are made, nothing is copied.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from kidney_core.data.series import SERIES_FILE

_MIN_KIDNEY_PX = 100  # of a slice that counts as one with a kidney


def link(source: Path, target: Path) -> None:
    """Make a link to a file or folder, with the folders above it; one that is there stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.symlink_to(source.resolve())


def name_scans(source: Path) -> None:
    """Write which scan each slice is of: its file begins with the patient's number, as in case01-0040.jpg or case10026_0060.jpg."""
    rows = [
        (path.relative_to(source), path.stem.replace("-", "_").split("_")[0]) for path in sorted(source.glob("*/*.jpg"))
    ]
    with (source / SERIES_FILE).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "series"), *rows])


def lay_out(data: Path, folder: Path) -> None:
    """A folder for each hospital: slices by class, or whole scans with findings."""
    volumes = data / "abdomen-volumes"
    for path in sorted((volumes / "slices").glob("case*/*.jpg")):
        kidneys = np.asarray(Image.open(volumes / "kidneys" / path.parent.name / f"{path.stem}.png"))
        if (kidneys > 0).sum() >= _MIN_KIDNEY_PX:
            link(path, folder / "Nashville" / "Normal" / f"{path.parent.name}-{path.name}")
    for path in sorted((data / "outside-tumor" / "Tumor").iterdir()):
        link(path, folder / "Minnesota" / "Tumor" / path.name)
    for hospital in ("Nashville", "Minnesota"):
        name_scans(folder / hospital)
    for path in sorted((data / "stone-boxes" / "images").iterdir()):
        link(path, folder / "Elazig" / "Stone" / path.name)
    link(data / "reported-scans", folder / "Irbid")


def main() -> int:
    """Lay the folders out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    lay_out(options.data, options.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
