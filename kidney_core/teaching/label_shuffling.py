"""Learned on the spot: the head of a network on true and on shuffled labels, under both ways to divide the slices.

The frozen features of a shipped network and a logistic regression on them: seconds, no GPU. With labels shuffled scan by
scan there is nothing to learn about disease, yet a random split shows nearly 100 %: the slices tested have neighbours of
the same scan in training. Source of the idea: Zhang et al. 2017, arXiv:1611.03530 (networks fit random labels).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from torch import nn

from kidney_core import familiarity, phantom, splits
from kidney_core.dataset import Dataset, require_classes, short_hash
from kidney_core.framing import View
from kidney_core.labels import LABELS, ordered_labels
from kidney_core.preprocessing import square_of
from kidney_core.series import scan_table
from kidney_core.slices import read_slice

TRUE, BY_SCAN, BY_SLICE = "true", "shuffled by scan", "shuffled by slice"
LABELLINGS = (TRUE, BY_SCAN, BY_SLICE)
N_FOLDS = 4
MAX_SLICES = 600
FIRST_SEED = 6_000_000  # far from the seeds of other simulated slices
_SCANS, _SLICES = 12, 8  # simulated, a label and a scan
_SLICES_OF_A_SCAN = 12  # of a folder, at most
_AT_ONCE = 48
# So weak a penalty, and so early an end of the search, that shuffled labels are learned by heart in about a second.
_PENALTY = {"C": 10.0, "tol": 1e-3, "max_iter": 2000}
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Material:
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
class Lesson:
    """What heads of one labelling and protocol learned; each slice was tested once, by the head of its fold.

    Attributes:
        labels: the classes.
        taught: (N,) the labels that were taught, shuffled or true.
        train_accuracy, test_accuracy: 0 to 1, by the labels that were taught; mean over the folds, and over all slices.
        probabilities: (N, n_labels) of each slice by the head that did not train on it.
        nearest: (N,) the slice in that head's training with the most similar features.
        likeness: (N,) the cosine of the two slices' standardised features, -1 to 1.
    """

    labels: tuple[str, ...]
    taught: np.ndarray
    train_accuracy: float
    test_accuracy: float
    probabilities: np.ndarray
    nearest: np.ndarray
    likeness: np.ndarray


def draw(view: View, *, progress: Progress | None = None) -> Material:
    """The simulated material: 12 scans of 8 slices a label, the same ones each time."""
    rows, pixels = [], []
    for label in LABELS:
        for number in range(_SCANS):
            for index, drawn in enumerate(phantom.draw_series(label, FIRST_SEED + number, n_slices=_SLICES)):
                name = f"simulated {label} {number + 1}, slice {index + 1}"
                rows.append((name, label, len(rows) // _SLICES))
                pixels.append(square_of(drawn.as_slice(name), view))
            if progress:
                progress(len(rows), len(LABELS) * _SCANS * _SLICES)
    return Material(pd.DataFrame(rows, columns=["path", "label", "series"]), np.stack(pixels), simulated=True)


def read(dataset: Dataset, view: View, *, progress: Progress | None = None) -> Material:
    """At most 600 slices of a folder: neighbours from the middle of scans that are spread over each class.

    Raises: DatasetError for one class or a damaged `series.csv`, SliceError for a file that became unreadable.
    """
    require_classes(dataset)
    table = choose(scan_table(dataset))
    pixels = []
    for path in table["path"]:
        pixels.append(square_of(read_slice(Path(dataset.root) / path), view))
        if progress:
            progress(len(pixels), len(table))
    hashes = tuple(short_hash(sha256) for sha256 in table["sha256"])
    return Material(table[["path", "label", "series"]], np.stack(pixels), simulated=False, hashes=hashes)


def choose(table: pd.DataFrame, *, limit: int = MAX_SLICES) -> pd.DataFrame:
    """Rows of at most `limit` slices, as many a class as there are: up to 12 neighbours of each of some scans."""
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


def features(model: nn.Module, material: Material, *, progress: Progress | None = None) -> np.ndarray:
    """(N, F) the network's pooled features, standardised."""
    found = []
    for start in range(0, len(material.pixels), _AT_ONCE):
        described = familiarity.slice_features(model, material.pixels[start : start + _AT_ONCE])
        found.append(described[:, familiarity.THUMBNAIL_PX**2 :])  # what the network says, without the thumbnail
        if progress:
            progress(min(start + _AT_ONCE, len(material.pixels)), len(material.pixels))
    pooled = np.concatenate(found)
    return (pooled - pooled.mean(axis=0)) / (pooled.std(axis=0) + 1e-6)


def teach(standard: np.ndarray, table: pd.DataFrame, labelling: str, protocol: str) -> Lesson:
    """Train and test heads under a labelling and a protocol, in four folds.

    Args:
        standard: (N, F) features, see `features`.

    Raises: DatasetError when a class has too few scans or slices for the folds.
    """
    labels = ordered_labels(set(table["label"]))
    taught = labelled(table, labelling)
    # Folds of scans are drawn by the labels that are taught, so that each has its share of them: shuffling slice by slice
    # leaves a scan no label of its own.
    dividing = table if labelling == BY_SLICE and protocol == splits.GROUPED else table.assign(label=taught)
    probabilities, trained = np.zeros((len(table), len(labels))), []
    nearest, likeness = np.zeros(len(table), int), np.zeros(len(table))
    unit = standard / np.maximum(np.linalg.norm(standard, axis=1, keepdims=True), 1e-9)
    for fold in range(N_FOLDS):
        parts = splits.split(dividing, protocol=protocol, seed=0, n_folds=N_FOLDS, fold=fold)
        train, test = np.flatnonzero(parts == splits.TRAIN), np.flatnonzero(parts == splits.TEST)
        head = LogisticRegression(**_PENALTY).fit(standard[train], taught[train])
        trained.append(head.score(standard[train], taught[train]))
        columns = [labels.index(label) for label in head.classes_]
        probabilities[np.ix_(test, columns)] = head.predict_proba(standard[test])
        alike = unit[test] @ unit[train].T  # (n_test, n_train)
        nearest[test], likeness[test] = train[alike.argmax(axis=1)], alike.max(axis=1)
    right = np.array(labels)[probabilities.argmax(axis=1)] == taught
    return Lesson(labels, taught, float(np.mean(trained)), float(right.mean()), probabilities, nearest, likeness)


def labelled(table: pd.DataFrame, labelling: str, *, seed: int = 0) -> np.ndarray:
    """(N,) the labels to teach: the true ones, those of whole scans dealt out anew, or those of single slices."""
    truth = table["label"].to_numpy(object)
    if labelling == TRUE:
        return truth
    rng = np.random.default_rng(seed)
    if labelling == BY_SLICE:
        return rng.permutation(truth)
    if labelling != BY_SCAN:
        raise ValueError(f"labelling must be one of {LABELLINGS}, got {labelling!r}")
    owner = table.groupby("series", sort=False)["label"].first()
    dealt = dict(zip(owner.index, rng.permutation(owner.to_numpy(object)), strict=True))
    return table["series"].map(dealt).to_numpy(object)


def teach_all(
    standard: np.ndarray, table: pd.DataFrame, *, progress: Progress | None = None
) -> dict[tuple[str, str], Lesson]:
    """(labelling, protocol) -> lesson. Raises: as `teach`."""
    asked = [(labelling, protocol) for labelling in LABELLINGS for protocol in splits.PROTOCOLS]
    found = {}
    for done, (labelling, protocol) in enumerate(asked):
        if progress:
            progress(done, len(asked))
        found[labelling, protocol] = teach(standard, table, labelling, protocol)
    if progress:
        progress(len(asked), len(asked))
    return found
