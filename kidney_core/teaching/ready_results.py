"""Results of the lessons that are there before anybody waits: computed by this command, stored beside the code, never typed in.

    kidney-ct lessons                    computes all of them again

Each says which weights it came from, so that it is not shown for another network.
"""

import argparse
import base64
import dataclasses
import io
import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.entry_point import command, progress_printer
from kidney_core.common.errors import CheckpointError
from kidney_core.common.files import write_atomically, write_json

if TYPE_CHECKING:
    from kidney_core.diagnosis.inference import Predictor
    from kidney_core.teaching.breaks import Break
    from kidney_core.teaching.shortcut import Lesson
    from kidney_core.teaching.split_puzzle import PuzzleData

FOLDER = Path(__file__).parent / "ready"
BREAKS_FILE, SHORTCUT_FILE, PUZZLE_FILE = "breaks.json", "shortcut.json", "puzzle.json"
PICTURES_FILE = "puzzle.jpg"  # below each other, in the order of the table
_JPEG_QUALITY = 80


@lru_cache(maxsize=8)
def _read(path: Path, written: int) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"“{path}” is damaged ({error}). Compute it again: kidney-ct lessons") from error


def read(file: str, *, folder: Path = FOLDER) -> dict[str, Any]:
    """A stored result; empty where there is none. Raises CheckpointError where it is damaged."""
    path = folder / file
    stored: dict[str, Any] = _read(path, path.stat().st_mtime_ns) if path.is_file() else {}
    return stored


def breaks_of(checkpoint: Checkpoint, *, folder: Path = FOLDER) -> list["Break"]:
    """What is known to break a checkpoint, see `breaks.choose`; empty where nobody computed it for these weights.

    Raises: CheckpointError where the file is damaged.
    """
    from kidney_core.teaching.breaks import Break, Sample

    stored = read(BREAKS_FILE, folder=folder).get(checkpoint.card["weights_sha256"], {"breaks": []})
    return [Break(**(each | {"sample": Sample(**each["sample"])})) for each in stored["breaks"]]


def compute_breaks(predictors: list["Predictor"], *, folder: Path = FOLDER, n_samples: int = 4) -> None:
    """Write what breaks checkpoints: minutes for each, and more samples take as much longer."""
    from kidney_core.teaching import breaks

    stored = {}
    for predictor in predictors:
        found = breaks.choose(
            predictor, n_samples=n_samples, progress=progress_printer(f"Breaking {predictor.checkpoint.name}")
        )
        stored[predictor.checkpoint.card["weights_sha256"]] = {
            "checkpoint": predictor.checkpoint.name,
            "finder_sha256": predictor.finder.digest if predictor.finder else "",
            "breaks": [dataclasses.asdict(each) for each in found],
        }
    write_json(folder / BREAKS_FILE, stored)


def shortcut_lesson(*, folder: Path = FOLDER) -> "Lesson | None":
    """The stored lesson of a taught shortcut; None where there is none. Raises CheckpointError where it is damaged."""
    from kidney_core.teaching.shortcut import Behaviour, Example, Lesson
    from kidney_core.teaching.taught_mark import Mark

    stored = read(SHORTCUT_FILE, folder=folder)
    if not stored:
        return None
    examples = tuple(
        Example(
            **(each | {"square": _from_png(each["square"]), "heatmap": _from_png(each["heatmap"]) / np.float32(255)})
        )
        for each in stored["examples"]
    )
    behaviours = {name: Behaviour(**stored[name]) for name in ("taught", "control")}
    return Lesson(**(stored | behaviours | {"mark": Mark(**stored["mark"]), "examples": examples}))


def compute_shortcut(*, folder: Path = FOLDER, **options: Any) -> None:
    """Write the lesson of a taught shortcut.

    Args:
        options: of `kidney_pictures.draw_pictures` (n_scans, n_slices) and `shortcut.teach` (n_epochs).
    """
    from kidney_core.teaching import kidney_pictures, shortcut
    from kidney_core.teaching.taught_mark import Mark

    n_epochs = options.pop("n_epochs", shortcut.N_EPOCHS)
    lesson, _ = shortcut.teach(kidney_pictures.draw_pictures(**options), Mark(), n_epochs=n_epochs)
    stored = dataclasses.asdict(lesson)
    for example in stored["examples"]:
        example["square"] = _as_png(example["square"])
        example["heatmap"] = _as_png(np.rint(example["heatmap"] * 255).astype(np.uint8))
    write_json(folder / SHORTCUT_FILE, stored)


def puzzle_data(*, folder: Path = FOLDER) -> "PuzzleData | None":
    """The stored slices of the split puzzle; None where there are none. Raises CheckpointError where the file is damaged."""
    from kidney_core.teaching.split_puzzle import PuzzleData

    stored = read(PUZZLE_FILE, folder=folder)
    if not stored:
        return None
    try:
        sheet = np.asarray(Image.open(folder / PICTURES_FILE))
    except OSError as error:
        raise CheckpointError(
            f"“{folder / PICTURES_FILE}” cannot be read ({error}). Compute it again: kidney-ct lessons puzzle"
        ) from error
    pictures = sheet.reshape(-1, sheet.shape[1], sheet.shape[1])  # one below the other
    return PuzzleData(pd.DataFrame(stored["table"]), pictures, simulated=True)


def compute_puzzle(*, folder: Path = FOLDER, **options: Any) -> None:
    """Write the slices of the split puzzle.

    Args:
        options: of `split_puzzle.draw_data`.
    """
    from kidney_core.teaching import split_puzzle

    data = split_puzzle.draw_data(**options)
    sheet = data.pictures.reshape(-1, data.pictures.shape[-1])
    write_atomically(
        folder / PICTURES_FILE, lambda partial: Image.fromarray(sheet).save(partial, "JPEG", quality=_JPEG_QUALITY)
    )
    write_json(folder / PUZZLE_FILE, {"table": data.table.to_dict("list")})


def _as_png(grey: np.ndarray) -> str:
    """(H, W) uint8 as text."""
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def _from_png(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


@command
def main(arguments: list[str] | None = None) -> int:
    """Compute the ready results of the lessons from the command line."""
    parser = argparse.ArgumentParser(description="Recompute the stored results of the Teaching page.")
    lessons = ("breaks", "shortcut", "puzzle")
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help=f"{', '.join(lessons)} (default: all)")
    chosen = parser.parse_args(arguments).lessons or lessons
    if unknown := set(chosen) - set(lessons):
        parser.error(f"there is no lesson “{min(unknown)}”; there are {', '.join(lessons)}")
    if "shortcut" in chosen:
        compute_shortcut()
    if "puzzle" in chosen:
        compute_puzzle()
    if "breaks" in chosen:
        _compute_shipped_breaks()
    print(f"written to {FOLDER}")
    return 0


def _compute_shipped_breaks() -> None:
    from kidney_core.checkpoints.checkpoint import list_checkpoints
    from kidney_core.common import settings
    from kidney_core.diagnosis import inference
    from kidney_core.kidneys import finder

    shipped = list_checkpoints(settings.SHIPPED_CHECKPOINTS)[0]
    predictors = [inference.open_predictor(each, finder=finder.open_installed()) for each in shipped]
    compute_breaks(predictors)


if __name__ == "__main__":
    sys.exit(main())
