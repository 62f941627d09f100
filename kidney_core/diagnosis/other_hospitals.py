"""A checkpoint on other hospitals: how it does where it learned nothing.

    FOLDER/
        minnesota/            one folder a source: slices with one folder per class, of any of the classes
            Tumor/0001.jpg
        irbid/                or whole scans with the radiologist's finding of each kidney, see `data.reported_scans`
            findings.csv
            scan01/000.jpg

Sources are never pooled: where each has one label, a pooled figure measures which source a slice is from.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kidney_core.checkpoints import prediction
from kidney_core.checkpoints.hospital_results import ALL, ANY_LESION, ENHANCED, KIDNEY, PHASES, SCAN, SCANS, SLICES
from kidney_core.common.errors import DatasetError
from kidney_core.common.labels import NORMAL
from kidney_core.data import dataset_kidneys, remembered_labels, reported_scans
from kidney_core.data.pixel_cache import dataset_pixels
from kidney_core.data.reported_scans import FINDINGS_FILE, ReportedScan
from kidney_core.data.series import scan_table
from kidney_core.diagnosis import stack_reading
from kidney_core.diagnosis.inference import Predictor
from kidney_core.diagnosis.stack_reading import StackReading
from kidney_core.diagnosis.stack_verdict import kidney_column
from kidney_core.diagnosis.verdict import required_confidence
from kidney_core.imaging import stack
from kidney_core.imaging.framing import EACH_KIDNEY
from kidney_core.kidneys.found import LEFT, RIGHT
from kidney_core.metrics import intervals
from kidney_core.metrics.predictions import Predictions, probability_column

FORMAT = 1
_LARGE_MM = 15.0  # smaller cysts hardly show
_MIN_AREA = 0.3  # of the kidney's median area: its ends say little

Progress = Callable[[str], Callable[[int, int], None] | None]


def source_folders(folder: Path) -> list[Path]:
    """The folder of each source, by name. Raises DatasetError where there is none."""
    folders = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not folders:
        raise DatasetError(
            f"“{folder}” holds no sources. Give a folder with one folder for each hospital, which holds one folder of slices per "
            f"class, or {FINDINGS_FILE} and one folder per scan."
        )
    return folders


def measure(predictor: Predictor, folder: Path, *, progress_of: Progress = lambda title: None) -> dict[str, Any]:
    """The content of other-hospitals.json: each source of a folder by its name, see `measure_slices` and `measure_scans`.

    Args:
        progress_of: title of a task -> its progress callback, or None.

    Raises: DatasetError where a source is none, CheckpointError as `inference.open_predictor`.
    """
    sources: dict[str, Any] = {}
    for source in source_folders(folder):
        if (source / FINDINGS_FILE).is_file():
            scans = reported_scans.read_reported_scans(source)
            table = read_scans(predictor, scans, progress=progress_of(f"Reading the scans of {source.name}"))
            sources[source.name] = measure_scans(table, predictor.checkpoint.labels)
        else:
            sources[source.name] = measure_slices(predictor, source, progress_of=progress_of)
    finder_sha256 = predictor.finder.digest if predictor.finder else ""
    return {
        "format": FORMAT,
        "weights_sha256": predictor.checkpoint.card["weights_sha256"],
        "finder_sha256": finder_sha256,
        "sources": sources,
    }


def measure_slices(predictor: Predictor, folder: Path, *, progress_of: Progress = lambda title: None) -> dict[str, Any]:
    """How a source of labelled slices is predicted; slices without a kidney are left out where there is a finder.

    Returns: kind, n_slices, n_trained_on (slices that are files of the training data), n_without_kidney, refused (share of the others, 0 to 1), and by label: n, n_scans, correct (share
    when every slice is predicted, refused or not) with its interval, answered (share that is neither refused nor abstained
    from), wrong (share of those answered; None without any).
    """
    dataset = remembered_labels.read(folder, progress=progress_of("Reading images"))
    prediction.require_known_labels(predictor.checkpoint, dataset)
    n_slices, n_trained_on = len(dataset), prediction.n_trained_on(predictor.checkpoint, dataset)
    if predictor.finder:
        dataset = dataset_kidneys.only_with_kidneys(dataset, predictor.finder, progress_of=progress_of)
    pixels = dataset_pixels(dataset, predictor.checkpoint.view, progress_of=progress_of)
    probabilities, refused, _ = stack_reading.predict_squares(predictor, pixels)
    rows = scan_table(dataset)[["path", "label", "series", "plane"]]
    predictions = Predictions.from_probabilities(rows, probabilities, predictor.checkpoint.labels)
    needed = [required_confidence(predictor.checkpoint.card, label) for label in predictor.checkpoint.labels]
    thresholds = np.array([np.inf if each is None else each for each in needed])
    answered = ~refused & (probabilities.max(axis=1) >= thresholds[predictions.y_pred])
    is_right, found = predictions.y_pred == predictions.y_true, intervals.intervals(predictions)
    by_label = {}
    for label in dataset.labels:
        own = (rows["label"] == label).to_numpy()
        interval = found[f"per_label.{label}.recall"]
        by_label[label] = {
            "n": int(own.sum()),
            "n_scans": predictions.n_series(label),
            "correct": float(is_right[own].mean()),
            "interval": [interval.low, interval.high],
            "answered": float(answered[own].mean()),
            "wrong": float(1 - is_right[own & answered].mean()) if (own & answered).any() else None,
        }
    return {
        "kind": SLICES,
        "n_slices": n_slices,
        "n_trained_on": n_trained_on,
        "n_without_kidney": n_slices - len(dataset),
        "refused": float(refused.mean()),
        "labels": by_label,
    }


def read_scans(
    predictor: Predictor, scans: Sequence[ReportedScan], *, progress: Callable[[int, int], None] | None = None
) -> pd.DataFrame:
    """A row for each kidney of each scan that is found.

    Columns: scan, enhanced, side, words (of the report, joined by +), size_mm, n_slices, p_<label> of the kidney (NaN unless the
    network reads each kidney) and scan_p_<label>, the mean over all slices of the scan that show a kidney.
    """
    rows: list[dict[str, Any]] = []
    for number, scan in enumerate(scans, start=1):
        opened = stack.open_stacks([(path.name, path.read_bytes()) for path in scan.files])
        if not opened.stacks:
            raise DatasetError(f"No file of the scan “{scan.name}” can be read. Copy its folder again.")
        reading = stack_reading.read_stack(predictor, opened.stacks[0])
        for kidney in reading.kidneys.kidneys if reading.kidneys else ():
            finding = scan.findings.get(kidney.side)
            if finding is None:
                continue
            rows.append(
                {
                    "scan": scan.name,
                    "enhanced": scan.is_enhanced,
                    "side": kidney.side,
                    "words": "+".join(sorted(finding.words)),
                    "healthy": finding.is_healthy,
                    "labels": finding.labels,
                    "size_mm": finding.size_mm,
                    "n_slices": reading.n_slices,
                    **_scores(predictor, reading, kidney.side, kidney.areas_mm2),
                }
            )
        if progress:
            progress(number, len(scans))
    return pd.DataFrame(rows)


def _scores(predictor: Predictor, reading: StackReading, side: str, areas: np.ndarray) -> dict[str, float]:
    """The columns p_<label> of a kidney, the mean over its slices but the ends, and scan_p_<label> of its scan."""
    labels, table = predictor.checkpoint.labels, reading.table
    is_middle = areas >= _MIN_AREA * np.median(areas[areas > 0])
    scores = {}
    for label in labels:
        scores[f"scan_{probability_column(label)}"] = float(table[probability_column(label)].mean())
        if predictor.checkpoint.view.framing == EACH_KIDNEY:
            scores[probability_column(label)] = float(table.loc[is_middle, kidney_column(side, label)].mean())
    return scores


def measure_scans(table: pd.DataFrame, labels: Sequence[str]) -> dict[str, Any]:
    """How well a source of reported scans is told apart, from `read_scans`.

    Returns: kind, n_scans, n_kidneys, reads_each_kidney; auroc, a list of finding, phase, unit ("kidney" against healthy kidneys,
    or "scan" against scans without the finding), n with and without it, value and interval (bootstrap over scans); and
    predicted_on_healthy, the share of each label among healthy kidneys by side, where the network reads each kidney.
    """
    reads_each = probability_column(labels[0]) in table
    rows = []
    for phase in PHASES:
        of_phase = table if phase == ALL else table[table["enhanced"] == (phase == ENHANCED)]
        for name, label, min_mm in _findings(labels):
            if reads_each:
                rows.append({"finding": name, "phase": phase, "unit": KIDNEY, **_of_kidneys(of_phase, label, min_mm)})
            rows.append({"finding": name, "phase": phase, "unit": SCAN, **_of_scans(of_phase, label, min_mm)})
    return {
        "kind": SCANS,
        "n_scans": int(table["scan"].nunique()),
        "n_kidneys": len(table),
        "reads_each_kidney": reads_each,
        "auroc": [row for row in rows if row["value"] is not None],
        "predicted_on_healthy": _on_healthy(table, labels) if reads_each else {},
    }


def _findings(labels: Sequence[str]) -> list[tuple[str, str, float]]:
    """(name, label or ANY_LESION, smallest size in mm) of each finding that is looked for."""
    lesions = [label for label in labels if label in reported_scans.LESIONS]
    large = [(f"{label}, {_LARGE_MM:.0f} mm or more", label, _LARGE_MM) for label in lesions if label == "Cyst"]
    return [*((label, label, 0.0) for label in lesions), *large, (ANY_LESION, ANY_LESION, 0.0)]


def _has(table: pd.DataFrame, label: str, min_mm: float) -> np.ndarray:
    """(N,) whether each kidney has the finding; of unknown size it has none of a least size."""
    named = np.array([bool(each) if label == ANY_LESION else label in each for each in table["labels"]], bool)
    return named & (table["size_mm"].to_numpy(float) >= min_mm) if min_mm else named


def _score(table: pd.DataFrame, label: str, prefix: str = "") -> np.ndarray:
    """(N,) how much speaks for the finding; for any lesion the probability that the kidney is not normal."""
    if label == ANY_LESION:
        return 1 - table[prefix + probability_column(NORMAL)].to_numpy(float)
    return table[prefix + probability_column(label)].to_numpy(float)


def _of_kidneys(table: pd.DataFrame, label: str, min_mm: float) -> dict[str, Any]:
    has, score = _has(table, label, min_mm), _score(table, label)
    used = (has | table["healthy"].to_numpy(bool)) & np.isfinite(score)
    return _auroc(has[used], score[used], table["scan"].to_numpy()[used])


def _of_scans(table: pd.DataFrame, label: str, min_mm: float) -> dict[str, Any]:
    """Kidneys without a clear finding leave their scan out."""
    scans = table.assign(
        has=_has(table, label, min_mm), named=_has(table, label, 0.0), score=_score(table, label, "scan_")
    )
    grouped = scans.groupby("scan").agg({"has": "any", "named": "any", "score": "first"})
    used = grouped[(grouped["has"] | ~grouped["named"]) & grouped["score"].notna()]
    return _auroc(used["has"].to_numpy(bool), used["score"].to_numpy(float), used.index.to_numpy())


def _auroc(has: np.ndarray, score: np.ndarray, scan: np.ndarray) -> dict[str, Any]:
    """The area under the ROC curve, ties counted half, with its 95 % interval by bootstrap over scans.

    Source: Hanley & McNeil 1982.
    """
    n_with, n_without = int(has.sum()), int((~has).sum())
    row: dict[str, Any] = {"n_with": n_with, "n_without": n_without, "value": None, "interval": [None, None]}
    if not n_with or not n_without:
        return row
    won = score[has][:, None] - score[~has][None]
    won = np.where(won > 0, 1.0, np.where(won < 0, 0.0, 0.5))  # (n_with, n_without)
    row["value"] = float(won.mean())
    names, of_scan = np.unique(scan, return_inverse=True)
    if min(len(set(of_scan[has])), len(set(of_scan[~has]))) < intervals.MIN_SERIES:
        return row
    drawn = intervals.draw_weights(np.zeros(len(names), np.int64), intervals.N_RESAMPLES)
    with_it, without = drawn[:, of_scan[has]].astype(float), drawn[:, of_scan[~has]].astype(float)
    n_pairs = with_it.sum(axis=1) * without.sum(axis=1)
    values = ((with_it @ won) * without).sum(axis=1)[n_pairs > 0] / n_pairs[n_pairs > 0]
    row["interval"] = [float(end) for end in np.percentile(values, intervals.ENDS)]
    return row


def _on_healthy(table: pd.DataFrame, labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Side -> label -> the share of healthy kidneys for which it is the most probable one."""
    healthy = table[table["healthy"].astype(bool)]
    columns = [probability_column(label) for label in labels]
    shares: dict[str, dict[str, float]] = {}
    for side in (RIGHT, LEFT):
        own = healthy.loc[healthy["side"] == side, columns].dropna().to_numpy(float)
        if len(own):
            counts = np.bincount(own.argmax(axis=1), minlength=len(labels))
            shares[side] = {label: float(n / len(own)) for label, n in zip(labels, counts, strict=True)}
    return shares
