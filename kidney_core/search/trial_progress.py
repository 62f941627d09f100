"""One trial of a search: an ordinary run, watched epoch by epoch until it is complete, pruned or failed.

All that is decided is written before it is done, to the trial's attributes in the journal: whoever goes on with a killed
search sees how far its predecessor was.
"""

import math
import time
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from kidney_core.common.errors import KidneyError
from kidney_core.engines import jobs
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.runs.run_folder import CRASHED, FAILED, FINISHED, QUEUED, RUNNING, STOPPED, Run
from kidney_core.search import study as studies
from kidney_core.search.search_folder import OBJECTIVES, Plan, Search

_KILL_AFTER_S = 60.0  # a run that was asked to stop and does not is killed
_MAX_RESTARTS = 2  # of a run that crashes
PRUNED_AT, RESTARTS, REASON = "pruned_at_epoch", "restarts", "reason"  # attributes of a trial in the journal


class TrialProgress:
    """A trial that is not closed yet.

    Args:
        trial: of the study, new or left open by a process that was killed.
    """

    def __init__(self, search: Search, plan: Plan, study: optuna.Study, trial: Trial) -> None:
        self.search, self.plan, self.study, self.trial = search, plan, study, trial
        self.run = search.run_of(trial.number)
        self._was_started = False  # by this process
        self._asked_to_stop_at: float | None = None

    def advance(self) -> str:
        """Do what is due: start the run, report its epochs, prune it, or close the trial; a line on how it closed, or ""."""
        if not (self.run.folder / "config.json").is_file():
            try:
                config = self.plan.config_of(studies.draw_values(self.study, self.plan, self.trial))
            except KidneyError as error:
                return self._fail(str(error))
            self._create(config)
        status = jobs.status(self.run)
        if status == FINISHED:
            self._report()
            return self._complete()
        if PRUNED_AT in self._attributes():
            return self._end_pruned(status)
        if status in (QUEUED, RUNNING) and self.run.job():
            self._was_started = True  # perhaps by the process before this one: its job lives on
            return self._watch()
        return self._restart_or_close(status)

    def ask_to_stop(self) -> None:
        """Ask the run to stop with a checkpoint, since the whole search stops; a minute later it is killed."""
        status = jobs.status(self.run) if self.run.job() else STOPPED
        if status not in (QUEUED, RUNNING):
            return
        if self._asked_to_stop_at is None or time.monotonic() - self._asked_to_stop_at > _KILL_AFTER_S:
            self._asked_to_stop_at = time.monotonic()
            jobs.cancel(self.run)

    def is_at_work(self) -> bool:
        """Whether its run is queued or running."""
        return bool(self.run.job()) and jobs.status(self.run) in (QUEUED, RUNNING)

    def _create(self, config: TrainingConfig) -> None:
        Run.create(config, folder=self.run.folder.parent, name=self.run.name)

    def _watch(self) -> str:
        """Report new epochs; after one that is worse than the median, ask the run to stop."""
        epoch = self._report()
        if epoch is None or epoch >= self.run.config().n_epochs or not self.trial.should_prune():
            return ""
        self.trial.set_user_attr(PRUNED_AT, epoch)
        self.ask_to_stop()
        return ""

    def _report(self) -> int | None:
        """Report the epochs that were measured since the last call; the last of these, or None."""
        measurement, _ = OBJECTIVES[self.plan.objective]
        known, last = self._frozen().intermediate_values, None
        for row in self.run.epochs():
            epoch = int(row["epoch"])
            if epoch not in known and measurement in row:
                self.trial.report(float(row[measurement]), epoch)
                last = epoch
        return last

    def _restart_or_close(self, status: str) -> str:
        """For a run that nobody works on."""
        if status == FAILED:
            return self._fail(self.run.state().get("message", ""))
        if status == STOPPED and self._was_started:
            self._report()
            return self._close(TrialState.PRUNED, "stopped by hand")
        if status == CRASHED and self._was_started:
            n_restarts = int(self._attributes().get(RESTARTS, 0))
            if n_restarts >= _MAX_RESTARTS:
                return self._fail(f"its process died {n_restarts + 1} times")
            self.trial.set_user_attr(RESTARTS, n_restarts + 1)
        jobs.submit(self.run, self.plan.engine)
        self._was_started = True
        return ""

    def _end_pruned(self, status: str) -> str:
        if status in (QUEUED, RUNNING) and self.run.job():
            self.ask_to_stop()
            return ""
        self._report()
        return self._close(TrialState.PRUNED, f"worse than the median after epoch {self._attributes()[PRUNED_AT]}")

    def _complete(self) -> str:
        """Close a trial whose run is finished, by the epoch whose weights the run keeps."""
        measurement, _ = OBJECTIVES[self.plan.objective]
        kept = self.run.finished_report()["best_epoch"]
        value = next((row[measurement] for row in self.run.epochs() if row["epoch"] == kept), math.nan)
        if not math.isfinite(value):
            return self._fail(f"the objective after epoch {kept} is {value}")
        self.study.tell(self.trial, float(value))
        return f"{self.run.name}: {self.plan.objective} {value:.4f} after epoch {kept}"

    def _fail(self, reason: str) -> str:
        return self._close(TrialState.FAIL, reason)

    def _close(self, state: TrialState, reason: str) -> str:
        self.trial.set_user_attr(REASON, reason)
        self.study.tell(self.trial, state=state)
        return f"{self.run.name}: {'pruned' if state == TrialState.PRUNED else 'failed'}, {reason}"

    def _attributes(self) -> dict[str, Any]:
        return self._frozen().user_attrs

    def _frozen(self) -> optuna.trial.FrozenTrial:
        return self.study.get_trials(deepcopy=False)[self.trial.number]
