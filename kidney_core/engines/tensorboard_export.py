"""Write the curves and options of runs as event files, which TensorBoard shows; the run folders stay the original.

    kidney-ct export-tensorboard [RUN...]
    tensorboard --logdir runs

A run's events are in its folder, in `tensorboard/`. Exporting again replaces them.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kidney_core.common import os_errors, settings
from kidney_core.common.entry_point import command
from kidney_core.common.errors import RunError
from kidney_core.common.files import new_folder
from kidney_core.common.typed_paths import path_argument
from kidney_core.engines import jobs
from kidney_core.runs.curves import Curves
from kidney_core.runs.run_folder import FINISHED, Run, list_runs

EVENTS_FOLDER = "tensorboard"
_NOT_SCALARS = {"kind", "step", "epoch", "time", "steps_per_epoch"}
_TESTED = ("accuracy", "balanced_accuracy")  # figures of the test part that are written


def export(run: Run) -> Path:
    """Write the event files of a run; the folder that holds them.

    Scalars are named epoch/…, step/… and test/…, against the step, at the time when they were measured.

    Raises: RunError where the run has measured nothing yet, or its folder cannot be written.
    """
    config, curves = run.config(), Curves().read(run)
    scalars = list(_scalars(run, curves))
    if not scalars:
        raise RunError(f"The run “{run.name}” has measured nothing yet. Export it once its first epoch is done.")
    target = run.folder / EVENTS_FOLDER
    with os_errors.reraise_as(RunError, run.folder):
        _remove(target)
        with new_folder(target) as folder:
            _write(folder, scalars, asdict(config))
    return target


def _scalars(run: Run, curves: Curves) -> Iterator[tuple[str, float, int, float]]:
    """(name, value, step, seconds since 1970) of everything that was measured."""
    for prefix, rows in (("epoch", curves.epochs), ("step", curves.steps)):
        for row in rows:
            for name, value in row.items():
                if name not in _NOT_SCALARS and isinstance(value, int | float) and math.isfinite(value):
                    yield f"{prefix}/{name}", float(value), int(row["step"]), float(row.get("time", 0.0))
    figures = (run.report() or {}).get("figures") or {}
    if figures and curves.epochs and jobs.status(run) == FINISHED:
        last = curves.epochs[-1]
        for name in _TESTED:
            yield f"test/{name}", float(figures[name]), int(last["step"]), float(last.get("time", 0.0))


def _write(folder: Path, scalars: list[tuple[str, float, int, float]], options: dict[str, Any]) -> None:
    from tensorboardX import SummaryWriter  # here: it takes a second
    from tensorboardX.summary import hparams

    last = {name: value for name, value, _, _ in scalars if not name.startswith("step/")}
    with SummaryWriter(logdir=str(folder)) as writer:
        for summary in hparams(options, last):
            writer.file_writer.add_summary(summary)
        for name, value, step, seconds in scalars:
            writer.add_scalar(name, value, step, walltime=seconds)


def _remove(folder: Path) -> None:
    """Remove the events of an earlier export, and nothing else."""
    for path in folder.glob("events.out.tfevents.*"):
        path.unlink()


@command
def main(arguments: list[str] | None = None) -> int:
    """Export runs from the command line."""
    parser = argparse.ArgumentParser(description="Write the curves of runs as event files for TensorBoard.")
    parser.add_argument(
        "runs",
        type=path_argument,
        nargs="*",
        help=f"folders or names of runs (default: all in {settings.runs_folder()} that measured something)",
    )
    options = parser.parse_args(arguments)
    if options.runs:
        for run in [_found(path) for path in options.runs]:
            print(f"{run.name}: {export(run)}")
    else:
        for run in list_runs():
            if Curves().read(run).metrics:
                print(f"{run.name}: {export(run)}")
    print(f"tensorboard --logdir {settings.runs_folder()} shows them")
    return 0


def _found(path: Path) -> Run:
    """The run of a folder, or of a name in the folder of runs. Raises RunError where there is none."""
    for folder in (Path(path), settings.runs_folder() / path):
        if (folder / "config.json").is_file():
            return Run(folder)
    raise RunError(f"There is no run “{path}”. Give its folder, or its name in “{settings.runs_folder()}”.")


if __name__ == "__main__":
    sys.exit(main())
