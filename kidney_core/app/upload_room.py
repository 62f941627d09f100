"""How much room uploads have: per session, per person and over all sessions, and what is said to those who find none.

A session may hold Streamlit's setting `server.maxUploadSize` (MB), which Streamlit itself keeps for each single file.
All sessions together may hold $KIDNEY_UPLOADS_GB, and no person more of that than is left for all others: so whoever
comes late finds room, and one person with a hundred sessions gets what one person gets.
"""

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import streamlit as st

from kidney_core.app import access
from kidney_core.common import settings
from kidney_core.common.errors import PathError

MIB = 1024**2
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container; "max" for none
_FRAMING_BYTES = 4096  # of a body, beside its file: boundaries and names
_STORED_FOR_S = 0.5  # a count of what is stored is used again so long; what arrives meanwhile is counted at once
_SECONDS_OF_A_BATCH = 3.0  # files that are uploaded together begin within so long
SESSION_FULL, ALL_FULL, STALLED = "session full", "all full", "stalled"


def limit_bytes() -> int:
    """What one session may hold of uploads."""
    return int(st.get_option("server.maxUploadSize")) * MIB


def total_bytes() -> int:
    """What all sessions together may hold of uploads: $KIDNEY_UPLOADS_GB gigabytes (10^9 bytes).

    Raises: PathError where the variable is not a number above 0.
    """
    named = settings.UPLOADS_GB.value()
    if not named:
        return max(_memory_bytes() // 4, 2 * limit_bytes())
    return settings.gigabytes_in_bytes(settings.UPLOADS_GB, named, error=PathError, example=4)


@functools.cache
def _memory_bytes() -> int:
    """The memory of this machine, or of the container."""
    try:
        allowed = int(_CGROUP_LIMIT.read_text(encoding="ascii"))
    except (OSError, ValueError):
        allowed = 2**63
    return min(allowed, psutil.virtual_memory().total)


class Room:
    """Who holds how much, of files that are stored and of bodies that are arriving.

    For others, bytes count once they have arrived; for the session that announced them, at once: its files are accepted
    in the order in which they begin, and nobody else is stopped by what is only announced.

    Args:
        stored: gives the bytes that are stored, by session.
    """

    def __init__(self, stored: Callable[[], Mapping[str, int]]) -> None:
        self._count_stored = stored
        self._stored: Mapping[str, int] = {}
        self._stored_at = 0.0
        self._arrivals: dict[str, list[Arrival]] = {}  # by session
        self._people: dict[str, str] = {}  # session -> the name of its person
        self._refused: dict[str, Counter[str]] = {}  # session -> why files were refused, and how many
        self._refused_at: dict[str, float] = {}
        self._lock = threading.Lock()  # pages ask and forget in their own threads

    @contextmanager
    def arriving(self, session: str, person: str, length: int) -> Iterator["Arrival"]:
        """While a body of that length arrives for a session; where it finds no room, `problem` of what is given says why."""
        with self._lock:
            self._people[session] = person
        self._forget_if_new(session)
        self._recount()
        arrival = Arrival(self, session, length)
        arrival.problem = self._problem_of(arrival)
        self._arrivals.setdefault(session, []).append(arrival)
        try:
            yield arrival
        finally:
            self.release(arrival)

    def release(self, arrival: "Arrival") -> None:
        """Count a body no longer: it is stored, or dropped."""
        arrivals = self._arrivals.get(arrival.session, [])
        if arrival in arrivals:
            arrivals.remove(arrival)
            self._recount()
            if not arrivals:
                del self._arrivals[arrival.session]

    def is_full(self, session: str, n_bytes: int) -> bool:
        """Whether so many bytes more for a session were more than is left for its person."""
        if time.monotonic() - self._stored_at > _STORED_FOR_S:
            self._recount()
        held = Counter(self._stored)
        for each, arrivals in self._arrivals.items():
            held[each] += sum(arrival.n_bytes for arrival in arrivals)
        person = self._people.get(session, access.LOCAL)
        # Without log-in all are the person at the machine: there, each session counts for itself.
        theirs = (
            {session} if person == access.LOCAL else {each for each, name in self._people.items() if name == person}
        )
        by_person = sum(n for each, n in held.items() if each in theirs) + n_bytes
        return by_person > total_bytes() - held.total() - n_bytes

    def _problem_of(self, arrival: "Arrival") -> str:
        """Why there is no room for a body that begins; "" where there is."""
        others = self._arrivals.get(arrival.session, ())
        announced = arrival.length + sum(each.length for each in others if not each.problem)
        if self._stored.get(arrival.session, 0) + announced > limit_bytes():
            return SESSION_FULL
        outstanding = announced - sum(each.n_bytes for each in others)
        return ALL_FULL if self.is_full(arrival.session, outstanding) else ""

    def _recount(self) -> None:
        self._stored, self._stored_at = self._count_stored(), time.monotonic()

    def refuse(self, session: str, reason: str) -> None:
        """Remember for `told` that a file was refused."""
        with self._lock:
            self._refused.setdefault(session, Counter())[reason] += 1
            self._refused_at[session] = time.monotonic()

    def told(self, session: str) -> str:
        """Sentences about the files of a session that were refused; empty for none."""
        return " ".join(_told(reason, n) for reason, n in self._refused.get(session, Counter()).items())

    def forget_refusals(self, session: str) -> None:
        """Tell no more of the files that were refused."""
        with self._lock:
            self._refused.pop(session, None)

    def sessions(self) -> set[str]:
        """All sessions that something is known of."""
        with self._lock:
            return {*self._people, *self._refused, *self._refused_at}

    def forget(self, sessions: Collection[str]) -> None:
        """Forget sessions that have ended."""
        with self._lock:
            for kept in (self._people, self._refused, self._refused_at):
                for session in sessions:
                    kept.pop(session, None)

    def _forget_if_new(self, session: str) -> None:
        """What was refused of an earlier choice of files is told no longer."""
        age_s = time.monotonic() - self._refused_at.get(session, -_SECONDS_OF_A_BATCH)
        if age_s >= _SECONDS_OF_A_BATCH and not self._count_stored().get(session) and session not in self._arrivals:
            self.forget_refusals(session)


class Arrival:
    """A body that arrives.

    Attributes:
        session: for which.
        length: of its file, as announced.
        n_bytes: that have arrived.
        problem: why there is no room for it; "" where there is.
    """

    def __init__(self, room: Room, session: str, length: int) -> None:
        self._room = room
        self.session, self.length = session, max(0, length - _FRAMING_BYTES)
        self.n_bytes = 0
        self.problem = ""

    def take(self, n_bytes: int) -> str:
        """Count bytes that have arrived, where there is room; why there is none, or ""."""
        if self.n_bytes + n_bytes > self.length + _FRAMING_BYTES:
            self.problem = SESSION_FULL
        elif self._room.is_full(self.session, n_bytes):
            self.problem = ALL_FULL
        else:
            self.n_bytes += n_bytes
        return self.problem

    def release(self) -> None:
        """Count it no longer: it is stored, or dropped."""
        self._room.release(self)

    def refuse(self, reason: str) -> str:
        """Remember that it was refused; sentences about all files of its session that were."""
        self.problem = reason
        self._room.refuse(self.session, reason)
        return self._room.told(self.session)


def _told(reason: str, n_files: int) -> str:
    what = "One file was" if n_files == 1 else f"{n_files:,} files were"
    if reason == STALLED:
        return f"{what} not accepted: the upload stalled. Try again."
    if reason == ALL_FULL:
        return (
            f"{what} not accepted: all visitors together can hold {total_bytes() / 1e9:.3g} GB of uploads, and no more of that is "
            f"left for you. Try again in a few minutes. The administrator can raise the limit ({settings.UPLOADS_GB.name})."
        )
    return (
        f"{what} not accepted: one visitor can upload {limit_bytes() // MIB} MB in total. Remove some files, or zip the scan, "
        "which roughly halves its size. The administrator can raise the limit (server.maxUploadSize)."
    )
