"""A search on disk, beside its runs: what was asked for, Optuna's journal, and how it stands.

runs/<name>/
    search.json    the base configuration, what is varied, the number of trials
    journal.log    Optuna's journal: every trial with its values and measurements, appended
    state.json     running, stopped, finished or failed, with a message
    log.txt        a line for each trial
    process.txt    what its process printed
    lock           held by the process that works on the search
    cancel         its presence asks that process to stop
runs/<name>-trial-<number>/    the runs of its trials, which are runs like any others
"""

import json
import os
import time
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from kidney_core.common import os_errors, settings
from kidney_core.common.errors import RunError
from kidney_core.common.files import new_folder, write_json
from kidney_core.metrics.splits import GROUPED, RANDOM
from kidney_core.runs import run_lock
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.runs.run_folder import (
    CANCEL_FILE,
    CRASHED,
    FAILED,
    FINISHED,
    RUNNING,
    STOPPED,
    Run,
    check_name,
    list_runs,
)
from kidney_core.search import space

SEARCH_FILE, JOURNAL_FILE, STATE_FILE, LOG_FILE = "search.json", "journal.log", "state.json", "log.txt"
PRINTED_FILE = "process.txt"
# Objective -> the measurement of an epoch, and whether more of it is better. Both are of the validation part.
OBJECTIVES = {
    "loss": ("calibrated_validation_loss", False),
    "balanced_accuracy": ("validation_balanced_accuracy", True),
}
OBJECTIVE_TITLES = {"loss": "validation loss", "balanced_accuracy": "balanced accuracy of the validation part"}
MAX_TRIALS, MAX_AT_ONCE = 1000, 64
VALIDATION_FRACTION = 0.2  # for a recipe that has none


@dataclass(frozen=True)
class Plan:
    """What a search does.

    Attributes:
        config: of every trial, but for what is varied.
        varied: option -> its range as text, see `space`.
        objective: what is made best: "loss" (lowest) or "balanced_accuracy" (highest), of the validation part.
        n_at_once: trials that are queued or train together.
        prunes: whether trials that are worse than the median so far are stopped early.
        seed: of the sampler.
        engine: of the runs, see `jobs`.
    """

    config: TrainingConfig
    varied: dict[str, str] = field(default_factory=dict)
    n_trials: int = 20
    objective: str = "loss"
    n_at_once: int = 1
    prunes: bool = True
    seed: int = 0
    engine: str = "local"

    @property
    def ranges(self) -> tuple[space.Range, ...]:
        """What is varied. Raises RunError where it cannot be read."""
        return space.read_space(self.varied)

    def config_of(self, values: dict[str, Any]) -> TrainingConfig:
        """The configuration of a trial. Raises RunError where its values do not go together."""
        return space.with_values(self.config, values)

    def validated(self) -> "Plan":
        """Return self, or raise RunError for what cannot be searched."""
        if self.objective not in OBJECTIVES:
            raise RunError(f"The objective must be one of {', '.join(OBJECTIVES)}; it is “{self.objective}”.")
        for name, highest in (("n_trials", MAX_TRIALS), ("n_at_once", MAX_AT_ONCE)):
            if not 1 <= getattr(self, name) <= highest:
                raise RunError(f"{name} must be between 1 and {highest}; it is {getattr(self, name)}.")
        if self.config.n_folds:
            raise RunError("A search uses one split; n_folds must be 0. Cross-validate the best settings afterwards.")
        space.extremes(self.config.validated(), self.ranges)
        return self


def comparable(config: TrainingConfig) -> TrainingConfig:
    """The configuration with a validation part of whole scans, which decides in a search; other options stay.

    A random split becomes the scan-level one: slices of a training scan would reward memory of scans.
    """
    protocol = GROUPED if config.protocol == RANDOM else config.protocol
    fraction = config.validation_fraction or VALIDATION_FRACTION
    return replace(config, protocol=protocol, validation_fraction=fraction)


@dataclass(frozen=True)
class Search:
    """One search's folder. Reading never fails on what a kill leaves behind, but for `plan`."""

    folder: Path

    @classmethod
    def create(cls, plan: Plan, name: str) -> "Search":
        """Make the folder of a new search.

        Raises: RunError for a plan that cannot be searched, or a name that is taken or not usable.
        """
        plan.validated()
        check_name(name, noun="search")
        search = cls(settings.runs_folder() / name)
        taken = [run.name for run in list_runs() if run.name.startswith(search.trial_stem)]
        if search.folder.exists() or taken:
            raise RunError(f"“{name}” is taken, by a search, a run or trials. Choose another name for the search.")
        with os_errors.reraise_as(RunError, search.folder), new_folder(search.folder) as folder:
            write_json(folder / SEARCH_FILE, asdict(plan))
        return search

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def trial_stem(self) -> str:
        """How the names of its runs begin."""
        return f"{self.name}-trial-"

    @property
    def journal(self) -> Path:
        return self.folder / JOURNAL_FILE

    def run_of(self, number: int) -> Run:
        """The run of a trial, by Optuna's number from 0; its folder may not exist yet."""
        return Run(self.folder.parent / f"{self.trial_stem}{number:02d}")

    def plan(self) -> Plan:
        """Raises RunError where search.json is missing or not a plan."""
        try:
            stored = json.loads((self.folder / SEARCH_FILE).read_text(encoding="utf-8"))
            names = {option.name for option in fields(TrainingConfig)}
            config = TrainingConfig(**{key: value for key, value in stored.pop("config").items() if key in names})
            return Plan(config=config, **stored)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunError(f"“{self.folder}” is not a search: {SEARCH_FILE} cannot be read ({error}).") from error

    def extend(self, n_trials: int) -> None:
        """Change how many trials the search has. Raises RunError as `Plan.validated`."""
        plan = replace(self.plan(), n_trials=n_trials).validated()
        with os_errors.reraise_as(RunError, self.folder):
            write_json(self.folder / SEARCH_FILE, asdict(plan))
            if self.status() == FINISHED:
                self.write_state(STOPPED)  # it has more to do

    def lock(self) -> int:
        """The descriptor of the search's lock, which this process then holds. Raises RunError where another one does."""
        descriptor = run_lock.try_lock(self.folder / run_lock.LOCK_FILE)
        if descriptor is None:
            raise RunError(f"Another process works on the search “{self.name}”. Wait for it, or stop it first.")
        return descriptor

    def is_alive(self) -> bool:
        """Whether a process works on it."""
        return run_lock.is_held(self.folder / run_lock.LOCK_FILE)

    def status(self) -> str:
        """running, stopped, finished, failed, or crashed where the process was killed."""
        if self.is_alive():
            return RUNNING
        state = self._state().get("state")
        return state if state in (STOPPED, FINISHED, FAILED) else CRASHED

    def message(self) -> str:
        """Why it failed; empty otherwise."""
        return str(self._state().get("message", ""))

    def write_state(self, state: str, message: str = "") -> None:
        """Raises OSError."""
        write_json(self.folder / STATE_FILE, {"state": state, "message": message, "updated_at": time.time()})

    def ask_to_stop(self) -> None:
        """Ask the process that works on it to stop. Raises RunError."""
        with os_errors.reraise_as(RunError, self.folder):
            (self.folder / CANCEL_FILE).touch()

    def is_asked_to_stop(self) -> bool:
        return (self.folder / CANCEL_FILE).exists()

    def log(self, line: str) -> None:
        """Append a line to the log."""
        with (self.folder / LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")

    def _state(self) -> dict[str, Any]:
        try:
            stored = json.loads((self.folder / STATE_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stored if isinstance(stored, dict) else {}


def list_searches() -> list[Search]:
    """All searches in the folder of runs, newest first."""
    try:
        folders = [Path(entry.path) for entry in os.scandir(settings.runs_folder()) if entry.is_dir()]
    except OSError:
        return []
    found = [folder for folder in folders if (folder / SEARCH_FILE).is_file()]
    return [Search(folder) for folder in sorted(found, key=_changed_at, reverse=True)]


def find(name: str) -> Search:
    """A search by its name or folder. Raises RunError where there is none."""
    given = Path(name).expanduser()
    for folder in (settings.runs_folder() / name, given):
        if (folder / SEARCH_FILE).is_file():
            return Search(folder)
    known = ", ".join(each.name for each in list_searches()) or "none yet"
    raise RunError(f"There is no search “{name}” in “{settings.runs_folder()}” (there are: {known}). Check its name.")


def _changed_at(folder: Path) -> tuple[int, str]:
    try:
        return (folder / SEARCH_FILE).stat().st_mtime_ns, folder.name
    except OSError:  # deleted in between
        return 0, folder.name
