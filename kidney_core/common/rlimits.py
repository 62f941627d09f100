"""What a child process may use, and when it ends."""

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # Source: prctl(2), <linux/prctl.h>
_MAX_ADDRESSES = 1536 * 1024**2  # bytes of address space
_MAX_OPEN_FILES = 64


def die_with_parent() -> None:
    """Let the system kill this process when its parent dies, however that ends (Linux; elsewhere nothing).

    The parent is the thread that started this process: a thread that ends takes its children with it.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died in between
        os.kill(os.getpid(), signal.SIGKILL)


def confine() -> None:
    """Take from this process, for good, what decoding an image never needs.

    1.5 GB of address space and 64 open files; it writes no file and no core dump, gains no privileges, and is the
    first that the system ends where memory is short.
    """
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):  # a container may mount /proc read-only
            Path("/proc/self/oom_score_adj").write_text("1000")
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for kind, limit in (
        (resource.RLIMIT_AS, _MAX_ADDRESSES),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _set(kind, limit, limit)


def allow(*, memory_bytes: int, cpu_s: float) -> None:
    """What the next task may use: bytes of data in all (Linux), and seconds of processor time from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _set(resource.RLIMIT_DATA, memory_bytes)
    _set(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + cpu_s) + 1)


def _set(kind: int, soft: int, hard: int | None = None) -> None:
    """Lower a limit as far as the system lets it: macOS knows no limit of addresses, and a limit may be lower already."""
    present = resource.getrlimit(kind)[1]
    ceiling = present if hard is None else hard
    if present != resource.RLIM_INFINITY:
        soft, ceiling = min(soft, present), min(ceiling, present)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (soft, ceiling))
