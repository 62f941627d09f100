"""Train one network on a folder of CT slices.

python train.py --data FOLDER                            the paper's recipe
python train.py --data FOLDER --recipe augmented         every layer, strong augmentation, honest split
python train.py --resume runs/NAME                       go on where a run stopped or was killed
"""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from kidney_core import jobs
from kidney_core.errors import KidneyError, RunError
from kidney_core.recipes import TrainingConfig, config_from_recipe
from kidney_core.run_lock import hold
from kidney_core.runs import Run


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


def open_run(arguments: argparse.Namespace) -> Run:
    """The run to resume, or a new one of the given configuration.

    Raises: RunError for a bad configuration or a folder that is no run.
    """
    given = vars(arguments)
    if "resume" not in given:
        name = given.pop("name", None)
        return Run.create(config_from_recipe(given.pop("recipe", "paper"), **given), name=name)
    folder = given.pop("resume")
    if given:
        raise RunError(f"A resumed run keeps its configuration; leave out --{next(iter(given)).replace('_', '-')}.")
    run = Run(folder)
    run.config()
    return run


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; errors a user can mend are one sentence and exit status 1."""
    try:
        run = open_run(parse_arguments(sys.argv[1:] if arguments is None else arguments))
        with hold(run):
            (run.folder / jobs.CANCEL_FILE).unlink(missing_ok=True)
            return jobs.work(run, show_progress=sys.stderr.isatty())
    except KidneyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
