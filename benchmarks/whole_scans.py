"""Whole scans read as Diagnosis reads them: the kidneys that are found, the label, and what is known of the scan.

    python -m benchmarks.whole_scans reported ../shared/data/reported-scans
    python -m benchmarks.whole_scans volumes ../shared/data/abdomen-volumes
    python -m benchmarks.whole_scans series ../shared/data/dicom-series

`reported` are scans with the radiologist's finding for each kidney (findings.csv); `volumes` have masks of the kidneys and
are read as DICOM files that this writes; of `series`, folders of DICOM files, nothing is known.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from pydicom.uid import generate_uid

from kidney_core.checkpoints.checkpoint import read_checkpoint
from kidney_core.common import settings
from kidney_core.common.files import natural_key
from kidney_core.common.labels import NORMAL
from kidney_core.data import annotated_volumes, reported_scans
from kidney_core.data.annotated_volumes import Volume, is_kidney
from kidney_core.diagnosis import inference, stack_reading
from kidney_core.diagnosis.inference import Predictor
from kidney_core.diagnosis.stack_reading import StackReading
from kidney_core.imaging import stack
from kidney_core.kidneys import finder
from kidney_core.kidneys.found import LEFT, RIGHT
from kidney_core.simulation import phantom_dicom

_LOWEST_HU, _RANGE_HU = -125.0, 400.0  # the window that the volumes were exported through
_PIXEL_MM = 1.5


def volume_files(volume: Volume) -> list[tuple[str, bytes]]:
    """An annotated volume as DICOM files: (name, content) of each slice."""
    series = generate_uid(entropy_srcs=[volume.name])
    return [
        (
            f"{volume.name}-{number:04d}.dcm",
            phantom_dicom.ct_file(
                _LOWEST_HU + grey.astype(np.float32) * (_RANGE_HU / 255),
                series=series,
                number=number,
                spacing_mm=_PIXEL_MM,
            ),
        )
        for number, grey in enumerate(volume.pixels)
    ]


def read(predictor: Predictor, files: list[tuple[str, bytes]]) -> StackReading:
    """The longest stack of the files, read as one scan."""
    return stack_reading.read_stack(predictor, stack.open_stacks(files).stacks[0])


def folder_files(folder: Path) -> list[tuple[str, bytes]]:
    """(name, content) of each file of a folder, in natural order."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return [(path.name, path.read_bytes()) for path in sorted(paths, key=lambda path: natural_key(path.name))]


def row_of(reading: StackReading) -> dict[str, object]:
    """What is found in a scan: range of the kidneys from 1, sides, outcome, and the runs of each label."""
    found, verdict = reading.kidneys, reading.verdict
    first, last = (found.range if found else None) or (-1, -1)
    runs = [f"{peak.label} {peak.run[0] + 1}-{peak.run[1] + 1}" for peak in verdict.peaks if peak.run and peak.counts]
    return {
        "slices": reading.n_slices,
        "first": first + 1,
        "last": last + 1,
        "found": ", ".join(found.sides) if found else "",
        "outcome": str(verdict.outcome),
        "answer": "; ".join(each.in_words for each in verdict.by_kidney) or verdict.predicted_label or "–",
        "runs": ", ".join(runs) or "–",
    }


def reported(predictor: Predictor, folder: Path) -> Iterator[dict[str, object]]:
    """A row a scan, with what the radiologist reported of each kidney."""
    for scan in reported_scans.read_reported_scans(folder):
        reading = read(predictor, [(path.name, path.read_bytes()) for path in scan.files])
        findings = {side: "+".join(sorted(finding.words)) for side, finding in scan.findings.items()}
        yield {"scan": scan.name, **row_of(reading), **findings}


def volumes(predictor: Predictor, folder: Path) -> Iterator[dict[str, object]]:
    """A row a volume, with the true range of its kidneys and the alarms on slices without a kidney."""
    for volume in annotated_volumes.read_volumes(folder):
        reading = read(predictor, volume_files(volume))
        shows = is_kidney(volume.kidneys).any(axis=(1, 2))
        table = reading.table
        alarms = table["predicted"].notna() & ~table["refused"] & (table["predicted"] != NORMAL) & ~shows
        true = np.flatnonzero(shows)
        yield {
            "scan": volume.name,
            **row_of(reading),
            "true first": true[0] + 1,
            "true last": true[-1] + 1,
            "slices predicted without kidney": int((table["predicted"].notna() & ~shows).sum()),
            "alarms without kidney": int(alarms.sum()),
        }


def series(predictor: Predictor, folder: Path) -> Iterator[dict[str, object]]:
    """A row a folder of DICOM files."""
    for path in sorted(each for each in folder.iterdir() if each.is_dir()):
        yield {"scan": path.name, **row_of(read(predictor, folder_files(path)))}


def main() -> None:
    """Print the table; for reported scans, how often the finder is right, too."""
    kinds = {"reported": reported, "volumes": volumes, "series": series}
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=settings.SHIPPED_CHECKPOINTS / "mobilenetv2")
    options = parser.parse_args()
    predictor = inference.open_predictor(read_checkpoint(options.checkpoint), finder=finder.open_installed())
    table = pd.DataFrame(kinds[options.kind](predictor, options.folder))
    print(table.to_string(index=False))
    for side in (RIGHT, LEFT) if options.kind == "reported" else ():
        is_there = ~table[side].str.contains("absent")
        is_found = table["found"].str.contains(side)
        print(
            f"{side}: found in {(is_found & is_there).sum()} of {is_there.sum()} scans that have it, not found in "
            f"{(~is_found & ~is_there).sum()} of {(~is_there).sum()} where it is absent"
        )


if __name__ == "__main__":
    main()
