"""One reader's answers in a quiz: the first, and where the quiz asks again after the model's answer, the second.

Held in memory only. Several threads may use a seat: a student's page and the teacher's board.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from kidney_core.teaching.cases import Guess

CONFIDENCES = (1, 2, 3, 4, 5)
CONFIDENCE_WORDS = {1: "a guess", 3: "fairly sure", 5: "certain"}
MAX_NAME = 40


@dataclass(frozen=True)
class Reading:
    """What a reader answered to a case.

    Attributes:
        first: before the model's answer was shown.
        confidence: in `first`, of CONFIDENCES.
        time_s: from when the case was first shown to the first answer.
        second: after the model's answer was shown; None where there was none, or the quiz does not ask again.
        second_confidence, second_time_s: the same of the second answer; the time is that since the first.
    """

    first: Guess
    confidence: int
    time_s: float
    second: Guess | None = None
    second_confidence: int | None = None
    second_time_s: float | None = None

    @property
    def final(self) -> Guess:
        """The second answer where there is one, else the first."""
        return self.second or self.first


@dataclass(frozen=True)
class Draft:
    """An answer that is not submitted yet; None for what is not chosen.

    Attributes:
        mark: (x, y) in px of the slice with the index `at`.
    """

    label: str | None = None
    mark: tuple[int, int] | None = None
    at: int = 0
    confidence: int | None = None


class Seat:
    """A reader with their answers by case, counted from 0."""

    def __init__(self, name: str = "", *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._readings: dict[int, Reading] = {}
        self._since: dict[int, float] = {}
        self._drafts: dict[int, Draft] = {}

    def open(self, case: int) -> None:
        """Note that a case is shown: its time runs from the first call on."""
        with self._lock:
            self._since.setdefault(case, self._clock())

    def answer(self, case: int, guess: Guess, confidence: int) -> None:
        """Keep the first answer to a case; only one counts. Raises ValueError for another confidence than 1 to 5."""
        _check_confidence(confidence)
        with self._lock:
            now = self._clock()
            if case not in self._readings:
                self._readings[case] = Reading(guess, confidence, now - self._since.get(case, now))
                self._since[case] = now
                self._drafts.pop(case, None)

    def answer_again(self, case: int, guess: Guess, confidence: int) -> None:
        """Keep the second answer to a case that was answered; only one counts. Raises ValueError as `answer`."""
        _check_confidence(confidence)
        with self._lock:
            reading = self._readings.get(case)
            if reading is not None and reading.second is None:
                taken = self._clock() - self._since.get(case, self._clock())
                self._readings[case] = replace(reading, second=guess, second_confidence=confidence, second_time_s=taken)
                self._drafts.pop(case, None)

    def draft(self, case: int) -> Draft | None:
        """What was chosen for a case and not submitted; None where nothing was."""
        with self._lock:
            return self._drafts.get(case)

    def keep_draft(self, case: int, draft: Draft) -> bool:
        """Keep what is chosen for a case; whether that is new."""
        with self._lock:
            is_new, self._drafts[case] = self._drafts.get(case, Draft()) != draft, draft
            return is_new

    def readings(self) -> dict[int, Reading]:
        """A copy of the answers by case, in the order of the cases."""
        with self._lock:
            return dict(sorted(self._readings.items()))


def clean_name(typed: str) -> str:
    """A name as it is shown: one line of at most 40 printable characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in typed).split())[:MAX_NAME].strip()


def _check_confidence(confidence: int) -> None:
    if confidence not in CONFIDENCES:
        raise ValueError(f"confidence must be one of {CONFIDENCES}, got {confidence!r}")
