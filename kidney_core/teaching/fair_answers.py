"""A model's answers for a quiz in which it plays fair: of a network that never saw the scan, or not scored.

A published network has seen most scans of its dataset. Cross-validation left an answer for each of their slices by another network
of the same recipe, which was trained without that scan: `predictions-cross-validated.csv.gz`. A slice is recognised by the content
of its file: the lines of `trained-on.txt` are the digests of the stored rows that the published network was not tested on, in the
same order. Where they cannot be that, the path below the folder has to agree as well.
"""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import pandas as pd

from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common.labels import NORMAL
from kidney_core.diagnosis.outcomes import Outcome
from kidney_core.metrics.predictions import Predictions, labels_of, probabilities_of
from kidney_core.metrics.splits import CROSS_VALIDATED, MEASURED
from kidney_core.teaching.cases import Case, Guess


class Basis(StrEnum):
    """What a model's answer rests on."""

    OUT_OF_FOLD = "out-of-fold"
    UNSEEN = "unseen scan"
    SIMULATED = "simulated"
    SEEN = "seen in training"
    UNKNOWN = "unknown"


FAIR = (Basis.OUT_OF_FOLD, Basis.UNSEEN)
IN_WORDS = {
    Basis.OUT_OF_FOLD: "Answered by a network that never saw this scan: one of the cross-validation.",
    Basis.UNSEEN: "Answered by a network that never saw this scan.",
    Basis.SIMULATED: "Not scored: the case is simulated, and the model may know the program that draws it.",
    Basis.SEEN: "Not scored: the model was trained on this scan, and no answer of a network that never saw it is stored.",
    Basis.UNKNOWN: "Not scored: it is not known whether the model was trained on this scan.",
}


@dataclass(frozen=True)
class StoredAnswer:
    """A stored answer for a slice: its path, label and scan in the dataset, and the probabilities."""

    path: str
    label: str
    series: int | None
    probabilities: dict[str, float] = field(repr=False)

    @property
    def is_right(self) -> bool:
        return predicted(self.probabilities) == self.label


@dataclass(frozen=True)
class StoredAnswers:
    """What networks that never saw the slice said of each slice of a checkpoint's dataset.

    Attributes:
        by_digest: the answers for files that the published network was trained on, by the short hash of the file.
        by_path: the same by path; used for files without an entry in `by_digest`.
        held_out: the answers for files that the published network was tested on, by path: their content is not known.
        trained_on: short hashes of the files that the published network was trained on; empty where that is unknown.
    """

    by_digest: dict[str, tuple[StoredAnswer, ...]] = field(repr=False)
    by_path: dict[str, StoredAnswer] = field(repr=False)
    held_out: dict[str, StoredAnswer] = field(repr=False)
    trained_on: frozenset[str] = field(repr=False)

    def of(self, digest: str, path: str, label: str) -> StoredAnswer | None:
        """The answer for a file that the published network was trained on; None where there is none for this content."""
        if digest not in self.trained_on:
            return None
        if self.by_digest:
            fitting = [each for each in self.by_digest.get(digest, ()) if each.label == label]
            return next((each for each in fitting if each.path == path), fitting[0] if fitting else None)
        stored = self.by_path.get(path)
        return stored if stored and stored.label == label else None

    def expected(self, digest: str, path: str, label: str) -> StoredAnswer | None:
        """The same, or the answer for the held-out file of that path: good enough to draw cases by, not to be shown."""
        held_out = None if digest in self.trained_on else self.held_out.get(path)
        return self.of(digest, path, label) or (held_out if held_out and held_out.label == label else None)

    def basis(self, case: Case, *, seen: bool) -> Basis:
        """What the published network's own answer for a case rests on.

        Args:
            seen: its check found the scan in the training data, see `verdict`.
        """
        if case.is_simulated:
            return Basis.SIMULATED
        if seen or any(each in self.trained_on for each in case.digests):
            return Basis.SEEN
        # A file of the same name with other content may be a copy of a slice that was trained on.
        if not self.trained_on or any(path in self.by_path for path in case.paths):
            return Basis.UNKNOWN
        return Basis.UNSEEN


@dataclass(frozen=True)
class ModelAnswer:
    """A model's answer for a case.

    Attributes:
        guess: its label, and where its heatmap is brightest.
        basis: whether it may be scored, and why.
        outcome: of its verdict; None for a stored answer, which has no verdict.
        heatmap: (H, W) in 0..1 of `guess.label`, over slice `guess.at`; None for a stored answer, which has none.
    """

    guess: Guess
    probabilities: dict[str, float]
    basis: Basis
    outcome: Outcome | None = None
    heatmap: np.ndarray | None = field(default=None, repr=False)

    @property
    def is_fair(self) -> bool:
        return self.basis in FAIR

    @property
    def confidence(self) -> float:
        """The probability of the label."""
        return self.probabilities[self.guess.label]

    @property
    def finding(self) -> float:
        """The probability that there is a finding, of whatever kind."""
        return 1 - self.probabilities.get(NORMAL, 0.0)


def predicted(probabilities: dict[str, float]) -> str:
    """The most probable label."""
    return max(probabilities, key=lambda label: probabilities[label])


def stored_answers(checkpoint: Checkpoint) -> StoredAnswers:
    """What a checkpoint has stored. Raises CheckpointError for files that are damaged or not those its card describes."""
    trained_on = checkpoint.trained_on_in_order()
    tested = _tested(checkpoint)
    held_out = set() if tested is None else set(tested.table["path"])
    pooled = checkpoint.predictions(CROSS_VALIDATED)
    if pooled is None:
        rows = [] if tested is None else _rows(tested.table)
        return StoredAnswers({}, {}, {each.path: each for each in rows}, frozenset(trained_on))
    rows = _rows(pooled.table)
    known = [each for each in rows if each.path not in held_out]
    return StoredAnswers(
        _by_digest(known, trained_on, checkpoint.card["data"].get("extra_training_slices", 0)),
        {each.path: each for each in known},
        {each.path: each for each in rows if each.path in held_out},
        frozenset(trained_on),
    )


def stored_for(stored: StoredAnswers, case: Case) -> ModelAnswer | None:
    """The stored answer for a case: for a stack, the mean over all its slices; None where one of them has none."""
    if case.is_simulated or not case.digests:
        return None
    found = [stored.of(*each, case.label) for each in zip(case.digests, case.paths, strict=True)]
    complete = [each for each in found if each is not None]
    if len(complete) < len(found):
        return None
    labels = complete[0].probabilities
    mean = {label: float(np.mean([each.probabilities[label] for each in complete])) for label in labels}
    return ModelAnswer(Guess(predicted(mean), None), mean, Basis.OUT_OF_FOLD)


def _tested(checkpoint: Checkpoint) -> Predictions | None:
    """The predictions for the slices that the published network was tested on; None where they are not stored."""
    protocol = checkpoint.card["training"].get("protocol")
    return checkpoint.predictions(protocol) if protocol in MEASURED and protocol != CROSS_VALIDATED else None


def _by_digest(
    rows: list[StoredAnswer], trained_on: tuple[str, ...], n_extra: int
) -> dict[str, tuple[StoredAnswer, ...]]:
    """The rows by the digests in the same order; empty where their numbers do not agree."""
    if len(rows) + n_extra != len(trained_on):
        return {}
    found: dict[str, tuple[StoredAnswer, ...]] = {}
    for row, digest in zip(rows, trained_on, strict=False):
        found[digest] = (*found.get(digest, ()), row)
    return found


def _rows(table: pd.DataFrame) -> list[StoredAnswer]:
    labels = labels_of(table)
    series = table["series"].tolist() if "series" in table else [None] * len(table)
    return [
        StoredAnswer(path, label, scan, dict(zip(labels, map(float, row), strict=True)))
        for path, label, scan, row in zip(table["path"], table["label"], series, probabilities_of(table), strict=True)
    ]
