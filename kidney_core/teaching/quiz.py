"""A quiz of cases: a student names the class and marks the lesion before the model speaks; both are scored alike.

Nothing is kept on disk. The same number draws the same cases, so that a class can take "quiz 12" together.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kidney_core import lesions, phantom
from kidney_core.dataset import Dataset, short_hash
from kidney_core.errors import DatasetError
from kidney_core.labels import LABELS, NORMAL
from kidney_core.slices import Slice, read_slice

if TYPE_CHECKING:
    from kidney_core.diagnosis import Diagnosis

N_CASES = 8
FIRST_SEED = 5_000_000  # far from the seeds of simulated slices that are trained on, measured on, or samples


@dataclass(frozen=True)
class Case:
    """One question.

    Attributes:
        image: under a name that tells nothing.
        label: the truth.
        lesion: (H, W) bool, all False for Normal; None where it is not known, so that only the class can be judged.
        origin: where the slice comes from, to be told with the answer.
        digest: short hash of its file, "" for a simulated one: see `Checkpoint.trained_on`.
    """

    image: Slice
    label: str
    lesion: np.ndarray | None = field(repr=False)
    origin: str
    digest: str = ""


@dataclass(frozen=True)
class Guess:
    """What a student or a model says: a label, and the (x, y) in pixels of the slice of the lesion, None for no lesion."""

    label: str
    mark: tuple[int, int] | None


@dataclass(frozen=True)
class Score:
    """Whether a guess is right in class and place; the place is None where the lesion is not known."""

    label: bool
    place: bool | None


@dataclass(frozen=True)
class Round:
    """A case that was answered by the student and by a model."""

    number: int
    case: Case
    student: Guess
    model: Guess
    verdict: str


def simulated(number: int) -> list[Case]:
    """The cases of a simulated quiz: each label twice, in an order of the quiz's own."""
    rng = np.random.default_rng([number, 0])
    cases = []
    for position, label in enumerate(rng.permutation(np.repeat(LABELS, N_CASES // len(LABELS)))):
        drawn = phantom.draw_series(str(label), FIRST_SEED + number * N_CASES + position, n_slices=1)[0]
        image = drawn.as_slice(_name(number, position))
        cases.append(Case(image, str(label), drawn.lesion, "simulated, not a patient"))
    return cases


def from_folder(dataset: Dataset, number: int) -> list[Case]:
    """The cases of a quiz from a folder of classes: the classes in turn, drawn by the quiz's number.

    Raises: SliceError or DatasetError for a damaged slice, mask or file of boxes.
    """
    rng = np.random.default_rng([number, 1])
    tells = lesions.has_lesions(dataset.root)
    waiting = {
        label: rng.permutation(dataset.table.loc[dataset.table["label"] == label, "path"]).tolist()
        for label in dataset.labels
    }
    found: list[Case] = []
    while len(found) < N_CASES and any(waiting.values()):
        for label, paths in waiting.items():
            case = next(
                filter(None, (_of_file(dataset.root, paths.pop(), label, tells) for _ in range(len(paths)))), None
            )
            if case:
                found.append(case)
    if all(case.label == NORMAL for case in found):
        raise DatasetError(
            f"“{dataset.root}” has masks/ or labels/ beside its classes, but they show no lesion of any slice. Name them like the "
            "slices (masks/Stone/1.png or labels/Stone/1.txt for Stone/1.png), or move them away to judge the class only."
        )
    digests = dataset.table.set_index("path")["sha256"]
    order = [found[each] for each in rng.permutation(min(len(found), N_CASES))]
    return [
        replace(
            case,
            image=replace(case.image, name=_name(number, position)),
            digest=short_hash(digests[case.origin]),
        )
        for position, case in enumerate(order)
    ]


def score(case: Case, guess: Guess) -> Score:
    """Judge a guess: a place is right on the lesion or within 3 % of the image beside it; of Normal, no mark is right.

    Source of the tolerance: see `pointing`.
    """
    right = guess.label == case.label
    if case.lesion is None:
        return Score(right, None)
    if not case.lesion.any() or guess.mark is None:
        return Score(right, not case.lesion.any() and guess.mark is None)
    return Score(right, distance(case.lesion, guess.mark) <= lesions.TOLERANCE * max(case.lesion.shape))


def distance(lesion: np.ndarray, mark: tuple[int, int]) -> float:
    """Pixels from a mark (x, y) to the nearest pixel of a lesion, 0 on it."""
    rows, columns = np.nonzero(lesion)
    return float(np.hypot(rows - mark[1], columns - mark[0]).min())


def model_guess(answer: "Diagnosis") -> Guess:
    """A model's answer as a guess: it points where its map is brightest, and nowhere when it says Normal."""
    if answer.predicted_label == NORMAL or answer.heatmap is None:
        return Guess(answer.predicted_label, None)
    y, x = np.unravel_index(int(answer.heatmap.argmax()), answer.heatmap.shape)
    return Guess(answer.predicted_label, (int(x), int(y)))


def score_table(rounds: list[Round], model_name: str) -> pd.DataFrame:
    """One row a case: the truth, and student and model side by side."""
    rows = []
    for each in rounds:
        student, model = score(each.case, each.student), score(each.case, each.model)
        rows.append(
            {
                "Case": each.number,
                "Truth": each.case.label,
                "You": each.student.label,
                "Your class": _word(student.label),
                "Your place": _word(student.place),
                model_name: each.model.label,
                "Its class": _word(model.label),
                "Its place": _word(model.place),
                "Its verdict": each.verdict,
            }
        )
    return pd.DataFrame(rows)


def totals(table: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """(right, judged) of each column of right and wrong in a `score_table`."""
    columns = ("Your class", "Your place", "Its class", "Its place")
    return {name: (int((table[name] == "right").sum()), int((table[name] != "–").sum())) for name in columns}


def _of_file(root: Path, path: str, label: str, tells: bool) -> Case | None:
    """A slice of a folder as a case; None where its lesion should be known and is not."""
    if tells and label != NORMAL and not lesions.has_lesion_file(root, path):
        return None
    image = read_slice(root / path)
    if not tells:
        return Case(image, label, None, path)
    if label == NORMAL:
        return Case(image, label, np.zeros(image.pixels.shape, bool), path)
    lesion = lesions.of_slice(root, path, image.pixels.shape)
    return Case(image, label, lesion, path) if lesion is not None and lesion.any() else None


def _name(number: int, position: int) -> str:
    return f"Quiz {number}, case {position + 1}"


def _word(right: bool | None) -> str:
    return "–" if right is None else "right" if right else "wrong"
