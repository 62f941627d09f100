"""What a run trains on: the squares of its dataset, their parts, and batches of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from kidney_core import extra_data, frozen_features, models, parallel, preprocessing, sampling, splits
from kidney_core.dataset import Dataset, read_dataset, require_classes, short_hash
from kidney_core.errors import RunError
from kidney_core.files import read_table, write_json, write_whole
from kidney_core.pixel_cache import dataset_pixels
from kidney_core.recipes import TrainingConfig
from kidney_core.runs import TRAINED_ON_FILE, Run
from kidney_core.series import scan_table

_KEPT_AS = "frozen_features_kept_as"
_WAYS_TO_KEEP = ("float32", "float16", "none")


@dataclass(frozen=True)
class Material:
    """What a run trains on: grey squares of dataset and extra data, their labels, and who is in which part."""

    dataset: Dataset
    pixels: np.ndarray = field(repr=False)  # (N + extra, S, S) uint8
    y: np.ndarray = field(repr=False)  # (N + extra,) int64, positions in dataset.labels
    train: np.ndarray = field(repr=False)  # positions
    validation: np.ndarray = field(repr=False)  # the test part where the split has no validation part
    test: np.ndarray = field(repr=False)
    n_draws: int  # images that an epoch visits
    weights: np.ndarray | None = None  # (len(train),) how probable each is to be drawn; None: an epoch visits each once
    n_extra: int = 0


def prepare(run: Run, report: Callable[[str], Callable[[int, int], None]], *, writes: bool = True) -> Material:
    """Read the data of a run and its split, which the first call writes and later calls obey.

    Args:
        writes: False for all processes of a training but one: they come to the same, and leave the folder alone.

    Raises: DatasetError; RunError when the data changed since the run began.
    """
    config = run.config()
    view = preprocessing.View(config.image_size_px, config.framing)
    dataset = read_dataset(config.data, progress=report("Reading images"))
    require_classes(dataset)
    table = scan_table(dataset)
    table["part"] = _parts(run, config, table, writes=writes)
    pixels = dataset_pixels(dataset, view, progress=report("Decoding images"))
    y = np.array(table["label"].map(dataset.labels.index), np.int64)
    position = {part: np.flatnonzero(table["part"] == part) for part in (splits.TRAIN, splits.VALIDATION, splits.TEST)}
    parts = table["part"].to_numpy(object)
    extras = [extra_data.read_extra(folder, dataset, parts, config, report) for folder in config.extra_folders]
    _require_same_extras(run, config, extras)
    if extras:
        pixels = np.concatenate([pixels, *(each.pixels for each in extras)])
        y = np.concatenate([y, *(each.y for each in extras)])
    n_extra, n_left_out = len(y) - len(dataset), sum(each.n_left_out for each in extras)
    if n_left_out:
        report(
            f"{n_left_out} extra images left out, since their scans, or scans beside them, are tested or validated on"
        )(1, 1)
    train, weights = np.concatenate([position[splits.TRAIN], len(dataset) + np.arange(n_extra)]), None
    if config.sampling == sampling.BALANCED:
        scans = [table["series"].to_numpy(), *(each.series for each in extras)]
        folder = np.repeat(np.arange(len(scans)), [len(each) for each in scans])
        weights = sampling.balanced_weights(folder[train], y[train], np.concatenate(scans)[train])
    n_draws = len(train) if weights is None else len(position[splits.TRAIN])
    if writes:
        seen = [*table.loc[parts != splits.TEST, "sha256"], *(each for extra in extras for each in extra.sha256)]
        earlier = {_KEPT_AS: run.data()[_KEPT_AS]} if _KEPT_AS in run.data() else {}
        of_extras = {"extra_left_out": n_left_out, "extra_fingerprints": [each.fingerprint for each in extras]}
        write_json(run.folder / "data.json", {**_describe(dataset, table, config, n_extra), **of_extras, **earlier})
        write_whole(
            run.folder / TRAINED_ON_FILE,
            lambda partial: partial.write_text("".join(f"{short_hash(each)}\n" for each in seen)),
        )
    # Without a validation part the test part is watched, as in the paper; nothing is chosen by it.
    validation = position[splits.VALIDATION] if config.validation_fraction else position[splits.TEST]
    return Material(dataset, pixels, y, train, validation, position[splits.TEST], n_draws, weights, n_extra)


def _parts(run: Run, config: TrainingConfig, table: pd.DataFrame, *, writes: bool) -> np.ndarray:
    path = run.folder / "split.csv"
    if path.is_file():
        stored = read_table(path)
        if stored["sha256"].tolist() != table["sha256"].tolist() or stored["path"].tolist() != table["path"].tolist():
            raise RunError(
                f"The images in “{config.data}” changed since the run “{run.name}” began, so it cannot go on. "
                "Restore the folder, or start a new run."
            )
        return stored["part"].to_numpy(object)
    parts = splits.split(
        table,
        protocol=config.protocol,
        seed=config.seed,
        test_fraction=config.test_fraction,
        validation_fraction=config.validation_fraction,
        n_folds=config.n_folds,
        fold=config.fold,
    )
    if writes:
        write_whole(path, lambda partial: table.assign(part=parts).to_csv(partial, index=False))
    return parts


def _require_same_extras(run: Run, config: TrainingConfig, extras: list[extra_data.Extra]) -> None:
    known = run.data().get("extra_fingerprints")  # absent before the first start, and in runs of older versions
    if known is None:
        return
    for folder, then, now in zip(config.extra_folders, known, extras, strict=True):
        if then != now.fingerprint:
            raise RunError(
                f"The extra images in “{folder}” changed since the run “{run.name}” began, so it cannot go on. "
                "Restore the folder, or start a new run."
            )


def _describe(dataset: Dataset, table: pd.DataFrame, config: TrainingConfig, n_extra: int) -> dict:
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
        "extra_training_slices": n_extra,
        "extra_data": ", ".join(Path(folder).name for folder in config.extra_folders),
        "unreadable": [list(item) for item in dataset.unreadable],
    }


class FromPixels:
    """Batches of images; `network`, which runs at every step, is the whole network."""

    def __init__(self, model: nn.Module, material: Material, config: TrainingConfig, device: torch.device) -> None:
        self.network, self.config, self.device = model, config, device
        self.pixels = material.pixels  # memory-mapped where there are no extra data: processes share it
        # On a GPU the whole dataset lives in its memory: 10,000 slices take 0.5 GB.
        self.on_gpu = torch.from_numpy(np.array(self.pixels)).to(device) if device.type == "cuda" else None

    def batch(self, positions: np.ndarray, numbers: np.ndarray | None = None) -> torch.Tensor:
        if self.on_gpu is None:
            grey = torch.from_numpy(self.pixels[positions]).to(self.device)  # (B, S, S)
        else:
            grey = self.on_gpu[torch.from_numpy(positions).to(self.device)]
        if numbers is not None:
            grey = preprocessing.augment(grey, torch.from_numpy(numbers).to(self.device), self.config.augmentation)
        return preprocessing.to_input(grey)  # (B, 3, S, S)


class FromFeatures:
    """Batches of what the frozen trunk computed; `network`, which runs at every step, is what is left."""

    def __init__(
        self, network: nn.Module, features: torch.Tensor, mirrored: np.ndarray, n_images: int, device: torch.device
    ) -> None:
        self.network, self.features, self.device = network, features, device
        self.row_of_mirror = np.arange(n_images)  # where a training image is never mirrored, its own
        self.row_of_mirror[mirrored] = n_images + np.arange(len(mirrored))

    def batch(self, positions: np.ndarray, numbers: np.ndarray | None = None) -> torch.Tensor:
        rows = positions
        if numbers is not None:
            rows = np.where(numbers[:, 0] < 0.5, self.row_of_mirror[positions], positions)  # as preprocessing.augment
        return self.features[torch.from_numpy(rows)].to(self.device, torch.float32)  # (B, C, h, w) or (B, D)


class _Tail(nn.Module):
    """What is left of a network behind its frozen trunk: (B, C, h, w) features -> (B, n_labels) logits."""

    def __init__(self, model: nn.Module, tail: nn.Module) -> None:
        super().__init__()
        self.model, self.tail = model, tail

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.model.forward_head(self.tail(features))


def open_source(
    run: Run,
    model: nn.Module,
    material: Material,
    device: torch.device,
    *,
    progress: Callable[[int, int], None],
    should_stop: Callable[[], bool],
    group: parallel.Group | None = None,
) -> FromPixels | FromFeatures:
    """Batches for the steps of a run: of frozen layers' output where that can be computed once, else of images.

    The first call writes its choice to the run's data.json, and a resumed run obeys it. The processes of `group`
    compute the frozen layers together; all of them have to call.
    """
    group = group or parallel.Group()
    config = run.config()
    if config.trainable != models.ALL and config.augmentation in ("none", "flip"):
        probe = preprocessing.to_input(torch.from_numpy(np.array(material.pixels[:2]))).to(device)
        divided = frozen_features.frozen_prefix(model, probe)
        if divided:
            trunk, tail = divided
            network: nn.Module = _Tail(model, tail)
            classifier = frozen_features.pooled_head(model, trunk, tail, probe)
            if classifier is not None:
                trunk, network = nn.Sequential(trunk, frozen_features.Pool(model)), classifier
            mirrored = material.train if config.augmentation == "flip" else np.array([], np.int64)
            kept = run.data().get(_KEPT_AS) or frozen_features.fitting_dtype(
                trunk, material.pixels, n_mirrored=len(mirrored), device=device, n_copies=group.local_size
            )
            kept = _WAYS_TO_KEEP[group.from_leader(_WAYS_TO_KEEP.index(kept))]
            if group.leads:
                write_json(run.folder / "data.json", {**run.data(), _KEPT_AS: kept})
            if kept == "none":
                return FromPixels(model, material, config, device)
            features = frozen_features.compute(
                trunk,
                material.pixels,
                mirrored=mirrored,
                dtype=getattr(torch, kept),
                device=device,
                progress=progress,
                should_stop=should_stop,
                group=group,
            )
            if features is not None:
                return FromFeatures(network, features, mirrored, len(material.pixels), device)
    return FromPixels(model, material, config, device)
