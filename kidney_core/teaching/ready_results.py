"""Results of the lessons that are there before anybody waits: computed by this command, stored beside the code, never typed in.

    kidney-ct lessons                    computes all of them again

Each says which weights it came from, so that it is not shown for another network.
"""

import argparse
import dataclasses
import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.entry_point import command, progress_printer
from kidney_core.common.errors import CheckpointError
from kidney_core.common.files import write_json

if TYPE_CHECKING:
    from kidney_core.diagnosis.inference import Predictor
    from kidney_core.teaching.breaks import Break

FOLDER = Path(__file__).parent / "ready"
BREAKS_FILE = "breaks.json"


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


def compute_breaks(predictors: list["Predictor"], *, folder: Path = FOLDER, n_samples: int = 12) -> None:
    """Write what breaks checkpoints."""
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


@command
def main(arguments: list[str] | None = None) -> int:
    """Compute the ready results of the lessons from the command line."""
    parser = argparse.ArgumentParser(description="Compute the ready results of the Teaching page again.")
    parser.parse_args(arguments)
    from kidney_core.checkpoints.checkpoint import list_checkpoints
    from kidney_core.common import settings
    from kidney_core.diagnosis import inference
    from kidney_core.kidneys import finder

    shipped = list_checkpoints(settings.SHIPPED_CHECKPOINTS)[0]
    predictors = [inference.open_predictor(each, finder=finder.open_installed()) for each in shipped]
    compute_breaks(predictors)
    print(f"written to {FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
