"""The process that works on a search: it keeps trials in the queue until there are as many as asked for.

It may be killed at any moment. Its runs go on, since they are jobs of their own; whoever resumes the search reads the journal,
goes on watching them, and proposes what the killed process would have proposed.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from optuna.trial import TrialState

from kidney_core.common import child_process, os_errors
from kidney_core.common.errors import KidneyError, RunError
from kidney_core.engines import jobs
from kidney_core.runs.run_folder import CANCEL_FILE, FAILED, FINISHED, QUEUED, RUNNING, STOPPED
from kidney_core.search import study as studies
from kidney_core.search.search_folder import PRINTED_FILE, Plan, Search
from kidney_core.search.trial_progress import TrialProgress

_POLL_S = 0.5
_MAX_FAILURES = 3  # trials in a row that fail: the next ones would as well
_AT_WORK = (QUEUED, RUNNING)


def start(search: Search) -> None:
    """Start a process that works on a search, new or interrupted, and outlives this one.

    Raises: RunError where a process works on it already, or all its trials are done.
    """
    require_unfinished(search)
    lock = search.lock()
    try:
        with os_errors.reraise_as(RunError, search.folder):
            (search.folder / CANCEL_FILE).unlink(missing_ok=True)
            search.write_state(RUNNING)
            with (search.folder / PRINTED_FILE).open("ab") as printed:
                child_process.start_detached(
                    "kidney_core.search.search_process", str(search.folder.resolve()), output=printed, keeps=(lock,)
                )
    finally:
        os.close(lock)


def require_unfinished(search: Search) -> None:
    """Raise RunError for a search whose trials are all done."""
    if search.status() == FINISHED:
        n_trials = search.plan().n_trials
        raise RunError(
            f"All {n_trials} trials of the search “{search.name}” are done. Give more than {n_trials} trials to go on."
        )


def stop(search: Search) -> None:
    """Stop a search and the runs of its open trials, which can be resumed with it.

    The process does it; where that was killed, its runs are asked here. Raises RunError.
    """
    search.ask_to_stop()
    if search.is_alive():
        return
    plan = search.plan()
    study = studies.open_to_read(search)
    if study is not None:
        for frozen in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            run = search.run_of(frozen.number)
            if run.job() and jobs.status(run) in _AT_WORK:
                jobs.cancel(run)
    with os_errors.reraise_as(RunError, search.folder):
        search.write_state(STOPPED if study is None or studies.n_closed(study) < plan.n_trials else FINISHED)


def work(search: Search, *, tell: Callable[[str], None] = lambda _line: None) -> str:
    """Work on a search whose lock this process holds, until it is finished or stopped; the state it ended in.

    Args:
        tell: called with each line of the log.

    Raises: KidneyError; the search is then "failed" with its message, and can be resumed.
    """

    def log(line: str) -> None:
        search.log(line)
        tell(line)

    try:
        search.write_state(RUNNING)
        state = _Work(search, search.plan().validated(), log).until_done()
    except KidneyError as error:
        log(f"failed: {error}")
        search.write_state(FAILED, str(error))
        raise
    except Exception as error:
        log(f"failed: {type(error).__name__}: {error}")
        message = os_errors.describe(error, search.folder)
        search.write_state(
            FAILED, message or f"Unexpected error: {type(error).__name__}: {error}. The log has details."
        )
        raise
    search.write_state(state)
    log(state)
    return state


class _Work:
    """The loop over open trials."""

    def __init__(self, search: Search, plan: Plan, log: Callable[[str], None]) -> None:
        self.search, self.plan, self.log = search, plan, log
        self.study = studies.open_to_write(search, plan)
        self.stop_signals: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _frame: self.stop_signals.append(received))
        self.open = [self._progress(trial) for trial in studies.open_trials(self.study, plan)]
        if self.open:
            self.log(f"goes on with {', '.join(each.run.name for each in self.open)}")

    def _progress(self, trial: studies.Trial) -> TrialProgress:
        return TrialProgress(self.search, self.plan, self.study, trial)

    def until_done(self) -> str:
        """The state in which the search ends: finished or stopped."""
        while not self._is_asked_to_stop():
            for each in list(self.open):
                closed = each.advance()
                if closed:
                    self.log(closed)
                    self.open.remove(each)
                    self._require_success()
            n_begun = studies.n_closed(self.study) + len(self.open)
            if n_begun >= self.plan.n_trials and not self.open:
                return FINISHED
            if n_begun < self.plan.n_trials and len(self.open) < self.plan.n_at_once:
                self.open.append(self._progress(studies.begin_trial(self.study, self.plan)))
                continue
            time.sleep(_POLL_S)
        return self._stop_runs()

    def _is_asked_to_stop(self) -> bool:
        return bool(self.stop_signals) or self.search.is_asked_to_stop()

    def _stop_runs(self) -> str:
        """Stop the runs of open trials; the trials stay open, for the process that resumes the search."""
        while any(each.is_at_work() for each in self.open):
            for each in self.open:
                each.ask_to_stop()
            time.sleep(_POLL_S)
        return STOPPED

    def _require_success(self) -> None:
        """Raise RunError where the last trials all failed."""
        closed = self.study.get_trials(deepcopy=False, states=studies.CLOSED)[-_MAX_FAILURES:]
        if len(closed) == _MAX_FAILURES and all(each.state == TrialState.FAIL for each in closed):
            reason = closed[-1].user_attrs.get("reason", "")
            raise RunError(f"The last {_MAX_FAILURES} trials failed, the last because: {reason} Fix it, then resume.")


def main(arguments: list[str]) -> int:
    """The search's own process, which inherits its lock."""
    search = Search(Path(arguments[0]))
    if not search.is_alive():  # started by hand: hold it here, as long as this process lives
        search.lock()
    try:
        work(search)
    except KidneyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Exception:
        traceback.print_exc()
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
