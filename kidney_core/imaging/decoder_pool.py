"""The children of this process that decode files: one server, and the workers that it forks."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from kidney_core.errors import DecoderError

FORK, KILL = 0, 1
COMMAND = struct.Struct("!BI")  # FORK with a socket, or KILL with a process id
PROCESS_ID = struct.Struct("!I")
IDLE_S = 60.0  # a worker that is not asked for so long ends
_START_S = 300.0  # patience with a server that imports its decoders on a busy machine
_ROOT = Path(__file__).resolve().parent.parent
# What the server inherits: neither tokens nor anything else that is not needed to start Python.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "VIRTUAL_ENV")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(eq=False)
class Worker:
    """A child, and the socket to it."""

    connection: socket.socket
    process_id: int
    n_served: int = 0
    content: bytes | None = None  # the file it holds, where that holds several images
    given_back_at: float = 0.0  # by the monotonic clock


class Pool:
    """The server and the workers of this process; of each core one, and two at least."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))
        self._lock = threading.Lock()  # of everything below
        self._idle: list[Worker] = []
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def place(self) -> threading.BoundedSemaphore:
        """A place among those at work, to be held while a file is decoded."""
        return self._places

    def take(self, content: bytes) -> Worker:
        """The worker that holds this file, or any idle one, or a new one."""
        with self._lock:
            if self._idle:
                known = (i for i, worker in enumerate(self._idle) if worker.content is content)
                return self._idle.pop(next(known, -1))
        return self.start_worker()

    def give_back(self, worker: Worker) -> None:
        with self._lock:
            if self._server is not None:
                worker.given_back_at = time.monotonic()
                self._idle.append(worker)
                return
        worker.connection.close()

    def rest(self) -> None:
        """Let workers go that were not asked for `IDLE_S`, with the files that are kept for them."""
        latest = time.monotonic() - IDLE_S
        with self._lock:
            rested = [worker for worker in self._idle if worker.given_back_at < latest]
            self._idle = [worker for worker in self._idle if worker.given_back_at >= latest]
        for worker in rested:
            worker.connection.close()

    def end(self, worker: Worker) -> None:
        """End a worker for good, also one that hangs."""
        worker.connection.close()
        with self._lock, contextlib.suppress(OSError):
            if self._control is not None:
                self._control.sendall(COMMAND.pack(KILL, worker.process_id))

    def start_worker(self) -> Worker:
        """A new worker, forked from the server. Raises DecoderError."""
        for is_last in (False, True):  # a server that was ended from outside is started again
            self.start_server()
            try:
                return self._fork()
            except OSError as error:
                self.close()
                if is_last:
                    raise DecoderError(
                        "The process that decodes images does not start. Free some memory, and start the workbench again."
                    ) from error
        raise AssertionError  # not reached

    def _fork(self) -> Worker:
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                if self._control is None:
                    raise ConnectionError
                socket.send_fds(self._control, [COMMAND.pack(FORK, 0)], [theirs.fileno()])
                answer = self._control.recv(PROCESS_ID.size, socket.MSG_WAITALL)
                return Worker(ours, PROCESS_ID.unpack(answer)[0])
        except (OSError, struct.error) as error:
            ours.close()
            raise ConnectionError from error

    def start_server(self) -> None:
        """Start the server where there is none. Raises DecoderError."""
        with self._lock:
            if self._server is not None:
                return
            ours, theirs = socket.socketpair()
            ours.settimeout(_START_S)
            try:
                self._server = subprocess.Popen(
                    [sys.executable, "-m", "kidney_core.decoder_server", str(theirs.fileno())],
                    cwd=_ROOT,
                    env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _ONE_THREAD,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # a decoder's complaint may quote the patient
                    start_new_session=True,  # Ctrl+C is for this process, which then ends it
                )
                self._control = ours
            except OSError as error:
                ours.close()
                raise DecoderError(
                    f"The process that decodes images cannot be started ({error.strerror}). Free some memory, and start "
                    "the workbench again."
                ) from error
            finally:
                theirs.close()

    def close(self) -> None:
        """End the server, which ends its workers."""
        with self._lock:
            server, control, idle = self._server, self._control, self._idle
            self._server, self._control, self._idle = None, None, []
        for worker in idle:
            worker.connection.close()
        if control is not None:
            control.close()
        if server is not None:
            try:
                server.wait(timeout=5)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()

    def forget(self) -> None:
        """In a forked child of the process that it belongs to: close what was inherited, and end nobody."""
        for worker in self._idle:
            worker.connection.close()
        if self._control is not None:
            self._control.close()
        if self._server is not None:
            self._server.returncode = 0  # not a child of this process
