"""Grades of a guess: the class is right or wrong, the place is correct, near or wrong, for students and models alike."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from kidney_core.data import lesions
from kidney_core.teaching.cases import Case, Guess

_NEIGHBOURING_SLICES = 1  # of the one that was marked, on which a lesion is still near


class Grade(StrEnum):
    """How well a place was found."""

    CORRECT = "correct"
    NEAR = "near"
    WRONG = "wrong"


@dataclass(frozen=True)
class Score:
    """Whether a guess has the right class, and the grade of its place; None where the lesion is not known."""

    label: bool
    place: Grade | None


def score(case: Case, guess: Guess) -> Score:
    """Grade a guess.

    A mark is correct on the lesion or within 3 % of the image beside it. It is near as far again, or within the lesion's own radius
    where that is more, and where the lesion is on the next slice of a stack. Of Normal, no mark is correct.

    Source of the 3 %: see `pointing`.
    """
    right = guess.label == case.label
    if not case.has_known_lesion:
        return Score(right, None)
    if not case.has_lesion or guess.mark is None:
        return Score(right, Grade.WRONG if case.has_lesion or guess.mark else Grade.CORRECT)
    on_slice = _grade(case.lesion_of(guess.at), guess.mark)
    if on_slice != Grade.WRONG:
        return Score(right, on_slice)
    beside = [guess.at + step for step in (-_NEIGHBOURING_SLICES, _NEIGHBOURING_SLICES)]
    grades = {_grade(case.lesion_of(at), guess.mark) for at in beside if 0 <= at < len(case.slices)}
    return Score(right, Grade.NEAR if Grade.CORRECT in grades else Grade.WRONG)


def distance(lesion: np.ndarray, mark: tuple[int, int]) -> float:
    """Pixels from a mark (x, y) to the nearest pixel of a lesion, 0 on it; infinite without a lesion."""
    rows, columns = np.nonzero(lesion)
    return float(np.hypot(rows - mark[1], columns - mark[0]).min()) if len(rows) else float("inf")


def tolerance_px(lesion: np.ndarray) -> float:
    """How far beside a lesion, (H, W), a mark is still correct."""
    return lesions.TOLERANCE * max(lesion.shape)


def tolerance_zone(lesion: np.ndarray) -> np.ndarray:
    """(H, W) bool: where a mark is correct; nowhere without a lesion."""
    from scipy import ndimage

    if not lesion.any():
        return np.zeros(lesion.shape, bool)
    return np.asarray(ndimage.distance_transform_edt(~lesion) <= tolerance_px(lesion))


def near_px(lesion: np.ndarray, mark: tuple[int, int]) -> float:
    """How far beside a lesion a mark is still near: twice the tolerance, or the radius of the nearest lesion where that is more."""
    from scipy import ndimage

    numbers, _ = ndimage.label(lesion, np.ones((3, 3)))
    rows, columns = np.nonzero(lesion)
    nearest = int(np.hypot(rows - mark[1], columns - mark[0]).argmin())
    area = int((numbers == numbers[rows[nearest], columns[nearest]]).sum())
    return max(2 * tolerance_px(lesion), float(np.sqrt(area / np.pi)))


def _grade(lesion: np.ndarray | None, mark: tuple[int, int]) -> Grade:
    if lesion is None or not lesion.any():
        return Grade.WRONG
    away = distance(lesion, mark)
    if away <= tolerance_px(lesion):
        return Grade.CORRECT
    return Grade.NEAR if away <= near_px(lesion, mark) else Grade.WRONG
