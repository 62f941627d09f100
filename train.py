"""Train one network on a folder of CT slices.

python train.py --data FOLDER                            the paper's recipe
python train.py --data FOLDER --recipe robust            the best on scans never seen, honest split
python train.py --data FOLDER --folds 5                  cross-validation: five runs, every scan tested once
python train.py --resume runs/NAME                       go on where a run stopped or was killed
python train.py --data FOLDER --n-processes 2            two processes that share every batch, one a GPU
torchrun --nproc-per-node 2 train.py --resume runs/NAME  the same, started by somebody else (Slurm, Ray, you)
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from kidney_core import allocator, cross_validation, launch, limits, shortage
from kidney_core.errors import RunError, command
from kidney_core.recipes import TrainingConfig, config_from_recipe
from kidney_core.run_lock import hold
from kidney_core.runs import CANCEL_FILE, FINISHED, Run
from kidney_core.splits import GROUPED, PROTOCOL_TITLES
from kidney_core.work import check_unfinished, logged, work, work_in_processes

_SECONDS_FOR_A_LAST_LIFE = 30.0  # an engine starts a run anew while the system still ends its processes


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """One option for each field of TrainingConfig; what is not given comes from the recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, argument_default=argparse.SUPPRESS
    )
    parser.add_argument("--resume", metavar="RUN", type=Path, help="folder of a run to go on with")
    parser.add_argument("--name", help="name of the new run's folder; made from time and architecture by default")
    for option in fields(TrainingConfig):
        flags = ["--" + option.name.replace("_", "-")]
        flags += [
            "--" + short for short in {option.name.removeprefix("n_"), option.name.removesuffix("_px")} - {option.name}
        ]
        if option.name == "protocol":
            flags.append("--split")
        text = f"{option.metadata['help']} (paper: {option.default or '—'})".replace("%", "%%")
        parser.add_argument(
            *(flag.replace("_", "-") for flag in flags),
            dest=option.name,
            type=type(option.default),
            choices=option.metadata["choices"],
            help=text,
        )
    return parser.parse_args(arguments)


def open_runs(arguments: argparse.Namespace) -> Iterator[Run]:
    """The run to resume, a new one of the given configuration, or one for each fold of a cross-validation.

    A fold's run is made when its turn comes. The same command with the same --name goes on where a
    cross-validation was interrupted: finished folds are left alone.

    Raises: RunError for a bad configuration or a folder that is no run.
    """
    given = vars(arguments)
    if "resume" in given:
        folder = given.pop("resume")
        if given:
            raise RunError(f"A resumed run keeps its configuration; leave out --{next(iter(given)).replace('_', '-')}.")
        run = Run(folder)
        run.config()
        check_unfinished(run)
        yield run
        return
    if launch.is_launched():
        raise RunError("Under torchrun, give --resume RUN; --n-processes N makes a new run and starts torchrun itself.")
    name, one_fold = given.pop("name", None), "fold" in given
    if given.get("n_folds"):
        given.setdefault("protocol", GROUPED)  # every scan tested once is what a cross-validation is for
    config = config_from_recipe(given.pop("recipe", "paper"), **given)
    if not config.n_folds or one_fold:
        yield Run.create(config, name=name)
        return
    name = name or f"{time.strftime('%Y%m%d-%H%M%S')}-{config.architecture}"
    print(f"cross-validation “{name}”: the same command with --name {name} goes on where it was interrupted")
    for fold in cross_validation.fold_configs(config):
        yield cross_validation.open_fold(fold, name=f"{name}-fold-{fold.fold + 1}")


def train_all(runs: Iterator[Run]) -> int:
    """Train one run after the other; the exit status of the first that fails, or 0."""
    done = []
    for run in runs:
        if run.state()["state"] != FINISHED:
            status = train_in_a_group(run) if launch.is_launched() else train_alone(run)
            allocator.return_freed_memory()
            if status or run.state()["state"] != FINISHED:
                return status
        done.append(run)
    if len(done) > 1:
        from kidney_core import intervals

        print(f"pooled over {len(done)} folds, {PROTOCOL_TITLES[done[0].config().protocol]}")
        print("\n".join(intervals.summary(cross_validation.pooled_predictions(done[0]))))
    return 0


def train_alone(run: Run) -> int:
    """Train a run in this process, or in as many as it asks for; the exit status."""
    with shortage.told_as(RunError, run.folder), hold(run), logged(run):
        (run.folder / CANCEL_FILE).unlink(missing_ok=True)
        n_processes = run.config().n_processes
        return work_in_processes(run, n_processes) if n_processes > 1 else work(run, show_progress=sys.stderr.isatty())


def train_in_a_group(run: Run) -> int:
    """Train a run as one of the processes that torchrun or Ray started; the first of them holds it and logs."""
    if launch.is_worker_of_torchrun():
        limits.die_with_parent()
        if launch.is_held_by_launcher(run) and not launch.is_below_torchrun():  # killed before the line above
            raise RunError(f"The process that started this one of “{run.name}” is gone. Resume the run.")
    if launch.rank() > 0:
        return work(run)
    with hold(run, patience_s=_SECONDS_FOR_A_LAST_LIFE), logged(run):
        return work(run, show_progress=sys.stderr.isatty())


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the command line; errors a user can mend are one sentence and exit status 1."""
    return train_all(open_runs(parse_arguments(sys.argv[1:] if arguments is None else arguments)))


if __name__ == "__main__":
    sys.exit(main())
