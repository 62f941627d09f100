"""Data leakage shown with shuffled labels: the head of a network trained on them, under a random and a scan-level split.

A logistic regression on the frozen features of a shipped network: seconds, no GPU. With labels shuffled scan by scan
there is nothing to learn about disease, yet a random split shows nearly 100 %: the test slices have neighbours of the
same scan in training. Source of the idea: Zhang et al. 2017, arXiv:1611.03530 (networks fit random labels).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from torch import nn

from kidney_core.checkpoints import ood
from kidney_core.common.labels import LABELS, order_labels
from kidney_core.data.dataset import Dataset, require_classes, short_hash
from kidney_core.data.series import scan_table
from kidney_core.imaging.framing import View
from kidney_core.imaging.slices import read_slice
from kidney_core.metrics import splits
from kidney_core.simulation import phantom

TRUE, BY_SCAN, BY_SLICE = "true", "shuffled by scan", "shuffled by slice"
LABELLINGS = (TRUE, BY_SCAN, BY_SLICE)
N_FOLDS = 4
MAX_SLICES = 600
FIRST_SEED = 6_000_000  # far from the seeds of other simulated slices
_SCANS, _SLICES = 12, 8  # simulated scans for each label, and slices for each scan
_SLICES_OF_A_SCAN = 12  # of a folder, at most
_BATCH = 48
# The penalty is weak and the search ends early, so that shuffled labels are memorised in about a second.
_PENALTY = {"C": 10.0, "tol": 1e-3, "max_iter": 2000}
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ShuffleData:
    """A small dataset in memory.

    Attributes:
        table: (N rows) with the columns `path`, `label` and `series`.
        pixels: (N, S, S) uint8 as a network sees them.
        simulated: True for drawn slices, which are no patients.
        hashes: (N,) short hash of each file, empty for drawn slices: see `Checkpoint.trained_on`.
    """

    table: pd.DataFrame = field(repr=False)
    pixels: np.ndarray = field(repr=False)
    simulated: bool
    hashes: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class ShuffleResult:
    """The result of heads trained on one labelling under one protocol; each slice is in the test part of one fold.

    Attributes:
        labels: the classes.
        training_labels: (N,) the labels that the heads were trained on, shuffled or true.
        train_accuracy, test_accuracy: 0 to 1, by the training labels; the mean over the folds, and over all slices.
        probabilities: (N, n_labels) of each slice by the head that did not train on it.
        nearest: (N,) the slice in that head's training with the most similar features.
        similarity: (N,) the cosine of the two slices' standardised features, -1 to 1.
    """

    labels: tuple[str, ...]
    training_labels: np.ndarray
    train_accuracy: float
    test_accuracy: float
    probabilities: np.ndarray
    nearest: np.ndarray
    similarity: np.ndarray


def draw_data(view: View, *, progress: Progress | None = None) -> ShuffleData:
    """Simulated data: 12 scans of 8 slices for each label, the same ones each time."""
    rows: list[tuple[str, str, int]] = []
    pixels = []
    for label in LABELS:
        for number in range(_SCANS):
            for index, drawn in enumerate(phantom.draw_series(label, FIRST_SEED + number, n_slices=_SLICES)):
                name = f"simulated {label} {number + 1}, slice {index + 1}"
                rows.append((name, label, len(rows) // _SLICES))
                pixels.append(view.square(drawn.as_slice(name).network_grey8()))
            if progress:
                progress(len(rows), len(LABELS) * _SCANS * _SLICES)
    return ShuffleData(pd.DataFrame(rows, columns=["path", "label", "series"]), np.stack(pixels), simulated=True)


def read_data(dataset: Dataset, view: View, *, progress: Progress | None = None) -> ShuffleData:
    """At most 600 slices of a folder: neighbours from the middle of scans, which are spread over each class.

    Raises: DatasetError for one class or a damaged `series.csv`, SliceError for a file that became unreadable.
    """
    require_classes(dataset)
    table = choose_slices(scan_table(dataset))
    pixels = []
    for path in table["path"]:
        pixels.append(view.square(read_slice(Path(dataset.root) / path).network_grey8()))
        if progress:
            progress(len(pixels), len(table))
    hashes = tuple(short_hash(sha256) for sha256 in table["sha256"])
    return ShuffleData(table[["path", "label", "series"]], np.stack(pixels), simulated=False, hashes=hashes)


def choose_slices(table: pd.DataFrame, *, limit: int = MAX_SLICES) -> pd.DataFrame:
    """Rows of at most `limit` slices, as many for each class: up to 12 neighbours from each of some scans."""
    labels = table["label"].unique()
    scans = max(N_FOLDS, limit // len(labels) // _SLICES_OF_A_SCAN)
    slices = max(2, min(_SLICES_OF_A_SCAN, limit // len(labels) // scans))
    kept = []
    for label in labels:
        own = table[table["label"] == label]
        numbers = own["series"].drop_duplicates().to_numpy()
        spread = numbers[np.unique(np.linspace(0, len(numbers) - 1, min(scans, len(numbers))).round().astype(int))]
        for number in spread:
            rows = own[own["series"] == number]
            start = max(0, (len(rows) - slices) // 2)
            kept.append(rows.iloc[start : start + slices])
    return pd.concat(kept, ignore_index=True)


def compute_features(model: nn.Module, data: ShuffleData, *, progress: Progress | None = None) -> np.ndarray:
    """(N, F) the network's pooled features, standardised."""
    parts = []
    for start in range(0, len(data.pixels), _BATCH):
        described = ood.slice_features(model, data.pixels[start : start + _BATCH])
        parts.append(described[:, ood.THUMBNAIL_PX**2 :])  # the features of the network, without the thumbnail
        if progress:
            progress(min(start + _BATCH, len(data.pixels)), len(data.pixels))
    pooled = np.concatenate(parts)
    return (pooled - pooled.mean(axis=0)) / (pooled.std(axis=0) + 1e-6)


def train_heads(standard: np.ndarray, table: pd.DataFrame, labelling: str, protocol: str) -> ShuffleResult:
    """Train and test heads under a labelling and a protocol, in four folds.

    Args:
        standard: (N, F) features, see `compute_features`.

    Raises: DatasetError when a class has too few scans or slices for the folds.
    """
    labels = order_labels(set(table["label"]))
    training_labels = assign_labels(table, labelling)
    # Folds of scans are drawn by the training labels, so that each has its share of them. After shuffling slice by slice a
    # scan has no label of its own.
    stratified = table if labelling == BY_SLICE and protocol == splits.GROUPED else table.assign(label=training_labels)
    probabilities, train_accuracies = np.zeros((len(table), len(labels))), []
    nearest, similarity = np.zeros(len(table), int), np.zeros(len(table))
    unit = standard / np.maximum(np.linalg.norm(standard, axis=1, keepdims=True), 1e-9)
    for fold in range(N_FOLDS):
        parts = splits.split(stratified, protocol=protocol, seed=0, n_folds=N_FOLDS, fold=fold)
        train, test = np.flatnonzero(parts == splits.TRAIN), np.flatnonzero(parts == splits.TEST)
        head = LogisticRegression(**_PENALTY).fit(standard[train], training_labels[train])
        train_accuracies.append(head.score(standard[train], training_labels[train]))
        columns = np.array([labels.index(label) for label in head.classes_])
        probabilities[np.ix_(test, columns)] = head.predict_proba(standard[test])
        cosines = unit[test] @ unit[train].T  # (n_test, n_train)
        nearest[test], similarity[test] = train[cosines.argmax(axis=1)], cosines.max(axis=1)
    correct = np.array(labels)[probabilities.argmax(axis=1)] == training_labels
    return ShuffleResult(
        labels,
        training_labels,
        float(np.mean(train_accuracies)),
        float(correct.mean()),
        probabilities,
        nearest,
        similarity,
    )


def assign_labels(table: pd.DataFrame, labelling: str, *, seed: int = 0) -> np.ndarray:
    """(N,) the labels to train on: true, shuffled between whole scans, or shuffled between single slices."""
    truth = table["label"].to_numpy(object)
    if labelling == TRUE:
        return truth
    rng = np.random.default_rng(seed)
    if labelling == BY_SLICE:
        return rng.permutation(truth)
    if labelling != BY_SCAN:
        raise ValueError(f"labelling must be one of {LABELLINGS}, got {labelling!r}")
    of_scan = table.groupby("series", sort=False)["label"].first()
    shuffled = dict(zip(of_scan.index, rng.permutation(of_scan.to_numpy(object)), strict=True))
    return table["series"].map(shuffled).to_numpy(object)


def train_all(
    standard: np.ndarray, table: pd.DataFrame, *, progress: Progress | None = None
) -> dict[tuple[str, str], ShuffleResult]:
    """(labelling, protocol) -> result. Raises: as `train_heads`."""
    combinations = [(labelling, protocol) for labelling in LABELLINGS for protocol in splits.PROTOCOLS]
    results = {}
    for done, (labelling, protocol) in enumerate(combinations):
        if progress:
            progress(done, len(combinations))
        results[labelling, protocol] = train_heads(standard, table, labelling, protocol)
    if progress:
        progress(len(combinations), len(combinations))
    return results
