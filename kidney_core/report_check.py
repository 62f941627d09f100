"""Recompute every number of an exported zip from its predictions, and say whether they agree.

    python -m kidney_core.report_check ZIP

The exit status is 0 when all agree, 1 when a number or a file differs, 2 when the zip cannot be read.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from kidney_core.errors import KidneyError
from kidney_core.export import EXPORT_FORMAT, figures_of
from kidney_core.files import read_table

TOLERANCE = 1e-6
# Another version of NumPy may draw other resamples: the ends of an interval move by their own noise.
INTERVAL_TOLERANCE = 0.02
MAX_BYTES = 500 * 1024**2


class ReportError(KidneyError):
    """The zip is no export of this workbench, or is damaged."""


def check(path: Path) -> tuple[int, list[str]]:
    """How many numbers and files were compared, and a sentence for each that differs.

    Raises: ReportError.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                raise ReportError(f"“{path}” unpacks to more than {MAX_BYTES // 1024**2} MB. That is no export.")
            content = {name: archive.read(name) for name in archive.namelist()}
        manifest = json.loads(content["manifest.json"])
        if manifest["format"] != EXPORT_FORMAT:
            raise ReportError(f"“{path}” has format {manifest['format']}; this version checks {EXPORT_FORMAT}.")
        return _check_content(content, manifest)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise ReportError(f"“{path}” is not a readable export ({type(error).__name__}: {error}).") from error


def _check_content(content: dict[str, bytes], manifest: dict[str, Any]) -> tuple[int, list[str]]:
    n_compared, differing = 0, []
    for name, digest in manifest["files"].items():
        n_compared += 1
        if hashlib.sha256(content.get(name, b"")).hexdigest() != digest:
            differing.append(f"the file {name} is missing or was changed")
    strangers = set(content) - set(manifest["files"]) - {"manifest.json"}
    differing += [f"the file {name} is not in the manifest" for name in sorted(strangers)]
    with tempfile.TemporaryDirectory() as folder:
        for name, checkpoint in manifest["checkpoints"].items():
            for protocol, stated in checkpoint["measured"].items():
                table = Path(folder) / "predictions.csv"
                table.write_bytes(content[stated["predictions"]])
                found = figures_of(read_table(table), n_resamples=manifest["bootstrap"]["n_resamples"])
                n_new, new = _differences(stated, found, f"{name}, {protocol}")
                n_compared, differing = n_compared + n_new, differing + new
    return n_compared, differing


def _differences(stated: Any, found: Any, where: str) -> tuple[int, list[str]]:
    """Compare what is stated with what was recomputed, number by number."""
    if isinstance(found, dict):
        pairs = [
            (stated.get(key) if isinstance(stated, dict) else None, value, f"{where}, {key}")
            for key, value in found.items()
        ]
    elif isinstance(found, list):
        if not isinstance(stated, list) or len(stated) != len(found):
            return 1, [f"{where}: stated {stated}, recomputed {found}"]
        pairs = [
            (one, other, f"{where}, {position + 1}")
            for position, (one, other) in enumerate(zip(stated, found, strict=True))
        ]
    else:
        tolerance = INTERVAL_TOLERANCE if ", intervals," in where else TOLERANCE
        if isinstance(found, float) and isinstance(stated, int | float) and abs(stated - found) <= tolerance:
            return 1, []
        return 1, [] if stated == found else [f"{where}: stated {stated}, recomputed {found}"]
    results = [_differences(*pair) for pair in pairs]
    return sum(n for n, _ in results), [sentence for _, sentences in results for sentence in sentences]


def main(arguments: list[str] | None = None) -> int:
    """Check a zip from the command line."""
    parser = argparse.ArgumentParser(description="Recompute every number of an exported report.")
    parser.add_argument("zip", type=Path)
    options = parser.parse_args(arguments)
    try:
        n_compared, differing = check(options.zip)
    except KidneyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for sentence in differing:
        print(sentence)
    print(f"{n_compared:,} numbers and files compared: " + (f"{len(differing):,} differ" if differing else "all agree"))
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
