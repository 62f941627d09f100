"""Recompute the numbers of an exported zip from its predictions, and say whether they agree.

    kidney-ct report-check ZIP

Recomputed: the manifest's metrics, intervals and clinical figures, comparison.csv, paired tests, the tables of
report.html, and the metrics on each card.json. The drawings and the texts of the cards are compared by the manifest's digests alone.

The exit status is 0 when all agree, 1 when a number or a file differs, 2 when the zip cannot be read.
"""

import argparse
import csv
import hashlib
import io
import json
import re
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

from kidney_core.common import spreadsheet
from kidney_core.common.errors import KidneyError
from kidney_core.common.typed_paths import path_argument
from kidney_core.metrics.predictions import Predictions
from kidney_core.metrics.splits import CROSS_VALIDATED, EXTERNAL, GROUPED, PROTOCOL_NAMES
from kidney_core.reports import export_numbers

TOLERANCE = 1e-6
# Another version of NumPy may draw other resamples: the ends of an interval move by their own noise.
INTERVAL_TOLERANCE = 0.02
# A card was written from probabilities with more digits than the stored ones.
CARD_TOLERANCE = 1e-3
MAX_BYTES = 500 * 1024**2
_PROTOCOL_NAMES_OF_0_5 = {
    "scans never seen": PROTOCOL_NAMES[GROUPED],
    "scans never seen, all folds": PROTOCOL_NAMES[CROSS_VALIDATED],
}


class ReportError(KidneyError):
    """The zip is no export of this workbench, or is damaged."""


def check(path: Path) -> tuple[int, list[str]]:
    """How many numbers and files were compared, and a sentence for each that differs.

    Raises: ReportError.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                raise ReportError(f"“{path}” unpacks to more than {MAX_BYTES // 1024**2} MB, so it is not an export.")
            content = {name: archive.read(name) for name in archive.namelist()}
        manifest = json.loads(content["manifest.json"])
        if manifest["format"] not in (export_numbers.WITHOUT_CLINICAL, export_numbers.EXPORT_FORMAT):
            raise ReportError(
                f"“{path}” has format {manifest['format']}; this version checks {export_numbers.EXPORT_FORMAT}."
            )
        return _check_content(content, manifest)
    except (
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise ReportError(f"“{path}” is not a readable export ({type(error).__name__}: {error}).") from error


def _check_content(content: dict[str, bytes], manifest: dict[str, Any]) -> tuple[int, list[str]]:
    n_compared, differing = 0, []
    for name, digest in manifest["files"].items():
        n_compared += 1
        if hashlib.sha256(content.get(name, b"")).hexdigest() != digest:
            differing.append(f"the file {name} is missing or was changed")
    unlisted = set(content) - set(manifest["files"]) - {"manifest.json"}
    differing += [f"the file {name} is not in the manifest" for name in sorted(unlisted)]
    tables = [
        stated["predictions"] for each in manifest["checkpoints"].values() for stated in each["measured"].values()
    ]
    unclaimed = {name for name in content if re.search(r"/predictions-[a-z-]+\.csv$", name)} - set(tables)
    differing += [f"the manifest gives no figures for {name}" for name in sorted(unclaimed)]
    rows, report = [], content.get("report.html", b"").decode(errors="replace")
    measured: dict[str, dict[str, Predictions]] = {}
    for name, checkpoint in manifest["checkpoints"].items():
        card = json.loads(content[f"{name}/card.json"]) if f"{name}/card.json" in content else {"metrics": {}}
        for protocol, stated in checkpoint["measured"].items():
            where = f"{name}, {protocol}"
            if stated["predictions"] not in content:
                continue  # named above
            predictions = Predictions.read_csv(io.BytesIO(spreadsheet.unescape_csv(content[stated["predictions"]])))
            measured.setdefault(protocol, {})[name] = predictions
            found, clinical = export_numbers.stated_of(
                predictions,
                n_resamples=manifest["bootstrap"]["n_resamples"],
                with_clinical=manifest["format"] != export_numbers.WITHOUT_CLINICAL or "clinical" in stated,
            )
            on_card = card["metrics"].get(protocol, {})
            comparisons = [_differences(stated, found, where)]
            if protocol != EXTERNAL:  # which no card states
                shown_on_card = _as_stated(found["figures"], on_card)
                comparisons.append(
                    _differences(on_card, shown_on_card, f"{where}, card.json", tolerance=CARD_TOLERANCE)
                )
            rows.append(export_numbers.comparison_row(name, protocol, found))
            shown = export_numbers.report_part(protocol, found)
            parts = [(what, shown[what]) for what in ("lead", "table")]
            parts += [(f"table “{title}”", part) for title, part in clinical.items()]
            for what, text in parts:
                comparisons.append((1, [] if text in report else [f"{where}: report.html shows another {what}"]))
            n_compared += sum(n for n, _ in comparisons)
            differing += [sentence for _, sentences in comparisons for sentence in sentences]
    later = [_compare_rows(content.get("comparison.csv", b""), rows)]
    if manifest["format"] != export_numbers.WITHOUT_CLINICAL:
        later += _compare_paired_tests(content, manifest, measured)
    return n_compared + sum(n for n, _ in later), [*differing, *(each for _, some in later for each in some)]


def _compare_paired_tests(
    content: dict[str, bytes], manifest: dict[str, Any], measured: dict[str, dict[str, Predictions]]
) -> list[tuple[int, list[str]]]:
    """The paired tests of the manifest and of their files against those that the predictions give."""
    data = {name: str(each["data"]) for name, each in manifest["checkpoints"].items()}
    compared = []
    for protocol, alike in measured.items():
        if len(alike) < 2:
            continue
        entry = export_numbers.paired_entry(alike, data, n_resamples=manifest["bootstrap"]["n_resamples"])
        stated = manifest["paired_tests"].get(protocol, {})
        compared.append(_differences(stated, entry, f"paired tests, {protocol}"))
        name = f"paired-tests-{protocol}.csv"
        there = content.get(name, b"").decode(errors="replace").splitlines()
        # Its digits are the manifest's, whose numbers were compared above.
        wanted = spreadsheet.to_csv(export_numbers.paired_table(stated)).decode().splitlines() if stated else []
        compared.append((1, [] if there == wanted else [f"{name}: it does not say what the manifest does"]))
    return compared


def _as_stated(figures: dict[str, Any], card: dict[str, Any]) -> dict[str, Any]:
    """The figures that a card states: one of an older version lacks what came later."""
    return {
        key: _as_stated(value, card[key]) if isinstance(value, dict) and isinstance(card.get(key), dict) else value
        for key, value in figures.items()
        if key in card or not card
    }


def _compare_rows(stated: bytes, rows: list[dict[str, Any]]) -> tuple[int, list[str]]:
    """comparison.csv against the rows that the predictions give."""
    text = spreadsheet.unescape_csv(stated.decode(errors="replace").encode()).decode()
    there = list(csv.DictReader(io.StringIO(text, newline="")))
    if len(there) != len(rows):
        return 1, [f"comparison.csv has {len(there)} rows, recomputed {len(rows)}"]
    n_compared, differing = 0, []
    for line, row in zip(there, rows, strict=True):
        for key, value in row.items():
            n_compared += 1
            text = (
                _PROTOCOL_NAMES_OF_0_5.get(line.get(key, ""), line.get(key, ""))
                if key == "protocol"
                else line.get(key, "")
            )
            if isinstance(value, float):
                tolerance = INTERVAL_TOLERANCE if key.endswith(("_low", "_high")) else TOLERANCE
                same = text != "" and abs(float(text) - value) <= tolerance
            else:
                same = text == ("" if value is None else str(value))
            if not same:
                differing.append(f"comparison.csv, {row['checkpoint']}, {key}: stated {text}, recomputed {value}")
    return n_compared, differing


def _differences(stated: Any, found: Any, where: str, *, tolerance: float = TOLERANCE) -> tuple[int, list[str]]:
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
        if ", intervals," in where or ", interval," in where:
            tolerance = INTERVAL_TOLERANCE
        if isinstance(found, float) and isinstance(stated, int | float) and abs(stated - found) <= tolerance:
            return 1, []
        return 1, [] if stated == found else [f"{where}: stated {stated}, recomputed {found}"]
    results = [_differences(*pair, tolerance=tolerance) for pair in pairs]
    return sum(n for n, _ in results), [sentence for _, sentences in results for sentence in sentences]


def main(arguments: list[str] | None = None) -> int:
    """Check a zip from the command line."""
    parser = argparse.ArgumentParser(description="Recompute every number of an exported report.")
    parser.add_argument("zip", type=path_argument)
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
