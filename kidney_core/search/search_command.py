"""`kidney-ct search`: try settings of a training, chosen by Optuna, and keep the best by the validation part."""

import argparse
import os
import shlex
import sys
from typing import Any, NoReturn

from kidney_core.common.entry_point import command, progress_printer
from kidney_core.common.errors import RunError
from kidney_core.engines import jobs, train_command
from kidney_core.runs import recipes
from kidney_core.runs.run_folder import CANCEL_FILE, FINISHED
from kidney_core.search import space
from kidney_core.search.search_folder import OBJECTIVES, Plan, Search, comparable, find

_DESCRIPTION = """\
Search for good settings. Each trial is a run of its own, NAME-trial-00 and so on, in the queue like any other; poor ones are
stopped early. Only the validation part decides, split by scan; test figures are never used for choosing.

kidney-ct search --data FOLDER --architecture resnet18 --trials 20 --name NAME
kidney-ct search --data FOLDER --name NAME --vary learning_rate=1e-5..1e-2 --vary trainable=head,last-block,all
kidney-ct search --resume NAME              go on with a search that was stopped or killed
kidney-ct search --resume NAME --trials 40  go on to 40 trials
kidney-ct search --show NAME                its trials and the best settings
"""
_OF_SEARCH = ("trials", "objective", "at_once", "no_pruning", "search_seed", "engine", "name", "vary")


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The options of a search, and those of a training."""
    parser = argparse.ArgumentParser(
        prog="kidney-ct search",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--resume", metavar="NAME", help="search to go on with")
    parser.add_argument("--show", metavar="NAME", help="search whose trials are printed")
    parser.add_argument("--name", help="name of a new search")
    parser.add_argument("--trials", type=int, help="number of trials (default: 20)")
    parser.add_argument(
        "--vary",
        action="append",
        metavar="OPTION=RANGE",
        help=f"what is varied: a range 1e-5..1e-2, or a list none,flip; once for each option (default: {_default_space()})",
    )
    parser.add_argument("--objective", choices=tuple(OBJECTIVES), help="of the validation part (default: loss)")
    parser.add_argument("--at-once", type=int, help="trials in the queue at the same time (default: 1)")
    parser.add_argument("--no-pruning", action="store_true", help="train every trial to its end")
    parser.add_argument("--search-seed", type=int, help="random seed of the search (default: 0)")
    parser.add_argument("--engine", choices=tuple(jobs.ENGINES), help="where the runs train (default: KIDNEY_ENGINE)")
    train_command.add_options(parser)
    return parser.parse_args(arguments)


def _default_space() -> str:
    return " ".join(f"{name}={space.DEFAULTS[name]}" for name in space.CHOSEN_AT_FIRST)


def read_varied(texts: list[str]) -> dict[str, str]:
    """Option -> range, of texts OPTION=RANGE, in which options may have the names of `kidney-ct train`.

    Raises: RunError for what is none, or an option that is given twice.
    """
    names = {
        flag.removeprefix("--").replace("-", "_"): name for name in space.OPTIONS for flag in train_command.flags(name)
    }
    varied: dict[str, str] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        name = names.get(name, name)
        if not equals:
            raise RunError(f"“{text}” does not say what to vary. Give OPTION=RANGE, such as learning_rate=1e-5..1e-2.")
        if name in varied:
            raise RunError(f"“{name}” is varied twice. Give one range for it.")
        varied[name] = values.strip()
    return varied


class _Words(argparse.ArgumentParser):
    """A parser of options that were typed into a page: what is wrong with them is raised, not printed."""

    def error(self, message: str) -> NoReturn:
        raise RunError(f"These options cannot be read: {message}. Write them as for kidney-ct train.")


def read_options(text: str) -> dict[str, Any]:
    """The options of a training in a text such as `--batch-size 16 --optimizer adamw`.

    Raises: RunError where it cannot be read.
    """
    parser = _Words(add_help=False, argument_default=argparse.SUPPRESS, allow_abbrev=False)
    train_command.add_options(parser)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise RunError(f"These options cannot be read: {error}. Close every quote.") from error
    return vars(parser.parse_args(words))


def new_search(given: dict[str, Any]) -> Search:
    """Make the search that the options ask for, once it is sure that its trials can be trained. Raises KidneyError."""
    from kidney_core.training import readiness  # imports torch

    if not given.get("name"):
        raise RunError("A search needs a name, by which it is resumed and its runs are found. Give --name NAME.")
    of_search = {name: given.pop(name) for name in _OF_SEARCH if name in given}
    varied = read_varied(of_search.get("vary", _default_space().split()))
    given.setdefault("protocol", "grouped")
    plan = Plan(
        config=comparable(train_command.config_of(given)),
        varied=varied,
        n_trials=of_search.get("trials", 20),
        objective=of_search.get("objective", "loss"),
        n_at_once=of_search.get("at_once", 1),
        prunes=not of_search.get("no_pruning", False),
        seed=of_search.get("search_seed", 0),
        engine=of_search.get("engine", jobs.default_engine()),
    ).validated()
    readiness.require_all_trainable(space.extremes(plan.config, plan.ranges), progress_printer)
    return Search.create(plan, of_search["name"])


def show(search: Search) -> None:
    """Print the trials of a search and the command line of the best."""
    from kidney_core.search.trials import Trials

    trials = Trials(search)
    table = trials.table()
    print(f"search “{search.name}”: {search.status()}, {trials.counts()}")
    if len(table):
        print(table.to_string(index=False, na_rep="–"))
    best = trials.best_config()
    if best is not None:
        print(f"best settings:\n{recipes.command_line(best)}")


@command
def main(arguments: list[str] | None = None) -> int:
    """Run a search in this process, whose runs are jobs of their own; the exit status."""
    given = vars(parse_arguments(sys.argv[1:] if arguments is None else arguments))
    if "show" in given:
        show(find(given["show"]))
        return 0
    from kidney_core.search import search_process

    if "resume" in given:
        search = find(given.pop("resume"))
        if "trials" in given:
            search.extend(given.pop("trials"))
        if given:
            raise RunError(f"A resumed search keeps its settings; leave out --{next(iter(given)).replace('_', '-')}.")
        search_process.require_unfinished(search)
    else:
        search = new_search(given)
    lock = search.lock()
    try:
        (search.folder / CANCEL_FILE).unlink(missing_ok=True)
        print(f"search “{search.name}”: if it is interrupted, kidney-ct search --resume {search.name} goes on with it")
        state = search_process.work(search, tell=lambda line: print(line, flush=True))
    finally:
        os.close(lock)
    show(search)
    return 0 if state == FINISHED else 130


if __name__ == "__main__":
    sys.exit(main())
