"""The values of a quiz: a case, and what somebody answered to it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kidney_core.common.labels import NORMAL
from kidney_core.imaging.slices import Slice

if TYPE_CHECKING:
    from kidney_core.diagnosis.inference import Diagnosis

SIMULATED = "simulated, not a patient"


@dataclass(frozen=True)
class Case:
    """One question.

    Attributes:
        image: the slice, under a name that gives nothing away; of a stack, the one that is shown first.
        label: the true one.
        lesion: (H, W) bool, all False for Normal; None where it is not known, so that only the class can be judged.
        origin: where the slice comes from, shown with the answer.
        digest: short hash of its file, "" for a simulated one: see `Checkpoint.trained_on`.
        stack: all slices of a stack in order, empty for a single slice.
        stack_lesions: the lesion on each of them; empty for a single slice, or where it is not known.
        files: (short hash, path below the folder) of the file of each slice of a stack.
    """

    image: Slice
    label: str
    lesion: np.ndarray | None = field(repr=False)
    origin: str
    digest: str = ""
    stack: tuple[Slice, ...] = field(default=(), repr=False)
    stack_lesions: tuple[np.ndarray, ...] = field(default=(), repr=False)
    files: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def slices(self) -> tuple[Slice, ...]:
        return self.stack or (self.image,)

    @property
    def is_simulated(self) -> bool:
        return self.origin == SIMULATED

    @property
    def digests(self) -> tuple[str, ...]:
        """The short hash of the file of each slice; empty where there is no file."""
        return tuple(digest for digest, _ in self._files)

    @property
    def paths(self) -> tuple[str, ...]:
        """The path of the file of each slice."""
        return tuple(path for _, path in self._files)

    @property
    def _files(self) -> tuple[tuple[str, str], ...]:
        return self.files or (((self.digest, self.origin),) if self.digest else ())

    @property
    def has_known_lesion(self) -> bool:
        """Whether it is known where the lesion is, or that there is none."""
        return self.lesion is not None

    @property
    def has_lesion(self) -> bool:
        """Whether a lesion is known on one of the slices."""
        return any(each is not None and each.any() for each in (self.lesion, *self.stack_lesions))

    def lesion_of(self, at: int) -> np.ndarray | None:
        """The lesion on slice `at`, (H, W) bool; None where it is not known."""
        return self.stack_lesions[at] if self.stack_lesions else self.lesion


@dataclass(frozen=True)
class Guess:
    """The guess of a student or a model.

    Attributes:
        label: the class.
        mark: the lesion's (x, y) in pixels of the slice; None for no lesion.
        at: the slice of a stack that was marked, from 0.
    """

    label: str
    mark: tuple[int, int] | None
    at: int = 0


def model_guess(answer: "Diagnosis") -> Guess:
    """A model's prediction as a guess: it points where its heatmap is brightest, and nowhere when it predicts Normal."""
    if answer.predicted_label == NORMAL or answer.heatmap is None:
        return Guess(answer.predicted_label, None)
    y, x = np.unravel_index(int(answer.heatmap.argmax()), answer.heatmap.shape)
    return Guess(answer.predicted_label, (int(x), int(y)))
