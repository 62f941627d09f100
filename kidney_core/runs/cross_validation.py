"""Folds of one recipe -> predictions of every slice; under grouped folds, each by a network that never saw its scan."""

from collections.abc import Iterator
from dataclasses import asdict, replace

import pandas as pd

from kidney_core import calibration, evaluation
from kidney_core.errors import RunError
from kidney_core.files import read_table
from kidney_core.planes import UNKNOWN
from kidney_core.recipes import TrainingConfig
from kidney_core.runs import FINISHED, Run, list_runs, runs_folder
from kidney_core.splits import GROUPED

# In what the two runs of an honest pair, and a run and the cross-validation of its recipe, may differ.
OF_A_PAIR = ("protocol", "test_fraction")
OF_FOLDS = (*OF_A_PAIR, "n_folds", "fold")


def fold_configs(config: TrainingConfig) -> list[TrainingConfig]:
    """One configuration a fold; the configuration itself where it asks for one split."""
    return [replace(config, fold=fold) for fold in range(config.n_folds)] if config.n_folds else [config]


def open_fold(config: TrainingConfig, *, name: str) -> Run:
    """The run of that name, which must be of this fold, or a new one.

    Raises: RunError when a run of that name is of something else.
    """
    run = Run(runs_folder() / name)
    if not run.folder.exists():
        return Run.create(config, name=name)
    if run.config() != config:
        raise RunError(f"The run “{name}” has another configuration. Choose another --name.")
    return run


def same_recipe(one: TrainingConfig, two: TrainingConfig, *, but: tuple[str, ...]) -> bool:
    """True when two configurations differ at most in the options named in `but`, the data's path, the device and the processes.

    The same data may lie elsewhere; whether they are the same is for fingerprints to say.
    """
    ignored = ("data", "device", "n_processes", *but)
    theirs = asdict(two)
    return all(value == theirs[key] for key, value in asdict(one).items() if key not in ignored)


def same_data(one: Run, two: Run) -> bool:
    """True when two runs were trained on the same images, extra ones included, wherever these lie."""
    return _fingerprints(one) == _fingerprints(two)


def _fingerprints(run: Run) -> tuple[str, ...]:
    data = run.data()
    return data.get("fingerprint", ""), *data.get("extra_fingerprints", [])


def _finished_on_same_data(run: Run) -> Iterator[tuple[Run, TrainingConfig]]:
    """The finished runs beside `run` on its data, newest first, with their configurations; damaged ones left out."""
    fingerprints = _fingerprints(run)
    for other in list_runs(run.folder.parent):
        try:
            config = other.config()
        except RunError:
            continue
        if other.state()["state"] == FINISHED and _fingerprints(other) == fingerprints:
            yield other, config


def find_folds(run: Run) -> dict[int, Run]:
    """Fold number -> the newest finished run of the cross-validation that `run` belongs to."""
    config, found = run.config(), {}
    for other, theirs in _finished_on_same_data(run):
        if config.n_folds and same_recipe(config, theirs, but=("fold",)):
            found.setdefault(theirs.fold, other)
    return dict(sorted(found.items()))


def find_counterpart(run: Run) -> Run | None:
    """The newest finished run of this recipe under the other protocol, or None."""
    config = run.config()
    for other, theirs in _finished_on_same_data(run):
        if theirs.protocol != config.protocol and same_recipe(config, theirs, but=OF_A_PAIR):
            return other
    return None


def find_cross_validation(run: Run) -> Run | None:
    """A fold of the newest complete grouped cross-validation of this run's recipe and data, or None."""
    config = run.config()
    for other, theirs in _finished_on_same_data(run):
        if (
            theirs.n_folds
            and theirs.protocol == GROUPED
            and same_recipe(config, theirs, but=OF_FOLDS)
            and len(find_folds(other)) == theirs.n_folds
        ):
            return other
    return None


def tested_predictions(run: Run) -> pd.DataFrame:
    """The test predictions of a finished run, with the temperature that calibrated them in a column."""
    return read_table(run.folder / "predictions.csv").assign(temperature=run.report()["temperature"])


def pooled_predictions(run: Run) -> pd.DataFrame:
    """The test predictions of all folds of the cross-validation that `run` belongs to, with a column `fold`.

    Every slice is there once, in the dataset's file order. A fold's probabilities are calibrated with the temperature
    that fits the tested slices of the other folds: on scans never seen, of which a run's own validation part has few.

    Raises: RunError naming the folds that are not finished.
    """
    config = run.config()
    folds = find_folds(run)
    missing = sorted(set(range(config.n_folds)) - set(folds))
    if missing or not config.n_folds:
        listed = ", ".join(str(fold + 1) for fold in missing) or "all"
        raise RunError(f"The cross-validation of “{run.name}” lacks fold {listed} of {config.n_folds}. Train it first.")
    tables = [tested_predictions(fold).assign(fold=number) for number, fold in folds.items()]
    pooled = pd.concat(tables).set_index("path")
    order = read_table(run.folder / "split.csv")["path"]
    if sorted(pooled.index) != sorted(order):
        raise RunError(f"The folds of “{run.name}” do not test every slice once. Train them anew.")
    if "plane" in pooled:
        pooled["plane"] = pooled["plane"].fillna(UNKNOWN)  # of a fold that was tested before planes were told
    pooled = pooled.loc[order].reset_index()
    temperatures = pooled["temperature"].copy()
    for number in folds:
        tested = pooled["fold"] == number
        temperatures[tested] = evaluation.fitting_temperature(pooled[~tested])
    columns = [evaluation.PROBABILITY_PREFIX + label for label in evaluation.labels_of(pooled)]
    pooled[columns] = calibration.calibrate(evaluation.uncalibrated(pooled), temperatures.to_numpy()[:, None])
    return pooled.assign(temperature=temperatures)
