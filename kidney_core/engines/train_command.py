"""Train networks from the command line: `kidney-ct train`, or `python train.py` in a checkout."""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

from kidney_core.common import allocator, os_errors, rlimits
from kidney_core.common.entry_point import command, progress_printer
from kidney_core.common.errors import RunError
from kidney_core.common.typed_paths import path_argument
from kidney_core.engines.worker import log_output, require_unfinished, train_here, train_in_processes
from kidney_core.metrics.splits import GROUPED, PROTOCOL_TITLES
from kidney_core.runs import cross_validation, launch
from kidney_core.runs.recipes import TrainingConfig, config_from_recipe
from kidney_core.runs.run_folder import CANCEL_FILE, FINISHED, Run
from kidney_core.runs.run_lock import hold

_DESCRIPTION = """\
Train a network on a folder of CT slices that has one folder of images per class.

{program} --data FOLDER                   the paper's recipe: random split
{program} --data FOLDER --recipe travel   the best recipe for other hospitals: scan-level split
{program} --data FOLDER --folds 5         cross-validation: five runs, every scan is tested once
{program} --resume RUN                    resume a run that was stopped or killed
{program} --data FOLDER --n-processes 2   two processes share every batch, each with its own GPU
torchrun --nproc-per-node 2 -m kidney_core.engines.train_command --resume RUN
                                          the same, where you start the processes
"""
_SHORT_FLAGS = {"protocol": "--split", "learning_rate": "--lr"}
_PATIENCE_S = 30.0  # an engine restarts a run while the system still ends its processes


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """One option for each field of TrainingConfig; the recipe gives the values of options that are left out."""
    program = "kidney-ct train" if sys.argv[0].startswith("kidney-ct") else "python train.py"
    parser = argparse.ArgumentParser(
        description=_DESCRIPTION.format(program=program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--resume", metavar="RUN", type=path_argument, help="folder of the run to resume")
    parser.add_argument("--name", help="name of the new run's folder (default: made from time and architecture)")
    add_options(parser)
    return parser.parse_args(arguments)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add one option for each field of TrainingConfig to a parser, which suppresses defaults."""
    for option in fields(TrainingConfig):
        default = option.default if option.default != "" else "none"
        parser.add_argument(
            *flags(option.name),
            dest=option.name,
            type=type(option.default),
            choices=option.metadata["choices"],
            help=f"{option.metadata['help']} (paper: {default})".replace("%", "%%"),
        )


def flags(name: str) -> list[str]:
    """--n-epochs and --epochs, --image-size-px and --image-size, and the short names of `_SHORT_FLAGS`."""
    names = dict.fromkeys([name, name.removeprefix("n_"), name.removesuffix("_px")])
    flags = ["--" + each.replace("_", "-") for each in names]
    return [*flags, *([_SHORT_FLAGS[name]] if name in _SHORT_FLAGS else [])]


def open_runs(arguments: argparse.Namespace) -> Iterator[Run]:
    """The run to resume, a new one of the given configuration, or one for each fold of a cross-validation.

    The run of a fold is created when its turn comes. The same command with the same --name resumes an interrupted
    cross-validation and skips finished folds.

    Raises: RunError for a bad configuration or a folder that is no run.
    """
    given = vars(arguments)
    if "resume" in given:
        folder = given.pop("resume")
        if given:
            raise RunError(f"A resumed run keeps its configuration; leave out --{next(iter(given)).replace('_', '-')}.")
        run = Run(folder)
        run.config()
        require_unfinished(run)
        yield run
        return
    if launch.is_launched():
        raise RunError("Under torchrun, give --resume RUN; --n-processes N makes a new run and starts torchrun itself.")
    name, one_fold = given.pop("name", None), "fold" in given
    if given.get("n_folds"):
        given.setdefault("protocol", GROUPED)  # a cross-validation is there to test every scan once
    config = config_of(given)
    _require_trainable(config)
    if not config.n_folds or one_fold:
        yield Run.create(config, name=name)
        return
    name = name or f"{time.strftime('%Y%m%d-%H%M%S')}-{config.architecture}"
    print(f"cross-validation “{name}”: if it is interrupted, the same command with --name {name} resumes it")
    for fold in cross_validation.fold_configs(config):
        yield cross_validation.open_fold(fold, name=f"{name}-fold-{fold.fold + 1}")


def config_of(given: dict[str, Any]) -> TrainingConfig:
    """The configuration of options that were given, with what was said before about the class names of its folders.

    Raises: RunError for an option out of range.
    """
    recipe = given.pop("recipe", "paper")
    return _with_labelling(config_from_recipe(recipe, **given), given)


def _with_labelling(config: TrainingConfig, given: dict[str, Any]) -> TrainingConfig:
    """The configuration with what was said about the classes of its folders before, where the options do not say it."""
    from kidney_core.data import remembered_labels  # imports NumPy and pandas

    labelling = remembered_labels.chosen(config.data, classes=given.get("classes"), table=given.get("table"))
    extra = given.get("extra_classes", remembered_labels.recall_classes(config.extra_folders))
    return replace(config, classes=labelling.classes_text, table=labelling.table_text, extra_classes=extra)


def _require_trainable(config: TrainingConfig) -> None:
    """Check a configuration before its run folder is made. Raises KidneyError."""
    from kidney_core.training import readiness  # imports torch

    readiness.require_trainable(config, progress_printer)


def train_all(runs: Iterator[Run]) -> int:
    """Train one run after the other; the exit status of the first that fails, or 0."""
    finished = []
    for run in runs:
        if run.state()["state"] != FINISHED:
            status = train_as_worker(run) if launch.is_launched() else train_alone(run)
            allocator.return_freed_memory()
            if status or run.state()["state"] != FINISHED:
                return status
        finished.append(run)
    if len(finished) > 1:
        from kidney_core.metrics import intervals

        print(f"pooled over {len(finished)} folds, {PROTOCOL_TITLES[finished[0].config().protocol]}")
        print("\n".join(intervals.summary(cross_validation.pooled_predictions(finished[0]))))
    return 0


def train_alone(run: Run) -> int:
    """Train a run in this process, or in as many as it asks for; the exit status."""
    with os_errors.reraise_as(RunError, run.folder), hold(run), log_output(run):
        (run.folder / CANCEL_FILE).unlink(missing_ok=True)
        n_processes = run.config().n_processes
        if n_processes > 1:
            return train_in_processes(run, n_processes)
        return train_here(run, show_progress=sys.stderr.isatty())


def train_as_worker(run: Run) -> int:
    """Train a run as one of the processes that torchrun or Ray started; the first of them locks it and logs."""
    if launch.is_worker_of_torchrun():
        rlimits.die_with_parent()
        if launch.is_held_by_launcher(run) and not launch.is_below_torchrun():  # killed before the line above
            raise RunError(f"The process that started this one of “{run.name}” is gone. Resume the run.")
    if launch.rank() > 0:
        return train_here(run)
    with hold(run, patience_s=_PATIENCE_S), log_output(run):
        return train_here(run, show_progress=sys.stderr.isatty())


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the command line; an error that a user can mend is one sentence, and exit status 1."""
    return train_all(open_runs(parse_arguments(sys.argv[1:] if arguments is None else arguments)))


if __name__ == "__main__":
    sys.exit(main())
