"""The talk with a worker of `decoder_pool`: how requests are sent and responses received, and how long a worker is waited for.

On a busy machine a clock on the wall says nothing: the worker may have had no processor, or this process none to take what was
sent. A worker is waited for while bytes move, while it uses processor time (which the system limits), and while it only waits for
a processor. One that lies still is given up. Time is counted in looks at the worker, so that a pause of this process is none of it.
"""

import contextlib
import struct

from kidney_core.imaging.decoder_pool import Worker

REQUEST = struct.Struct("!IQ")  # bytes of JSON, bytes of the file: 0 to use the previous file again
RESPONSE = struct.Struct("!IQ")  # bytes of JSON, bytes of pixels
STILL_S = 10.0  # a worker that does nothing for so long hangs
_STILL_DELIVERING_S = 60.0  # one that has begun to respond has its result, and may have been stopped from outside
_STILL_IN_ALL_S = 120.0  # so that nobody is held up by a worker that sends a byte from time to time
_STARVED_S = 600.0  # without a processor at all
_LOOK_S = 0.5


class WorkerDied(Exception):
    """The worker ended, or its response is invalid."""


class Patience:
    """How long one request is waited for."""

    def __init__(self, process_id: int, processor_s: float) -> None:
        import psutil

        self._allowed_s = processor_s
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.Error, ValueError):
            self._process = psutil.Process(process_id)
        self._begin_s = self._used_s = self._processor_time() or 0.0
        self._still_s = self._still_in_all_s = self._starved_s = 0.0
        self.is_delivering = False

    def bytes_moved(self) -> None:
        """Something was sent or received, which is life."""
        self._still_s = self._starved_s = 0.0

    def look(self) -> None:
        """To be called when nothing moved for `_LOOK_S`. Raises TimeoutError for a worker that hangs."""
        import psutil

        status, used_s = "", self._processor_time()
        with contextlib.suppress(psutil.Error):
            status = self._process.status() if self._process else ""
        if used_s is not None and used_s > self._used_s:
            self._used_s = used_s
            self.bytes_moved()
        elif status in (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP):  # it is next in line, or waits for memory
            self._starved_s += _LOOK_S
        else:
            self._still_s += _LOOK_S
            self._still_in_all_s += _LOOK_S
        limit_s = max(STILL_S, _STILL_DELIVERING_S) if self.is_delivering else STILL_S
        if self._still_s >= limit_s:
            raise TimeoutError(f"{limit_s:g} s")
        if self._still_in_all_s >= _STILL_IN_ALL_S:
            raise TimeoutError(f"{_STILL_IN_ALL_S:g} s")
        if self._starved_s >= _STARVED_S:
            raise TimeoutError(f"{_STARVED_S:g} s, since the machine is too busy")

    def ended_at_its_limit(self) -> bool:
        """Whether a worker that ended had used all the processor time of its task; the system then kills it."""
        used_s = self._processor_time() or self._used_s  # a process that nobody has waited for still tells
        return used_s - self._begin_s >= self._allowed_s - _LOOK_S

    def _processor_time(self) -> float | None:
        import psutil

        with contextlib.suppress(psutil.Error):
            if self._process:
                return float(sum(self._process.cpu_times()[:2]))  # of the user and the system
        return None


def send(worker: Worker, message: bytes, patience: Patience) -> None:
    """Send all bytes of a message. Raises TimeoutError, OSError."""
    view, n_sent = memoryview(message), 0
    worker.connection.settimeout(_LOOK_S)
    while n_sent < len(view):
        try:
            n_sent += worker.connection.send(view[n_sent:])
            patience.bytes_moved()
        except TimeoutError:
            patience.look()


def receive(worker: Worker, size: int, patience: Patience) -> bytearray:
    """Exactly `size` bytes. Raises TimeoutError, WorkerDied where there are fewer, OSError."""
    received = bytearray(size)
    view, n_received = memoryview(received), 0
    worker.connection.settimeout(_LOOK_S)
    while n_received < size:
        try:
            n_new = worker.connection.recv_into(view[n_received:])
        except TimeoutError:
            patience.look()
            continue
        if not n_new:
            raise WorkerDied
        n_received += n_new
        patience.is_delivering = True
        patience.bytes_moved()
    return received
