"""Classes that take a quiz together: each has a code, seats for its students, and a teacher who reveals the truth.

All of it is held in the memory of this server process, bounded and for a few hours; nothing is written to disk.
"""

import hmac
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kidney_core.common.errors import ClassError
from kidney_core.teaching.cases import Case
from kidney_core.teaching.fair_answers import ModelAnswer
from kidney_core.teaching.seats import Seat, clean_name

MAX_CLASSES, MAX_SEATS, MAX_READERS = 20, 200, 1000
MAX_BYTES = 1024**3  # of the slices of all classes
IDLE_S = 6 * 3600
_ALPHABET, _CODE_LENGTH = "ABCDEFGHJKMNPQRSTUVWXYZ23456789", 6  # no letter that looks like another


@dataclass(frozen=True)
class Rules:
    """How a quiz is taken.

    Attributes:
        reveals_at_once: the truth is shown after each answer, not when the teacher reveals it.
        looks_again: the model's answer is shown after the first answer, and the reader answers again.
    """

    reveals_at_once: bool = True
    looks_again: bool = False


class ClassSession:
    """A class with its cases, the model's answers for them, and its seats."""

    def __init__(
        self,
        code: str,
        name: str,
        cases: Sequence[Case],
        answers: Sequence[ModelAnswer],
        *,
        model_name: str,
        rules: Rules,
        owner: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a session; `owner` is the person who may lead it, with the key that `teacher_key` holds."""
        self.code, self.name, self.model_name, self.rules, self.owner = code, name, model_name, rules, owner
        self.cases, self.answers = tuple(cases), tuple(answers)
        self.teacher_key = secrets.token_urlsafe(12)
        self.used_at = clock()
        self._clock = clock
        self._lock = threading.Lock()
        self._seats: dict[str, Seat] = {}
        self._revealed: set[int] = set()

    def is_teacher(self, key: str, person: str) -> bool:
        """Whether a person with a key leads this class."""
        return person == self.owner and hmac.compare_digest(key.encode(), self.teacher_key.encode())

    def join(self, typed_name: str) -> str:
        """A new seat under a name, or a number where the name is empty; its secret token. Raises ClassError when full."""
        with self._lock:
            if len(self._seats) >= MAX_SEATS:
                raise ClassError(
                    f"This class is full: it has {MAX_SEATS} seats. Ask your teacher to start another one."
                )
            wanted = clean_name(typed_name) or f"Student {len(self._seats) + 1}"
            taken = {seat.name for seat in self._seats.values()}
            name, number = wanted, 2
            while name in taken:
                name, number = f"{wanted} ({number})", number + 1
            token = secrets.token_urlsafe(12)
            self._seats[token] = Seat(name, clock=self._clock)
            return token

    def seat(self, token: str) -> Seat | None:
        """The seat of a token; None for an unknown one."""
        with self._lock:
            return self._seats.get(token)

    def seats(self) -> list[Seat]:
        """All seats in the order in which they were taken."""
        with self._lock:
            return list(self._seats.values())

    def reveal(self, cases: Sequence[int]) -> None:
        """Let everybody who answered these cases see the truth."""
        with self._lock:
            self._revealed.update(case for case in cases if 0 <= case < len(self.cases))

    def revealed(self) -> frozenset[int]:
        """The cases whose truth is shown to those who answered them."""
        if self.rules.reveals_at_once:
            return frozenset(range(len(self.cases)))
        with self._lock:
            return frozenset(self._revealed)


class Readers:
    """Those who take quizzes on their own: a seat for each quiz, under a secret token. The least used go when there are many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seats: dict[str, dict[str, Seat]] = {}
        self._folders: dict[str, str] = {}

    def folder(self, token: str) -> str:
        """The folder in which a token answered last; empty for none."""
        with self._lock:
            return self._folders.get(token, "")

    def keep_folder(self, token: str, folder: str) -> None:
        """Keep the folder in which a token answered last."""
        with self._lock:
            if token in self._seats:
                self._folders[token] = folder

    def seat(self, token: str, quiz: str) -> Seat:
        """The seat of a token in a quiz; an empty one, which is not kept, where there is none."""
        with self._lock:
            seats = self._seats.pop(token, {})
            if seats:
                self._seats[token] = seats  # the last used is the last
            return seats.get(quiz) or Seat()

    def keep(self, token: str, quiz: str, seat: Seat) -> str:
        """Keep a seat; its token, which is a new one where `token` is empty or unknown."""
        with self._lock:
            token = token if token in self._seats else secrets.token_urlsafe(12)
            self._seats.setdefault(token, {})[quiz] = seat
            while len(self._seats) > MAX_READERS:
                oldest = next(iter(self._seats))
                del self._seats[oldest]
                self._folders.pop(oldest, None)
            return token


class Classroom:
    """All classes of this server process, and the readers without a class."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.readers = Readers()
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, ClassSession] = {}

    def start(
        self,
        typed_name: str,
        cases: Sequence[Case],
        answers: Sequence[ModelAnswer],
        *,
        model_name: str,
        rules: Rules,
        owner: str,
    ) -> ClassSession:
        """Start a class under a code of its own.

        Raises: ClassError where there are too many, or their slices would take too much memory.
        """
        with self._lock:
            self._forget_idle()
            size = sum(_bytes_of(session.cases) for session in self._sessions.values()) + _bytes_of(cases)
            if len(self._sessions) >= MAX_CLASSES or size > MAX_BYTES:
                raise ClassError(
                    f"This server holds as many classes as it can ({len(self._sessions)}). Close one that has ended."
                )
            code = _new_code(self._sessions)
            self._sessions[code] = ClassSession(
                code,
                clean_name(typed_name) or f"Class {code}",
                cases,
                answers,
                model_name=model_name,
                rules=rules,
                owner=owner,
                clock=self._clock,
            )
            return self._sessions[code]

    def find(self, typed_code: str) -> ClassSession:
        """The class of a code, as people type it.

        Raises: ClassError for an unknown one.
        """
        code = "".join(letter for letter in typed_code.upper() if letter.isalnum())
        with self._lock:
            self._forget_idle()
            if code not in self._sessions:
                raise ClassError(
                    f"There is no class “{code[: 2 * _CODE_LENGTH]}” on this server. Check the code; a class ends when the teacher closes it, "
                    f"after {IDLE_S // 3600} hours without use, or when the server restarts."
                )
            session = self._sessions[code]
            session.used_at = self._clock()
            return session

    def close(self, session: ClassSession) -> None:
        """Forget a class with all its answers."""
        with self._lock:
            self._sessions.pop(session.code, None)

    def _forget_idle(self) -> None:
        oldest = self._clock() - IDLE_S
        self._sessions = {code: each for code, each in self._sessions.items() if each.used_at > oldest}


def _new_code(taken: dict[str, ClassSession]) -> str:
    while True:
        code = "".join(secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH))
        if code not in taken:
            return code


def _bytes_of(cases: Sequence[Case]) -> int:
    return sum(each.pixels.nbytes for case in cases for each in case.slices)
