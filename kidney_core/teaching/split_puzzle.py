"""Find the leak: four splits of the same slices, of which one gives the test away, each time in another way.

The evidence is that of the leak audit: near-duplicates in training, scans on both sides, and what copying the label of the most similar
training slice scores.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from kidney_core.common.labels import LABELS
from kidney_core.data import leak_audit
from kidney_core.data.dataset import Dataset, require_classes
from kidney_core.data.leak_audit import ProtocolAudit
from kidney_core.data.series import scan_table
from kidney_core.data.thumbnails import THUMBNAIL_PX
from kidney_core.imaging.framing import View
from kidney_core.imaging.slices import read_slice
from kidney_core.metrics import splits
from kidney_core.simulation import phantom
from kidney_core.teaching.label_shuffling import Progress, choose_slices

NAMES = ("A", "B", "C", "D")
_N_FOLDS = 4  # a quarter of the slices is tested, in every split
_VIEW = View(80)
_SCANS, _SLICES = 8, 6  # simulated, for each label
_MAX_SLICES = 400  # of a folder
FIRST_SEED = 6_800_000  # far from the seeds of other simulated slices
_COPIED = 0.5  # of the test slices, where two sources are merged
HONEST, BY_SLICE, EVERY_FOURTH, SCAN_ENDS, MERGED = "honest", "by slice", "every fourth", "ends of scans", "merged"
LEAKS = (BY_SLICE, EVERY_FOURTH, SCAN_ENDS, MERGED)
IN_WORDS = {
    HONEST: "Whole scans were drawn for the test.",
    BY_SLICE: "Slices were drawn one by one, so nearly every test slice has its neighbours in training.",
    EVERY_FOURTH: "Every fourth slice is tested, so each has its neighbours in training.",
    SCAN_ENDS: "The last quarter of every scan is tested: it looks orderly, but the rest of each scan is in training.",
    MERGED: "Whole scans were drawn for the test, but a second source was merged in that holds copies of some test slices under other "
    "names, with another brightness. They are in training.",
}


@dataclass(frozen=True)
class PuzzleData:
    """The slices that are split.

    Attributes:
        table: (N rows) in file order with the columns `path`, `label` and `series`.
        pictures: (N, S, S) uint8.
        simulated: True for drawn slices, which are no patients.
    """

    table: pd.DataFrame = field(repr=False)
    pictures: np.ndarray = field(repr=False)
    simulated: bool


@dataclass(frozen=True)
class PuzzleSplit:
    """One of the splits.

    Attributes:
        kind: HONEST or one of `LEAKS`.
        parts: (M,) as `splits.split` gives them, for the slices of `data`, which may hold copies beside those of the puzzle.
    """

    kind: str
    data: PuzzleData = field(repr=False)
    parts: np.ndarray = field(repr=False)

    @property
    def leaks(self) -> bool:
        return self.kind != HONEST

    def evidence(self) -> ProtocolAudit:
        """What the audit says."""
        return leak_audit.audit_parts(self.data.table, thumbnails_of(self.data.pictures), self.parts)

    def shared_scans(self) -> float:
        """Share of test slices whose scan also has slices in training, 0 to 1."""
        return splits.shared_series_fraction(self.data.table, self.parts)


def draw_data(*, n_scans: int = _SCANS, n_slices: int = _SLICES, progress: Progress | None = None) -> PuzzleData:
    """Simulated slices, the same each time."""
    rows: list[tuple[str, str, int]] = []
    pictures = []
    for label in LABELS:
        for number in range(n_scans):
            for drawn in phantom.draw_series(label, FIRST_SEED + number, n_slices=n_slices):
                own = sum(name.startswith(label) for name, _, _ in rows) + 1
                rows.append((f"{label}- ({own}).png", label, len(rows) // n_slices))
                pictures.append(_VIEW.square(drawn.as_slice("simulated").network_grey8()))
            if progress:
                progress(len(rows), len(LABELS) * n_scans * n_slices)
    return PuzzleData(pd.DataFrame(rows, columns=["path", "label", "series"]), np.stack(pictures), simulated=True)


def read_data(dataset: Dataset, *, progress: Progress | None = None) -> PuzzleData:
    """At most 400 slices of a folder: neighbours from the middle of scans, which are spread over each class.

    Raises: DatasetError for one class or a damaged `series.csv`, SliceError for a file that became unreadable.
    """
    require_classes(dataset)
    table = choose_slices(scan_table(dataset), limit=_MAX_SLICES)
    pictures = []
    for path in table["path"]:
        pictures.append(_VIEW.square(read_slice(Path(dataset.root) / path).network_grey8()))
        if progress:
            progress(len(pictures), len(table))
    return PuzzleData(table[["path", "label", "series"]], np.stack(pictures), simulated=False)


def thumbnails_of(pictures: np.ndarray) -> np.ndarray:
    """(N, S, S) -> (N, 32, 32) uint8, as the audit compares them."""
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    return np.stack([np.asarray(Image.fromarray(each).resize(size, Image.Resampling.BOX)) for each in pictures])


def make_puzzle(data: PuzzleData, number: int) -> dict[str, PuzzleSplit]:
    """The four splits of a puzzle by name, one of which leaks; the same number gives the same ones.

    Raises: DatasetError where a class has too few scans to test on whole ones.
    """
    rng = np.random.default_rng(number)
    kinds = [HONEST] * len(NAMES)
    kinds[int(rng.integers(len(NAMES)))] = LEAKS[(number - 1) % len(LEAKS)]
    folds = rng.permutation(_N_FOLDS)
    return {name: _split(data, kind, number, int(fold)) for name, kind, fold in zip(NAMES, kinds, folds, strict=True)}


def _split(data: PuzzleData, kind: str, seed: int, fold: int) -> PuzzleSplit:
    table = data.table
    if kind == BY_SLICE:
        return PuzzleSplit(
            kind, data, splits.split(table, protocol=splits.RANDOM, seed=seed, n_folds=_N_FOLDS, fold=fold)
        )
    if kind in (EVERY_FOURTH, SCAN_ENDS):
        own, length = (table.groupby("series")["path"].transform(how) for how in ("cumcount", "size"))
        tested = (own + fold) % _N_FOLDS == 0 if kind == EVERY_FOURTH else own >= length * (1 - 1 / _N_FOLDS)
        return PuzzleSplit(kind, data, np.where(tested, splits.TEST, splits.TRAIN).astype(object))
    parts = splits.split(table, protocol=splits.GROUPED, seed=seed, n_folds=_N_FOLDS, fold=fold)
    return _merged(data, parts, seed) if kind == MERGED else PuzzleSplit(kind, data, parts)


def _merged(data: PuzzleData, parts: np.ndarray, seed: int) -> PuzzleSplit:
    """An honest split with copies of some test slices in training, under other names and of scans of their own."""
    rng = np.random.default_rng([seed, 1])
    tested = np.flatnonzero(parts == splits.TEST)
    rows = np.sort(rng.choice(tested, max(1, round(_COPIED * len(tested))), replace=False))
    gains = rng.uniform(0.75, 0.95, (len(rows), 1, 1))
    copies = np.rint(data.pictures[rows] * gains).astype(np.uint8)
    added = data.table.iloc[rows].assign(
        path=[f"{label}- IMG_{number}.png" for label, number in zip(data.table["label"].iloc[rows], rows, strict=True)],
        series=int(data.table["series"].max()) + 1 + data.table["series"].iloc[rows],
    )
    table = pd.concat([data.table, added], ignore_index=True)
    order = table["label"].sort_values(kind="stable").index.to_numpy()  # the files of a class stand together
    pictures, all_parts = np.concatenate([data.pictures, copies]), np.append(parts, [splits.TRAIN] * len(rows))
    merged = PuzzleData(table.iloc[order].reset_index(drop=True), pictures[order], data.simulated)
    return PuzzleSplit(MERGED, merged, all_parts[order])
