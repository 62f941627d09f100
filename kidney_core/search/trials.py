"""The trials of a search as a table and as plots, and the settings of the best one."""

from typing import TYPE_CHECKING, Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from kidney_core.runs import recipes
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.search import study as studies
from kidney_core.search.search_folder import OBJECTIVE_TITLES, Search
from kidney_core.search.trial_progress import REASON

if TYPE_CHECKING:
    import optuna
    import plotly.graph_objects as go

IN_WORDS = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "open",
    TrialState.WAITING: "open",
}
_N_FOR_IMPORTANCE = 4  # complete trials; fewer say nothing on which option matters


class Trials:
    """The trials of a search, of one reading of its journal. Raises RunError where that is damaged."""

    def __init__(self, search: Search) -> None:
        self._search, self._plan = search, search.plan()
        self._study = studies.open_to_read(search)
        self._all = self._study.get_trials(deepcopy=False) if self._study is not None else []

    @property
    def objective_title(self) -> str:
        """The name of the objective as people read it."""
        text = OBJECTIVE_TITLES[self._plan.objective]
        return text[:1].upper() + text[1:]

    def runs(self) -> list[str]:
        """The names of the runs, in the order of the trials."""
        return [self._search.run_of(trial.number).name for trial in self._all]

    def table(self) -> pd.DataFrame:
        """One row a trial, in order: Trial, State, the objective, Epochs done, one column for each varied option, Run, Note.

        The objective of a pruned trial is that of its last epoch.
        """
        rows = []
        for trial, run in zip(self._all, self.runs(), strict=True):
            epochs = sorted(trial.intermediate_values)
            value = trial.value if trial.state == TrialState.COMPLETE else None
            if value is None and epochs:
                value = trial.intermediate_values[epochs[-1]]
            rows.append(
                {
                    "Trial": trial.number,
                    "State": IN_WORDS[trial.state],
                    self.objective_title: value,
                    "Epochs done": epochs[-1] if epochs else 0,
                    **{recipes.title(name): trial.params.get(name) for name in self._plan.varied},
                    "Run": run,
                    "Note": trial.user_attrs.get(REASON, ""),
                }
            )
        return pd.DataFrame(rows)

    def counts(self) -> str:
        """How many trials are complete, pruned, failed and open, of how many; in a sentence without its full stop."""
        told = [
            f"{n} {word}"
            for word in ("complete", "pruned", "failed", "open")
            if (n := sum(IN_WORDS[trial.state] == word for trial in self._all))
        ]
        n_closed = sum(trial.state in studies.CLOSED for trial in self._all)
        return f"{n_closed} of {self._plan.n_trials} trials done" + (f" ({', '.join(told)})" if told else "")

    def best(self) -> FrozenTrial | None:
        """The complete trial with the best objective; None before the first."""
        return None if self._study is None else studies.best_of(self._study)

    def best_config(self) -> TrainingConfig | None:
        """The configuration of the best trial; None before the first is complete. Raises RunError."""
        found = self.best()
        return None if found is None else self._plan.config_of(found.params)

    def history(self) -> "go.Figure | None":
        """The objective of each complete trial, and the best so far; None before the first."""
        from optuna import visualization

        if self._study is None or self.best() is None:
            return None
        return _plain(visualization.plot_optimization_history(self._study, target_name=self.objective_title))

    def importance(self) -> "go.Figure | None":
        """How much each option moved the objective (fANOVA); None before there are enough complete trials that differ.

        Source: Hutter, Hoos & Leyton-Brown 2014, An Efficient Approach for Assessing Hyperparameter Importance.
        """
        from optuna import importance, visualization

        if self._study is None or not _can_rank(self._study):
            return None
        evaluator = importance.FanovaImportanceEvaluator(seed=0)
        figure = visualization.plot_param_importances(
            self._study, evaluator=evaluator, target_name=self.objective_title
        )
        figure.update_xaxes(title="Share of the spread that it explains")
        figure.update_yaxes(title=None, labelalias={name: recipes.title(name) for name in self._plan.varied})
        return _plain(figure)


def _can_rank(study: "optuna.Study") -> bool:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    values = {trial.value for trial in complete}
    return len(complete) >= _N_FOR_IMPORTANCE and len(values) > 1


def _plain(figure: Any) -> "go.Figure":
    """Without Optuna's own title: the page has headings."""
    legend = {"orientation": "h", "y": 1.15, "x": 0}
    figure.update_layout(title=None, margin={"l": 10, "r": 10, "t": 30, "b": 10}, height=320, legend=legend)
    return figure
