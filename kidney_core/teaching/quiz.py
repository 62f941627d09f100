"""A quiz of cases: a student names the class and marks the lesion before the model predicts; both are scored alike.

Nothing is stored on disk. The same number draws the same cases, so that a class can take "quiz 12" together.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kidney_core.common.errors import DatasetError
from kidney_core.common.labels import LABELS, NORMAL
from kidney_core.data import lesions
from kidney_core.data.dataset import Dataset, short_hash
from kidney_core.imaging.slices import Slice, read_slice
from kidney_core.simulation import phantom

if TYPE_CHECKING:
    from kidney_core.diagnosis.inference import Diagnosis

N_CASES = 8
FIRST_SEED = 5_000_000  # far from the seeds of simulated slices that are trained on, measured on, or samples


@dataclass(frozen=True)
class Case:
    """One question.

    Attributes:
        image: under a name that gives nothing away.
        label: the true one.
        lesion: (H, W) bool, all False for Normal; None where it is not known, so that only the class can be judged.
        origin: where the slice comes from, shown with the answer.
        digest: short hash of its file, "" for a simulated one: see `Checkpoint.trained_on`.
    """

    image: Slice
    label: str
    lesion: np.ndarray | None = field(repr=False)
    origin: str
    digest: str = ""


@dataclass(frozen=True)
class Guess:
    """The guess of a student or a model: a label, and the lesion's (x, y) in pixels of the slice; None for no lesion."""

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


def draw_cases(number: int) -> list[Case]:
    """The cases of a simulated quiz: each label twice, in an order that depends on the quiz's number."""
    rng = np.random.default_rng([number, 0])
    cases = []
    for position, label in enumerate(rng.permutation(np.repeat(LABELS, N_CASES // len(LABELS)))):
        drawn = phantom.draw_series(str(label), FIRST_SEED + number * N_CASES + position, n_slices=1)[0]
        image = drawn.as_slice(_name(number, position))
        cases.append(Case(image, str(label), drawn.lesion, "simulated, not a patient"))
    return cases


def read_cases(dataset: Dataset, number: int) -> list[Case]:
    """The cases of a quiz from a folder of classes: the classes in turn, drawn by the quiz's number.

    Raises: SliceError or DatasetError for a damaged slice, mask or file of boxes.
    """
    rng = np.random.default_rng([number, 1])
    has_lesions = lesions.has_lesions(dataset.root)
    waiting = {
        label: rng.permutation(dataset.table.loc[dataset.table["label"] == label, "path"]).tolist()
        for label in dataset.labels
    }
    cases: list[Case] = []
    while len(cases) < N_CASES and any(waiting.values()):
        for label, paths in waiting.items():
            case = next(
                filter(None, (_of_file(dataset.root, paths.pop(), label, has_lesions) for _ in range(len(paths)))), None
            )
            if case:
                cases.append(case)
    if all(case.label == NORMAL for case in cases):
        raise DatasetError(
            f"“{dataset.root}” has masks/ or labels/ beside its classes, but they show no lesion of any slice. Name them like the "
            "slices (masks/Stone/1.png or labels/Stone/1.txt for Stone/1.png), or move them away to judge the class only."
        )
    digests = dataset.table.set_index("path")["sha256"]
    order = [cases[each] for each in rng.permutation(min(len(cases), N_CASES))]
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
    """A model's prediction as a guess: it points where its heatmap is brightest, and nowhere when it predicts Normal."""
    if answer.predicted_label == NORMAL or answer.heatmap is None:
        return Guess(answer.predicted_label, None)
    y, x = np.unravel_index(int(answer.heatmap.argmax()), answer.heatmap.shape)
    return Guess(answer.predicted_label, (int(x), int(y)))


def score_table(rounds: list[Round], model_name: str) -> pd.DataFrame:
    """One row for each case: the true label, and student and model side by side."""
    rows = []
    for each in rounds:
        student, model = score(each.case, each.student), score(each.case, each.model)
        rows.append(
            {
                "Case": each.number,
                "Truth": each.case.label,
                "You": each.student.label,
                "Your class": _word(student.label),
                "Your location": _word(student.place),
                model_name: each.model.label,
                "Model's class": _word(model.label),
                "Model's location": _word(model.place),
                "Model's verdict": each.verdict,
            }
        )
    return pd.DataFrame(rows)


def totals(table: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """(correct, scored) of each column of marks in a `score_table`."""
    columns = ("Your class", "Your location", "Model's class", "Model's location")
    return {name: (int((table[name] == "correct").sum()), int((table[name] != "–").sum())) for name in columns}


def _of_file(root: Path, path: str, label: str, has_lesions: bool) -> Case | None:
    """A slice of a folder as a case; None where its lesion should be known and is not."""
    if has_lesions and label != NORMAL and not lesions.has_lesion_file(root, path):
        return None
    image = read_slice(root / path)
    if not has_lesions:
        return Case(image, label, None, path)
    if label == NORMAL:
        return Case(image, label, np.zeros(image.pixels.shape, bool), path)
    lesion = lesions.lesion_mask(root, path, image.pixels.shape)
    return Case(image, label, lesion, path) if lesion is not None and lesion.any() else None


def _name(number: int, position: int) -> str:
    return f"Quiz {number}, case {position + 1}"


def _word(right: bool | None) -> str:
    return "–" if right is None else "correct" if right else "wrong"
