"""Who was killed, who ended and of what: the log by which an end is laid to the kill that caused it.

The system tells of an end when it happens (a pidfd becomes readable), so that the log has the order of things however
busy the machine is: an end that comes late is laid to its cause, not to the kill after which somebody looked.
"""

import contextlib
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

import psutil

from tests.hardness import workplace

_LOOK_S = 0.1  # how often the watching thread looks for further processes


@dataclass
class Life:
    """One process since it was first seen.

    Attributes:
        name: what it is, such as “decoder server of app”.
        above: the processes that it was started by, the nearest first.
        killed_s, ended_s: when a kill was sent to it, and when it ended, in seconds of the log.
        how: exit status or signal of its end, where the system tells it to this process.
        last_words: of what it printed.
    """

    name: str
    process: psutil.Process
    above: list[psutil.Process]
    words: Callable[[], str]
    killed_s: float | None = None
    ended_s: float | None = None
    how: str = ""
    last_words: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.process.pid}"

    def was_killed_before(self, moment_s: float) -> bool:
        return self.killed_s is not None and self.killed_s <= moment_s


class Log:
    """The lives that are followed, and in `lines` the kills and ends in their order, with times."""

    def __init__(self, written: IO[str] | None = None) -> None:
        """Write the lines as they come, too."""
        self.lines: list[str] = []
        self._written = written
        self.lives: dict[psutil.Process, Life] = {}
        self._began = time.monotonic()
        self._ends = selectors.DefaultSelector()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Log":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        for key in list(self._ends.get_map().values()):
            os.close(key.fd)
        self._ends.close()

    def follow(self, name: str, process: psutil.Process, words: Callable[[], str] = str) -> None:
        """Follow a process until its end; one that has ended already is not known.

        Args:
            words: the last that it printed, asked when it has ended.
        """
        if process in self.lives:
            return
        try:
            life, descriptor = Life(name, process, process.parents(), words), os.pidfd_open(process.pid)
        except (psutil.Error, ProcessLookupError):
            return
        self.lives[process] = life
        self._note(f"{life} is followed, started by {life.above[0].pid if life.above else 'nobody'}")
        self._ends.register(descriptor, selectors.EVENT_READ, life)

    def kill(self, process: psutil.Process) -> bool:
        """Send SIGKILL; False where the process had ended by itself."""
        life = self.lives.get(process)
        if life is None or life.ended_s is not None:
            return False
        sent_s = self._now()
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            return False
        life.killed_s = sent_s if life.killed_s is None else life.killed_s
        self._note(f"SIGKILL to {life}")
        return True

    def wait(self, process: psutil.Process, seconds: float) -> bool:
        """Whether a process ends in that time."""
        return workplace.wait_for(lambda: self.lives[process].ended_s is not None, seconds)

    def ended(self) -> list[Life]:
        """Those that have ended, in that order."""
        found = [life for life in list(self.lives.values()) if life.ended_s is not None]
        return sorted(found, key=lambda life: life.ended_s or 0)

    def killed_below(self, life: Life) -> list[Life]:
        """Those below a process that has ended which were killed before it did."""
        lives = list(self.lives.values())
        return [each for each in lives if life.process in each.above and each.was_killed_before(life.ended_s or 0)]

    def around(self, life: Life, n_lines: int = 12) -> str:
        """The lines of the log up to the end of a process."""
        last = next(number for number, line in enumerate(self.lines) if f" {life} ended" in line)
        return "\n    ".join(self.lines[max(0, last - n_lines) : last + 1])

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _note(self, what: str) -> None:
        self.lines.append(f"{self._now():9.3f} {what}")
        if self._written:
            print(self.lines[-1], file=self._written, flush=True)

    def _watch(self) -> None:
        while not self._is_over.is_set():
            for key, _ in self._ends.select(_LOOK_S):
                life: Life = key.data
                ended_s, life.how, life.last_words = self._now(), _how(key.fd), life.words()
                self._note(f"{life} ended, {life.how}; it said last: {life.last_words or 'nothing'}")
                life.ended_s = ended_s
                self._ends.unregister(key.fd)
                os.close(key.fd)


def _how(descriptor: int) -> str:
    """How a child ended, which can still be asked for afterwards."""
    with contextlib.suppress(ChildProcessError):  # not of this process, or asked for already
        told = os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if told is not None:
            return f"{'exit status' if told.si_code == os.CLD_EXITED else 'signal'} {told.si_status}"
    return "how is not told"
