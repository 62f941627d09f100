"""External validation: a checkpoint on a labelled folder, read slice by slice or scan by scan exactly as Diagnosis reads it.

So every slice has an outcome beside its prediction: answered, abstained from, out of distribution, seen in training, no kidney, unreadable.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kidney_core.checkpoints import prediction
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.errors import DatasetError, SliceError
from kidney_core.data import dataset as datasets
from kidney_core.data.dataset import Dataset
from kidney_core.data.labelled_scans import LabelledScan
from kidney_core.data.pixel_cache import dataset_pixels
from kidney_core.data.series import scan_table
from kidney_core.diagnosis import stack_reading, stack_verdict
from kidney_core.diagnosis.inference import Predictor
from kidney_core.diagnosis.outcomes import Outcome
from kidney_core.imaging import local_files
from kidney_core.imaging import stack as stacks
from kidney_core.imaging.planes import UNKNOWN, plane_of
from kidney_core.imaging.stack import BY_NAME, Stack, StackItem
from kidney_core.metrics.predictions import Predictions, labels_of, probabilities_of, probability_column

_AT_ONCE = 400  # slices whose small pictures are in memory together

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """One checkpoint on a folder.

    Attributes:
        predictions: of every slice that was predicted, whatever came of it, with the column outcome.
        outcomes: a row a slice with the columns path, label, series, outcome.
        scans: a row a scan with the columns series, label, outcome, predicted and slices, as Diagnosis judges it; empty where separate
            slices were read.
        unreadable: (path, reason).
        share_trained_on: of the files that were used for training, 0 to 1; None where the checkpoint does not list them.
    """

    predictions: Predictions
    outcomes: pd.DataFrame = field(repr=False)
    scans: pd.DataFrame = field(repr=False)
    unreadable: tuple[tuple[str, str], ...]
    share_trained_on: float | None


def evaluate_slices(
    predictor: Predictor, dataset: Dataset, *, only_kidneys: bool = False, progress: Progress | None = None
) -> Evaluated:
    """Read every slice of a folder by itself.

    Args:
        only_kidneys: leave slices without a visible kidney out of the predictions; they are always left out where the network looks at
            kidneys alone.
        progress: called with (slices read, slices in all).

    Raises: DatasetError where the folder has a class that the checkpoint does not know, or no slice can be predicted.
    """
    checkpoint = predictor.checkpoint
    prediction.require_known_labels(checkpoint, dataset)
    rows = scan_table(dataset)[["path", "label", "series", "plane", "sha256"]].reset_index(drop=True)
    items = tuple(
        StackItem(path, local_files.content_of(dataset.root / path, sha256), 0, None)
        for path, sha256 in zip(rows["path"], rows["sha256"], strict=True)
    )
    tables = []
    for start in range(0, len(items), _AT_ONCE):
        part = Stack("", items[start : start + _AT_ONCE], BY_NAME)
        reading = stack_reading.read_stack(
            predictor, part, is_scan=False, progress=_within(progress, start, len(items), part)
        )
        tables.append(reading.table)
    table = pd.concat(tables, ignore_index=True)
    outcomes = np.array(stack_verdict.slice_outcomes(table, checkpoint.card), object)
    if not only_kidneys and not checkpoint.view.needs_kidneys:
        _predict_without_kidney(predictor, dataset, table, outcomes)
    columns = [probability_column(label) for label in checkpoint.labels]
    joined = rows.assign(outcome=outcomes, problem=table["problem"], **{name: table[name] for name in columns})
    return _evaluated(checkpoint, joined, pd.DataFrame(), dataset.unreadable)


def evaluate_scans(
    predictor: Predictor,
    root: Path,
    scans: Sequence[LabelledScan],
    *,
    left_out: Sequence[tuple[str, str]] = (),
    progress: Progress | None = None,
) -> Evaluated:
    """Read whole scans, kidneys followed along each; of a scan with several acquisitions, or ways to cut it, the first.

    Args:
        progress: called with (scans read, scans in all).

    Raises: DatasetError where a label is unknown to the checkpoint, or no slice can be predicted.
    """
    checkpoint = predictor.checkpoint
    unknown = sorted({label for scan in scans for label in scan.files.values()} - set(checkpoint.labels))
    if unknown:
        raise DatasetError(
            f"The folder has the class “{unknown[0]}”, which the checkpoint “{checkpoint.name}” does not know (it knows "
            f"{', '.join(checkpoint.labels)}). Leave that class out, or choose another checkpoint."
        )
    parts, verdicts, problems = [], [], list(left_out)
    for number, scan in enumerate(scans, start=1):
        read = _read_scan(predictor, root, scan)
        problems += read.problems
        if read.table is not None:
            parts.append(read.table)
            verdicts.append(read.verdict)
        if progress:
            progress(number, len(scans))
    if not parts:
        raise DatasetError(f"No scan of “{root}” can be read: {problems[0][1]}")
    return _evaluated(checkpoint, pd.concat(parts, ignore_index=True), pd.DataFrame(verdicts), tuple(problems))


@dataclass(frozen=True, eq=False)
class _ReadScan:
    table: pd.DataFrame | None
    verdict: dict[str, Any]
    problems: list[tuple[str, str]]


def _read_scan(predictor: Predictor, root: Path, scan: LabelledScan) -> _ReadScan:
    contents, label_of, problems = [], {}, []
    for path, label in scan.files.items():
        try:
            content = (root / path).read_bytes()
        except OSError as error:
            problems.append((path, f"“{path}” cannot be read ({error.strerror}). Check its permissions."))
            continue
        contents.append((path, content))
        label_of[hashlib.sha256(content).hexdigest()] = label
    opened = stacks.open_stacks(contents)
    problems += [(scan.name, problem) for problem in opened.problems]
    if not opened.stacks:
        return _ReadScan(None, {}, problems or [(scan.name, f"No file of the scan “{scan.name}” can be read.")])
    chosen = opened.stacks[0]
    reading = stack_reading.read_stack(predictor, chosen)
    table, labels = reading.table, [label_of[item.sha256] for item in chosen.items]
    columns = [name for name in table if name in {probability_column(each) for each in predictor.checkpoint.labels}]
    rows = pd.DataFrame(
        {
            "path": [item.name for item in chosen.items],
            "label": labels,
            "series": scan.name,
            "plane": _plane(chosen),
            "sha256": [item.sha256 for item in chosen.items],
            "outcome": stack_verdict.slice_outcomes(table, predictor.checkpoint.card),
            "problem": table["problem"],
            **{name: table[name] for name in columns},
        }
    )
    verdict = {
        "series": scan.name,
        "label": pd.Series(labels).mode().iloc[0],
        "outcome": str(reading.verdict.outcome),
        "predicted": reading.verdict.predicted_label or "",
        "slices": len(chosen.items),
    }
    return _ReadScan(rows, verdict, problems)


def _plane(chosen: Stack) -> str:
    """The plane of a stack, by its middle slice."""
    try:
        image = stacks.open_item(chosen.items[len(chosen.items) // 2])
    except SliceError:
        return UNKNOWN
    return plane_of(image, image.network_grey8())


def _predict_without_kidney(predictor: Predictor, dataset: Dataset, table: pd.DataFrame, outcomes: np.ndarray) -> None:
    """Fill in the predictions of slices without a kidney, which Diagnosis gives none."""
    without = outcomes == Outcome.NO_KIDNEY
    if not without.any():
        return
    some = dataset.only(without, why="no kidney visible")
    probabilities = stack_reading.predict_squares(predictor, dataset_pixels(some, predictor.checkpoint.view))[0]
    table.loc[without, [probability_column(label) for label in predictor.checkpoint.labels]] = probabilities


def _evaluated(
    checkpoint: Checkpoint, rows: pd.DataFrame, scans: pd.DataFrame, unreadable: Sequence[tuple[str, str]]
) -> Evaluated:
    known = np.isfinite(probabilities_of(rows)).all(axis=1)
    if not known.any():
        counts = rows["outcome"].value_counts()
        raise DatasetError(
            f"No slice can be predicted by “{checkpoint.name}”: of {len(rows):,} slices most are “{counts.index[0]}”. Check that the "
            "images are upright CT slices that show a kidney."
        )
    trained_on = checkpoint.trained_on()
    is_known = [datasets.short_hash(each) in trained_on for each in rows["sha256"]]
    probabilities = probabilities_of(rows)[known]
    facts = rows.loc[known, ["path", "label", "series", "plane", "outcome"]].assign(temperature=checkpoint.temperature)
    problems = [(path, problem) for path, problem in zip(rows["path"], rows["problem"], strict=True) if problem]
    return Evaluated(
        Predictions.from_probabilities(facts.assign(outcome=facts["outcome"].map(str)), probabilities, labels_of(rows)),
        rows[["path", "label", "series", "outcome"]].assign(outcome=rows["outcome"].map(str)),
        scans,
        (*unreadable, *problems),
        float(np.mean(is_known)) if trained_on else None,
    )


def _within(progress: Progress | None, start: int, total: int, part: Stack) -> Progress | None:
    """The progress of one part of a folder as that of the whole."""
    if progress is None:
        return None
    return lambda done, steps: progress(start + round(done / max(steps, 1) * len(part.items)), total)
