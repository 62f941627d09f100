"""Cross-validation: the runs of all folds of a recipe, and their pooled predictions, one for every slice."""

from collections.abc import Iterator
from dataclasses import asdict, replace

import pandas as pd

from kidney_core.common import settings
from kidney_core.common.errors import RunError
from kidney_core.common.files import read_table
from kidney_core.imaging.planes import UNKNOWN
from kidney_core.metrics.predictions import Predictions
from kidney_core.metrics.splits import GROUPED
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.runs.run_folder import FINISHED, GATE_FILE, Run, list_runs

# Options in which the two runs of a pair (random and scan-level split) may differ, and a run and the folds of its recipe.
OF_A_PAIR = ("protocol", "test_fraction")
OF_FOLDS = (*OF_A_PAIR, "n_folds", "fold")


def fold_configs(config: TrainingConfig) -> list[TrainingConfig]:
    """One configuration per fold; the configuration itself where it asks for one split."""
    return [replace(config, fold=fold) for fold in range(config.n_folds)] if config.n_folds else [config]


def open_fold(config: TrainingConfig, *, name: str) -> Run:
    """The run of that name, which must have this configuration, or a new one.

    Raises: RunError when it has another configuration.
    """
    run = Run(settings.runs_folder() / name)
    if not run.folder.exists():
        return Run.create(config, name=name)
    if run.config() != config:
        raise RunError(f"The run “{name}” has another configuration. Choose another --name.")
    return run


def same_recipe(one: TrainingConfig, two: TrainingConfig, *, but: tuple[str, ...]) -> bool:
    """True when two configurations are equal but for the options in `but`, the data's path and labelling, device and processes.

    The same data may be in another folder: `same_data` compares fingerprints.
    """
    ignored = ("data", "classes", "table", "extra_classes", "device", "n_processes", *but)
    other = asdict(two)
    return all(value == other[key] for key, value in asdict(one).items() if key not in ignored)


def same_data(one: Run, two: Run) -> bool:
    """True when two runs were trained on the same images, extra data included, wherever these are."""
    return _fingerprints(one) == _fingerprints(two)


def _fingerprints(run: Run) -> tuple[str, ...]:
    data = run.data()
    return data.get("fingerprint", ""), *data.get("extra_fingerprints", [])


def _finished_on_same_data(run: Run) -> Iterator[tuple[Run, TrainingConfig]]:
    """The finished runs next to `run` on its data, newest first, with their configurations; without damaged ones."""
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
    config = run.config()
    folds: dict[int, Run] = {}
    for other, other_config in _finished_on_same_data(run):
        if config.n_folds and same_recipe(config, other_config, but=("fold",)):
            folds.setdefault(other_config.fold, other)
    return dict(sorted(folds.items()))


def find_counterpart(run: Run) -> Run | None:
    """The newest finished run of this recipe with the other split, or None."""
    config = run.config()
    for other, other_config in _finished_on_same_data(run):
        if other_config.protocol != config.protocol and same_recipe(config, other_config, but=OF_A_PAIR):
            return other
    return None


def find_cross_validation(run: Run) -> Run | None:
    """A fold of the newest complete scan-level cross-validation of this run's recipe and data, or None."""
    config = run.config()
    for other, other_config in _finished_on_same_data(run):
        if (
            other_config.n_folds
            and other_config.protocol == GROUPED
            and same_recipe(config, other_config, but=OF_FOLDS)
            and len(find_folds(other)) == other_config.n_folds
        ):
            return other
    return None


def tested_predictions(run: Run) -> Predictions:
    """The test predictions of a finished run, with the temperature that calibrated them in a column.

    Raises: RunError where the run is not finished, or its predictions cannot be read.
    """
    temperature, path = run.finished_report()["temperature"], run.folder / "predictions.csv"
    try:
        return Predictions.read_csv(path).with_columns(temperature=temperature)
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"The test predictions “{path}” cannot be read ({error}). Train a new run.") from error


def tested_distances(run: Run) -> pd.DataFrame | None:
    """How far the tested slices of all folds are from the training slices of their fold, with a column `fold`.

    Columns as in gate.csv, see `run_report.write_reference`; None where a fold has none, as those of older versions.
    """
    tables = []
    for number, fold in find_folds(run).items():
        path = fold.folder / GATE_FILE
        if not path.is_file():
            return None
        tables.append(read_table(path).assign(fold=number))
    return pd.concat(tables, ignore_index=True) if tables else None


def pooled_predictions(run: Run) -> Predictions:
    """The test predictions of all folds of the cross-validation that `run` belongs to, with a column `fold`.

    Every slice is there once, in the dataset's file order. The probabilities of a fold are calibrated with the temperature
    that fits the tested slices of the other folds: a run's own validation part has few unseen scans.

    Raises: RunError naming the folds that are not finished.
    """
    config = run.config()
    folds = find_folds(run)
    missing = sorted(set(range(config.n_folds)) - set(folds))
    if missing or not config.n_folds:
        listed = ", ".join(str(fold + 1) for fold in missing) or "all"
        raise RunError(f"The cross-validation of “{run.name}” lacks fold {listed} of {config.n_folds}. Train it first.")
    pooled = Predictions.concatenate(
        tested_predictions(fold).with_columns(fold=number) for number, fold in folds.items()
    )
    order = read_table(run.folder / "split.csv")["path"]
    if sorted(pooled.table["path"]) != sorted(order):
        raise RunError(f"The folds of “{run.name}” do not test every slice once. Train them again.")
    pooled = pooled.in_order(order)
    if "plane" in pooled.table:  # missing for a fold that was tested before planes were stored
        pooled = pooled.with_columns(plane=pooled.table["plane"].fillna(UNKNOWN))
    temperatures, fold_of = pooled.table["temperature"].to_numpy(float).copy(), pooled.table["fold"].to_numpy()
    for number in folds:
        temperatures[fold_of == number] = pooled.subset(fold_of != number).best_temperature()
    return pooled.recalibrated(temperatures)
