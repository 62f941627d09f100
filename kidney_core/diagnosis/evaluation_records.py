"""Evaluations of folders, kept in the cache folder so that a reload of the page, or of the browser, shows them again.

They hold the names of the files that were evaluated, as the index of a dataset there does; the newest 20 are kept.
"""

import contextlib
import hashlib
import io
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from kidney_core.common.cache import cache_folder
from kidney_core.common.files import read_table, write_json
from kidney_core.diagnosis.folder_evaluation import Evaluated
from kidney_core.metrics.predictions import Predictions

KEPT = 20
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Some checkpoints on one folder.

    Attributes:
        root: the folder.
        created: date and time.
        is_of_scans: whole scans were read, not separate slices.
        results: checkpoint -> what came of it.
        weights: checkpoint -> SHA-256 of the weights that were evaluated.
        key: of the record; empty before it is saved.
    """

    root: Path
    is_of_scans: bool
    results: dict[str, Evaluated] = field(repr=False)
    weights: dict[str, str]
    created: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M"))
    key: str = ""


def save(evaluation: Evaluation) -> str:
    """Keep an evaluation; its key, the same for the same result. Raises DatasetError or OSError where the cache cannot be written."""
    content = {
        "format": _FORMAT,
        "root": str(evaluation.root),
        "is_of_scans": evaluation.is_of_scans,
        "weights": evaluation.weights,
        "results": {name: _as_json(each) for name, each in evaluation.results.items()},
    }
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]
    write_json(_path(key), {**content, "created": evaluation.created})
    for path in _paths()[KEPT:]:
        path.unlink(missing_ok=True)
    return key


def load(key: str) -> Evaluation | None:
    """The evaluation of a key; None where it was never kept, is gone or damaged."""
    if not key.isalnum():
        return None
    return _read(_path(key))


def listed() -> list[Evaluation]:
    """The kept evaluations, newest first."""
    return [each for each in map(_read, _paths()) if each is not None]


def _path(key: str) -> Path:
    return cache_folder() / f"evaluation-{key}.json"


def _paths() -> list[Path]:
    """The kept files, newest first."""
    found = []
    for path in cache_folder().glob("evaluation-*.json"):
        with contextlib.suppress(FileNotFoundError):  # deleted by another process
            found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found, reverse=True)]


def _read(path: Path) -> Evaluation | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Evaluation(
            Path(content["root"]),
            bool(content["is_of_scans"]),
            {name: _from_json(each) for name, each in content["results"].items()},
            content["weights"],
            content["created"],
            path.stem.removeprefix("evaluation-"),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _as_json(evaluated: Evaluated) -> dict[str, Any]:
    return {
        "predictions": evaluated.predictions.csv_bytes().decode(),
        "outcomes": evaluated.outcomes.to_csv(index=False),
        "scans": evaluated.scans.to_csv(index=False) if len(evaluated.scans) else "",
        "unreadable": [list(each) for each in evaluated.unreadable],
        "share_trained_on": evaluated.share_trained_on,
    }


def _from_json(content: dict[str, Any]) -> Evaluated:
    scans = content["scans"]
    return Evaluated(
        Predictions.read_csv(io.BytesIO(content["predictions"].encode())),
        read_table(io.BytesIO(content["outcomes"].encode())),
        read_table(io.BytesIO(scans.encode())) if scans else pd.DataFrame(),
        tuple((path, reason) for path, reason in content["unreadable"]),
        content["share_trained_on"],
    )
