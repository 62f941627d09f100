"""The data of a run: its dataset and extra data as squares of pixels, divided into parts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kidney_core.common.errors import RunError
from kidney_core.common.files import read_table, write_atomically, write_json
from kidney_core.common.labels import NORMAL
from kidney_core.data import dataset_kidneys, sampling
from kidney_core.data.dataset import Dataset, read_dataset, require_classes, short_hash
from kidney_core.data.pixel_cache import dataset_masks, dataset_pixels, painted_pixels
from kidney_core.data.series import scan_table
from kidney_core.kidneys import finder
from kidney_core.metrics import splits
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.runs.run_folder import TRAINED_ON_FILE, Run
from kidney_core.training.extra_data import ExtraData, read_extra_data
from kidney_core.training.precision import PRECISION

FEATURES_DTYPE = "frozen_features_kept_as"  # key of data.json; `batches` writes it
_CHOICES = (FEATURES_DTYPE, PRECISION)  # of the first start, which a resumed run keeps to


@dataclass(frozen=True)
class TrainingData:
    """Grey squares of dataset and extra data, their labels, and which part each is in.

    Where lesions are drawn, training slices whose lesions are marked are there once more, with these painted over and labelled
    Normal: a network then cannot tell a stone by what else its scan looks like. They count as extra data.

    Attributes:
        pixels: (N + n_extra, S, S) uint8, or (N + n_extra, 2, S, S) for each kidney.
        y: (N + n_extra,) int64, positions in `dataset.labels`.
        series: (N + n_extra,) the scan of each slice, numbered over the dataset and all extra data.
        train: positions of the training part, extra data included.
        validation: positions of the validation part; those of the test part where the split has no validation part.
        test: positions of the test part.
        n_draws: images that an epoch visits.
        weights: (len(train),) probability of each to be drawn; None where an epoch visits each once.
        masks: where the kidney is in each image, as `pixels`, 0 or 1; None where no lesions are drawn.
    """

    dataset: Dataset
    pixels: np.ndarray = field(repr=False)
    y: np.ndarray = field(repr=False)
    series: np.ndarray = field(repr=False)
    train: np.ndarray = field(repr=False)
    validation: np.ndarray = field(repr=False)
    test: np.ndarray = field(repr=False)
    n_draws: int
    weights: np.ndarray | None = None
    n_extra: int = 0
    masks: np.ndarray | None = field(default=None, repr=False)


def read_training_data(
    run: Run, progress_of: Callable[[str], Callable[[int, int], None]], *, writes: bool = True
) -> TrainingData:
    """Read the data of a run and its split, which the first call writes and later calls keep to.

    Args:
        progress_of: title of a task -> its progress callback.
        writes: False for all processes of a training but one: they read the same, and leave the folder alone.

    Raises: DatasetError; RunError when the data changed since the run began.
    """
    config = run.config()
    dataset = read_dataset(config.data, labelling=config.labelling, progress=progress_of("Reading images"))
    if config.only_kidneys:
        dataset = dataset_kidneys.only_with_kidneys(dataset, finder.open_installed(), progress_of=progress_of)
    require_classes(dataset)
    table = scan_table(dataset, progress=progress_of("Finding scans and copies"))
    table["part"] = _parts(run, config, table, writes=writes)
    pixels = dataset_pixels(dataset, config.view, progress_of=progress_of)
    parts = table["part"].to_numpy(object)
    extras = [read_extra_data(folder, dataset, parts, config, progress_of) for folder in config.extra_folders]
    _require_same_extras(run, config, extras)
    n_left_out = sum(extra.n_left_out for extra in extras)
    if n_left_out:
        title = f"{n_left_out} extra images left out: of scans, or next to scans, that are tested or validated on"
        progress_of(title)(1, 1)
    masks = dataset_masks(dataset, config.view, progress_of=progress_of) if config.drawn_lesions else None
    painted = None if masks is None else _painted(config, dataset, table, masks, progress_of)
    data = _assemble(config, dataset, table, pixels, masks, painted, extras)
    if writes:
        _write_findings(run, config, dataset, table, painted, extras)
    return data


def _painted(
    config: TrainingConfig,
    dataset: Dataset,
    table: pd.DataFrame,
    masks: np.ndarray,
    progress_of: Callable[[str], Callable[[int, int], None]],
) -> ExtraData | None:
    """Training slices with their marked lesions painted over, as extra data; None where there are none."""
    if NORMAL not in dataset.labels:
        return None
    rows, pixels = painted_pixels(dataset, config.view, progress_of=progress_of)
    is_trained = (table["part"].to_numpy(object) == splits.TRAIN)[rows]
    rows = rows[is_trained]
    if not len(rows):
        return None
    return ExtraData(
        pixels=pixels[is_trained],
        masks=masks[rows],
        y=np.full(len(rows), dataset.labels.index(NORMAL)),
        series=table["series"].to_numpy()[rows],
        sha256=[],
        n_left_out=0,
        fingerprint=dataset.fingerprint,
    )


def _assemble(
    config: TrainingConfig,
    dataset: Dataset,
    table: pd.DataFrame,
    pixels: np.ndarray,
    masks: np.ndarray | None,
    painted: ExtraData | None,
    extras: list[ExtraData],
) -> TrainingData:
    """The training data of a table with parts; painted slices and extra data follow the dataset and are in the training part."""
    y = np.array(table["label"].map(dataset.labels.index), np.int64)
    folders = [0] * (painted is not None) + list(range(1, len(extras) + 1))  # painted slices are of the dataset's scans
    extras = [*([painted] if painted is not None else []), *extras]
    numbers = [table["series"].to_numpy(), *(extra.series for extra in extras)]
    folder = np.repeat([0, *folders], [len(each) for each in numbers])
    series = np.unique(np.stack([folder, np.concatenate(numbers)]), axis=1, return_inverse=True)[1].ravel()
    if extras:
        pixels = np.concatenate([pixels, *(extra.pixels for extra in extras)])
        if masks is not None:
            masks = np.concatenate([masks, *(extra.masks for extra in extras if extra.masks is not None)])
        y = np.concatenate([y, *(extra.y for extra in extras)])
    n_extra = len(y) - len(dataset)
    train, validation, test = (
        np.flatnonzero(table["part"] == part) for part in (splits.TRAIN, splits.VALIDATION, splits.TEST)
    )
    n_train = len(train)
    train = np.concatenate([train, len(dataset) + np.arange(n_extra)])
    weights = None
    if config.sampling == sampling.BALANCED:
        weights = sampling.balanced_weights(folder[train], y[train], series[train])
    return TrainingData(
        dataset=dataset,
        pixels=pixels,
        y=y,
        series=series,
        train=train,
        # Without a validation part the test part is watched, as in the paper; nothing is chosen by it.
        validation=validation if len(validation) else test,
        test=test,
        n_draws=len(train) if weights is None else n_train,
        weights=weights,
        n_extra=n_extra,
        masks=masks,
    )


def split_of(config: TrainingConfig, table: pd.DataFrame) -> np.ndarray:
    """(N,) the part of each slice of a scan table, as the configuration's protocol divides it; raises as `splits.split` does."""
    return splits.split(
        table,
        protocol=config.protocol,
        seed=config.seed,
        test_fraction=config.test_fraction,
        validation_fraction=config.validation_fraction,
        n_folds=config.n_folds,
        fold=config.fold,
    )


def _parts(run: Run, config: TrainingConfig, table: pd.DataFrame, *, writes: bool) -> np.ndarray:
    """(N,) the part of each slice: as the run's split.csv says, or of a new split."""
    path = run.folder / "split.csv"
    if path.is_file():
        stored = read_table(path)
        if stored["sha256"].tolist() != table["sha256"].tolist() or stored["path"].tolist() != table["path"].tolist():
            raise RunError(
                f"The images in “{config.data}” changed since the run “{run.name}” began, so it cannot go on. "
                "Restore the folder, or start a new run."
            )
        return stored["part"].to_numpy(object)
    parts = split_of(config, table)
    if writes:
        write_atomically(path, lambda partial: table.assign(part=parts).to_csv(partial, index=False))
    return parts


def _require_same_extras(run: Run, config: TrainingConfig, extras: list[ExtraData]) -> None:
    fingerprints = run.data().get("extra_fingerprints")  # absent before the first start, and in runs of older versions
    if fingerprints is None:
        return
    for folder, before, extra in zip(config.extra_folders, fingerprints, extras, strict=True):
        if before != extra.fingerprint:
            raise RunError(
                f"The extra images in “{folder}” changed since the run “{run.name}” began, so it cannot go on. "
                "Restore the folder, or start a new run."
            )


def _write_findings(
    run: Run,
    config: TrainingConfig,
    dataset: Dataset,
    table: pd.DataFrame,
    painted: ExtraData | None,
    extras: list[ExtraData],
) -> None:
    """Write data.json, and the hashes of all files that are trained or validated on."""
    earlier = {key: value for key, value in run.data().items() if key in _CHOICES}
    n_painted = len(painted.y) if painted is not None else 0
    described = {**_describe(dataset, table, config, extras), "painted_slices": n_painted}
    write_json(run.folder / "data.json", {**described, **earlier})
    trained_on = table.loc[table["part"] != splits.TEST, "sha256"].tolist()
    trained_on += [sha256 for extra in extras for sha256 in extra.sha256]
    text = "".join(f"{short_hash(sha256)}\n" for sha256 in trained_on)
    write_atomically(run.folder / TRAINED_ON_FILE, lambda partial: partial.write_text(text, encoding="utf-8"))


def _describe(dataset: Dataset, table: pd.DataFrame, config: TrainingConfig, extras: list[ExtraData]) -> dict[str, Any]:
    parts = table["part"].to_numpy(object)
    return {
        "name": dataset.root.resolve().name,
        "fingerprint": dataset.fingerprint,
        "labels": list(dataset.labels),
        "n_slices": len(dataset),
        "counts": dataset.counts(),
        "n_series": int(table["series"].nunique()),
        "series_per_label": {label: int(n) for label, n in table.groupby("label")["series"].nunique().items()},
        "parts": {part: int((parts == part).sum()) for part in (splits.TRAIN, splits.VALIDATION, splits.TEST)},
        "test_series": int(table.loc[parts == splits.TEST, "series"].nunique()),
        "shared_series_fraction": splits.shared_series_fraction(table, parts),
        "extra_training_slices": sum(len(extra.y) for extra in extras),
        "extra_data": ", ".join(Path(folder).name for folder in config.extra_folders),
        "unreadable": [list(item) for item in dataset.unreadable],
        "extra_left_out": sum(extra.n_left_out for extra in extras),
        "extra_fingerprints": [extra.fingerprint for extra in extras],
    }
