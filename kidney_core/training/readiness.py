"""Can this be trained? What can be known before a run folder is made: weights first, since data take longer to read."""

import shutil
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pandas as pd
from torch import nn

from kidney_core.common import settings
from kidney_core.common.errors import KidneyError, RunError, SliceError, UnclearTable
from kidney_core.common.labelling import Labelling
from kidney_core.data import dataset_kidneys
from kidney_core.data.dataset import Dataset, read_dataset, require_classes
from kidney_core.data.series import scan_table
from kidney_core.imaging.slices import read_slices
from kidney_core.kidneys import finder as finders
from kidney_core.networks import models
from kidney_core.runs.recipes import RECALL_OF, TrainingConfig
from kidney_core.training.training_data import split_of

_N_LOOKED_AT = 12  # slices of each class in which a kidney is looked for
_N_FOUND_AT_ONCE = 1000  # slices in which kidneys are found in about half a minute; a job finds those of more
_SPARE_BYTES = 200_000_000  # logs, predictions and the reference of a run, and what others write meanwhile
T = TypeVar("T")
ProgressOf = Callable[[str], Callable[[int, int], None] | None]


@dataclass(frozen=True)
class Readiness:
    """What a check of configurations showed.

    Attributes:
        problems: sentence -> the configurations that it stops; empty where all can be trained.
        table: the scans of the first folder, see `scan_table`; None where it cannot be read.
        dataset: the first folder; None where it cannot be read.
        class_names: of the first folder, as in `Dataset`, also where these classes cannot be trained on.
        unclear: the table of the first folder whose columns the user must choose.
    """

    problems: dict[str, list[TrainingConfig]]
    dataset: Dataset | None = None
    table: pd.DataFrame | None = field(default=None, repr=False)
    class_names: dict[str, tuple[str, int]] = field(default_factory=dict)
    unclear: UnclearTable | None = None


def check(configs: Sequence[TrainingConfig], progress_of: ProgressOf) -> Readiness:
    """Check configurations, such as those of a sweep, each in every way: all problems are told, not the first.

    Args:
        progress_of: title of a task -> its progress callback.
    """
    checks = _Checks(progress_of)
    problems: dict[str, list[TrainingConfig]] = {}
    for config in configs:
        for each in (checks.network, checks.data, checks.split, checks.labels, checks.kidneys):
            try:
                each(config)
            except KidneyError as error:
                problems.setdefault(str(error), []).append(config)
    first = next((config for config in configs if checks.can_read(config)), None)
    try:
        checks.disk(configs)
    except KidneyError as error:
        problems[str(error)] = list(configs)
    names, unclear = checks.class_names(configs[0])
    if first is None:
        return Readiness(problems, class_names=names, unclear=unclear)
    return Readiness(problems, checks.dataset_of(first), checks.table_of(first), names, unclear)


def require_all_trainable(configs: Sequence[TrainingConfig], progress_of: ProgressOf) -> None:
    """Raise RunError, with all problems, for configurations of which one cannot be trained; see `check`."""
    found = check(configs, progress_of)
    if found.problems:
        raise RunError(" ".join(found.problems))


def require_trainable(config: TrainingConfig, progress_of: ProgressOf, *, checked: Dataset | None = None) -> Dataset:
    """Raise for a configuration that cannot be trained: its network, weights, folders, classes, split, kidneys and disk.

    Args:
        progress_of: title of a task -> its progress callback.
        checked: the dataset, where it was read before.

    Returns: the dataset.

    Raises: ModelError, DatasetError, RunError.
    """
    checks = _Checks(progress_of, known={config.data: checked} if checked is not None else {})
    for each in (checks.network, checks.data, checks.split, checks.labels, checks.kidneys):
        each(config)
    checks.disk([config])
    return checks.dataset_of(config)


class _Checks:
    """The checks of a configuration; what several configurations share is read once."""

    def __init__(self, progress_of: ProgressOf, *, known: dict[str, Dataset] | None = None) -> None:
        self.progress_of, self._known = progress_of, known or {}
        self.dataset = _once(self._dataset)
        self.table = _once(self._table)
        self.model = _once(self._model)
        self._shows_kidneys = _once(self._kidneys_of_classes)

    def network(self, config: TrainingConfig) -> None:
        models.pick_device(config.device)
        self._model_of(config)

    def dataset_of(self, config: TrainingConfig) -> Dataset:
        return self.dataset(config.data, config.labelling)

    def table_of(self, config: TrainingConfig) -> pd.DataFrame:
        return self.table(config.data, config.labelling)

    def class_names(self, config: TrainingConfig) -> tuple[dict[str, tuple[str, int]], UnclearTable | None]:
        """The class names of the folder, and the table that leaves them unclear."""
        try:
            return self.dataset_of(config).class_names, None
        except UnclearTable as unclear:
            return {}, unclear
        except KidneyError:
            return {}, None  # which `data` tells

    def data(self, config: TrainingConfig) -> None:
        require_classes(self.dataset_of(config))
        for folder in config.extra_folders:
            self.dataset(folder, config.extra_labelling)

    def split(self, config: TrainingConfig) -> None:
        """The split of the slices that the run will use, as far as these are known."""
        if not self.can_read(config):
            return
        table = self.table_of(config)
        if config.only_kidneys:
            dataset, finder = self.dataset_of(config), finders.open_installed()
            if len(dataset) <= _N_FOUND_AT_ONCE or dataset_kidneys.are_known(dataset, finder):
                n_kidneys = dataset_kidneys.visible_kidneys(dataset, finder, progress_of=self.progress_of)
                if not n_kidneys.any():
                    return  # which `kidneys` tells
                seen = table[n_kidneys > 0].reset_index(drop=True)
                lost = sorted(set(table["label"]) - set(seen["label"]))
                if lost:
                    return  # likewise
                table = seen
        split_of(config, table)

    def labels(self, config: TrainingConfig) -> None:
        if not self.can_read(config):
            return
        labels = self.dataset_of(config).labels
        for folder in config.extra_folders:
            unknown = sorted(set(self.dataset(folder, config.extra_labelling).labels) - set(labels))
            if unknown:
                raise RunError(
                    f"The extra data “{folder}” have the class “{unknown[0]}”, which “{config.data}” does not have. Say what it "
                    "stands for, with the option extra_classes, or on the Dataset page."
                )
        asked = config.best_by.removeprefix(RECALL_OF)
        if config.best_by.startswith(RECALL_OF) and asked not in labels:
            raise RunError(
                f"best_by asks for the recall of “{asked}”, but the classes are {', '.join(labels)}. Choose another metric."
            )

    def kidneys(self, config: TrainingConfig) -> None:
        if config.only_kidneys and self.can_read(config):
            self._shows_kidneys(config.data, config.labelling)

    def disk(self, configs: Sequence[TrainingConfig]) -> None:
        """Raise RunError where the weights of all these runs do not fit on the disk of the runs folder."""
        needed = _SPARE_BYTES
        for config in configs:
            try:
                needed += _bytes_of_weights(self._model_of(config), config)
            except KidneyError:
                continue  # which `network` tells
        folder = settings.runs_folder()
        there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        free = shutil.disk_usage(there).free
        if free < needed:
            jobs = "the job needs" if len(configs) == 1 else f"these {len(configs)} jobs need"
            raise RunError(
                f"The disk of “{folder}” has {free / 1e9:.1f} GB free, and {jobs} about {needed / 1e9:.1f} GB for weights and "
                "checkpoints. Delete old runs, or set KIDNEY_RUNS to a folder on a larger disk."
            )

    def can_read(self, config: TrainingConfig) -> bool:
        """Whether the folders can be read; `data` says why not."""
        try:
            self.data(config)
        except KidneyError:
            return False
        return True

    def _model_of(self, config: TrainingConfig) -> nn.Module:
        return self.model(config.architecture, config.init, config.image_size_px, config.trainable)

    def _model(self, architecture: str, init: str, image_size_px: int, trainable: str) -> nn.Module:
        return models.require_start(architecture, init, image_size_px, trainable=trainable).to("meta")

    def _dataset(self, folder: str, labelling: Labelling) -> Dataset:
        if folder in self._known:
            return self._known[folder]
        return read_dataset(folder, labelling=labelling, progress=self.progress_of("Reading images"))

    def _table(self, folder: str, labelling: Labelling) -> pd.DataFrame:
        return scan_table(self.dataset(folder, labelling), progress=self.progress_of("Finding scans and copies"))

    def _kidneys_of_classes(self, folder: str, labelling: Labelling) -> None:
        _require_kidneys(self.dataset(folder, labelling))


def _once(work: Callable[..., T]) -> Callable[..., T]:
    """The same function, which does its work once for the same arguments, also where that raises a KidneyError."""
    done: dict[tuple[Hashable, ...], T | KidneyError] = {}

    def call(*arguments: Hashable) -> T:
        if arguments not in done:
            try:
                done[arguments] = work(*arguments)
            except KidneyError as error:
                done[arguments] = error
        result = done[arguments]
        if isinstance(result, KidneyError):
            raise result
        return result

    return call


def _bytes_of_weights(model: nn.Module, config: TrainingConfig) -> int:
    """What last.safetensors and best.safetensors of a run take, and the partial file while one is replaced."""
    all_weights = 4 * sum(each.numel() for each in model.parameters())
    trained = 4 * sum(each.numel() for each in model.parameters() if each.requires_grad)
    last = all_weights * (2 if config.weight_averaging else 1) + trained * (1 if config.optimizer == "sgd" else 2)
    return 2 * last + all_weights


def _require_kidneys(dataset: Dataset) -> None:
    """Raise RunError naming the classes of which some slices were looked at and none shows a kidney."""
    finder = finders.open_installed()
    without = []
    for label in dataset.labels:
        rows = np.flatnonzero(dataset.table["label"] == label)
        chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(_N_LOOKED_AT, len(rows))).astype(int))]
        results = read_slices([dataset.root / path for path in dataset.table["path"].iloc[chosen]])
        greys = [result[0].network_grey8() for result in results if not isinstance(result, SliceError)]
        if not any(found.sides({}) for found in finder.find(greys)):
            without.append((label, len(greys)))
    if without:
        named = " and on ".join(f"{n} slices of the class {label}" for label, n in without)
        raise RunError(
            f"The kidney finder sees no kidney on {named}, and this recipe looks at kidneys only. "
            "Choose another folder, or a framing that shows the whole image or the body."
        )
