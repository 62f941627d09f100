"""Resource limits of child processes, and their end when the parent dies."""

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # Source: prctl(2), <linux/prctl.h>
_MAX_ADDRESS_SPACE_BYTES = 1536 * 1024**2
_MAX_OPEN_FILES = 64


def die_with_parent() -> None:
    """Ask the system to kill this process when its parent dies in any way (Linux; no effect elsewhere).

    Linux counts the thread that started this process as its parent, so the end of that thread kills it too.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent died before the call
        os.kill(os.getpid(), signal.SIGKILL)


def confine(*, address_space: bool = True) -> None:
    """Restrict this process permanently to what decoding a file needs.

    1.5 GiB of address space, 64 open files, no written file, no core dump, no new privileges, and the first to be
    killed where the machine runs out of memory.

    Args:
        address_space: False for a process with a library that reserves more than it uses, such as torch.
    """
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):  # a container may mount /proc read-only
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if address_space:
        _set(resource.RLIMIT_AS, _MAX_ADDRESS_SPACE_BYTES, _MAX_ADDRESS_SPACE_BYTES)
    for kind, limit in (
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _set(kind, limit, limit)


def allow(*, memory_bytes: int, cpu_s: float) -> None:
    """Set the limits of the next task: bytes of data in total (Linux), and seconds of processor time from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _set(resource.RLIMIT_DATA, memory_bytes)
    _set(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + cpu_s) + 1)


def _set(kind: int, soft: int, hard: int | None = None) -> None:
    """Lower a limit as far as possible: macOS has no limit of addresses, and a limit may already be lower."""
    current = resource.getrlimit(kind)[1]
    ceiling = current if hard is None else hard
    if current != resource.RLIM_INFINITY:
        soft, ceiling = min(soft, current), min(ceiling, current)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (soft, ceiling))
