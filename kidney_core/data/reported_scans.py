"""Whole scans of a hospital with what the radiologist reported of each kidney.

    FOLDER/
        findings.csv    scan, enhanced, right, left; and right_mm, left_mm where sizes are known
        scan01/         one folder a scan, its slices in natural order

`right` and `left` say what the report says of the kidney: healthy, cyst, stone, tumor, or another word (hydronephrosis, absent,
unclear), several joined by +. `enhanced` is 1 with contrast agent and 0 without. The size is that of the largest lesion.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kidney_core.common.errors import DatasetError
from kidney_core.common.files import natural_key
from kidney_core.common.labels import LABELS, NORMAL
from kidney_core.kidneys.found import LEFT, RIGHT

FINDINGS_FILE = "findings.csv"
HEALTHY = "healthy"
LESIONS = tuple(label for label in LABELS if label != NORMAL)
_COLUMNS = ("scan", "enhanced", RIGHT, LEFT)


@dataclass(frozen=True)
class Finding:
    """What was reported of one kidney.

    Attributes:
        words: as in the file, lower case.
        size_mm: of the largest lesion; None where it was not told.
    """

    words: frozenset[str]
    size_mm: float | None

    @property
    def is_healthy(self) -> bool:
        """Whether nothing at all was found."""
        return self.words == {HEALTHY}

    @property
    def labels(self) -> tuple[str, ...]:
        """The lesions among the labels that were reported."""
        return tuple(label for label in LESIONS if label.lower() in self.words)


@dataclass(frozen=True)
class ReportedScan:
    """A scan and the finding of each kidney, by side."""

    name: str
    files: tuple[Path, ...]
    is_enhanced: bool
    findings: dict[str, Finding]


def read_reported_scans(folder: Path) -> list[ReportedScan]:
    """The scans that `findings.csv` lists, in its order.

    Raises: DatasetError where the file cannot be read, lacks a column, or has a row that cannot be true.
    """
    path = folder / FINDINGS_FILE
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DatasetError(f"“{path}” cannot be read as a table ({error}).") from error
    missing = [name for name in _COLUMNS if name not in table]
    if missing:
        raise DatasetError(f"“{path}” has no column “{missing[0]}”. It needs {', '.join(_COLUMNS)}.")
    try:
        return [
            _scan(folder, {str(name): str(value) for name, value in row.items()}) for row in table.to_dict("records")
        ]
    except ValueError as error:
        raise DatasetError(f"“{path}”: {error}") from error


def _scan(folder: Path, row: dict[str, str]) -> ReportedScan:
    """Raises ValueError for a row that cannot be true."""
    name, enhanced = row["scan"], row["enhanced"].strip()
    if Path(name).name != name or not (folder / name).is_dir():
        raise ValueError(f"it lists the scan “{name}”, which has no folder beside it.")
    files = sorted(
        (path for path in (folder / name).iterdir() if path.is_file()), key=lambda path: natural_key(path.name)
    )
    if not files:
        raise ValueError(f"the folder of the scan “{name}” is empty.")
    if enhanced not in ("0", "1"):
        raise ValueError(f"“enhanced” of the scan “{name}” is “{enhanced}”. Give 1 with contrast agent, 0 without.")
    findings = {side: _finding(row[side], row.get(f"{side}_mm", ""), name) for side in (RIGHT, LEFT)}
    return ReportedScan(name, tuple(files), enhanced == "1", findings)


def _finding(text: str, size: str, scan: str) -> Finding:
    words = frozenset(word.strip().lower() for word in text.split("+") if word.strip())
    try:
        return Finding(words, float(size) if size.strip() else None)
    except ValueError as error:
        raise ValueError(
            f"“{size}” of the scan “{scan}” is not a size. Give a number of mm, or leave it empty."
        ) from error
