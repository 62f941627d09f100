"""Optuna's part of a search: its journal, what proposes the values of a trial, and what ends a poor one early.

The journal is a file of lines, so that a search needs no database. Only the process that holds the search's lock writes it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from kidney_core.common.errors import RunError
from kidney_core.common.files import write_atomically
from kidney_core.search.search_folder import OBJECTIVES, Plan, Search

# Median pruning, and not Hyperband: a search here has about twenty trials of a few epochs. Hyperband divides its trials
# over brackets that start with many trials each, and needs hundreds before it is ahead; the median rule works as soon
# as five trials are complete, and never stops what is better than half of them. Source: Akiba et al. 2019,
# arXiv:1907.10902; Li et al. 2018, arXiv:1603.06560.
_N_BEFORE_PRUNING = 5
_N_RANDOM = 8  # trials of random values before the sampler has something to learn from
CLOSED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
optuna.logging.set_verbosity(optuna.logging.WARNING)


def mend_journal(search: Search) -> None:
    """Cut off what a killed writer left: half a line, and the lock of the journal. For the holder of the search's lock."""
    search.journal.with_name(f"{search.journal.name}.lock").unlink(missing_ok=True)
    if not search.journal.is_file():
        return
    content = search.journal.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        write_atomically(search.journal, lambda partial: partial.write_bytes(whole))


def open_to_write(search: Search, plan: Plan) -> optuna.Study:
    """The study of a search, made where there is none yet. Raises RunError where the journal is damaged."""
    mend_journal(search)
    with _readable(search):
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(search.journal))),
            study_name=search.name,
            direction=StudyDirection.MAXIMIZE if OBJECTIVES[plan.objective][1] else StudyDirection.MINIMIZE,
            pruner=_pruner(plan),
            load_if_exists=True,
        )


def open_to_read(search: Search) -> optuna.Study | None:
    """The study of a search, which is not changed; None before its first trial. Raises RunError where it is damaged."""
    if not search.journal.is_file() or not search.journal.stat().st_size:
        return None
    with _readable(search):
        storage = JournalStorage(JournalFileBackend(str(search.journal)))
        studies = storage.get_all_studies()
        return optuna.load_study(study_name=studies[0].study_name, storage=storage) if studies else None


@contextmanager
def _readable(search: Search) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, json.JSONDecodeError) as error:
        raise RunError(
            f"The journal “{search.journal}” is damaged ({error}). Start a new search; the runs of this one stay."
        ) from error


def _pruner(plan: Plan) -> optuna.pruners.BasePruner:
    if not plan.prunes:
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(n_startup_trials=_N_BEFORE_PRUNING)


def sampler(plan: Plan, number: int) -> optuna.samplers.BaseSampler:
    """What proposes the values of a trial: the tree-structured Parzen estimator, seeded by search and trial.

    A generator for each trial makes a search that was killed and resumed propose what it would have proposed otherwise.

    Source: Bergstra et al. 2011, Algorithms for Hyper-Parameter Optimization.
    """
    seed = int(np.random.SeedSequence([plan.seed, number]).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=_N_RANDOM)


def begin_trial(study: optuna.Study, plan: Plan) -> Trial:
    """A new trial; its values are drawn by `draw_values`."""
    study.sampler = sampler(plan, len(study.get_trials(deepcopy=False)))
    return study.ask()


def open_trials(study: optuna.Study, plan: Plan) -> list[Trial]:
    """The trials that a process before this one left open, in order."""
    found = []
    for frozen in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.sampler = sampler(plan, frozen.number)
        found.append(Trial(study, frozen._trial_id))  # Optuna's only way to go on with a trial
    return found


def draw_values(study: optuna.Study, plan: Plan, trial: Trial) -> dict[str, object]:
    """Option -> value of a trial; values that it has already stay."""
    study.sampler = sampler(plan, trial.number)
    return {each.name: each.suggest(trial) for each in plan.ranges}


def n_closed(study: optuna.Study) -> int:
    """How many trials are complete, pruned or failed."""
    return len(study.get_trials(deepcopy=False, states=CLOSED))


def best_of(study: optuna.Study) -> FrozenTrial | None:
    """The best complete trial; None before the first."""
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return None
    return study.best_trial
