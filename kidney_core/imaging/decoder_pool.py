"""The child processes that decode files: one server, and the workers that it forks."""

import contextlib
import os
import socket
import struct
import subprocess
import threading
import time
from dataclasses import dataclass

from kidney_core.common import child_process
from kidney_core.common.errors import DecoderError
from kidney_core.imaging.file_content import FileContent

FORK, KILL = 0, 1
COMMAND = struct.Struct("!BI")  # FORK with a socket, or KILL with a process id
PROCESS_ID = struct.Struct("!I")
IDLE_S = 60.0  # a worker without a request for this long ends
_START_TIMEOUT_S = 300.0  # for a server that imports its decoders on a busy machine
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(eq=False)
class Worker:
    """A worker process, and the socket to it."""

    connection: socket.socket
    process_id: int
    n_served: int = 0
    content: bytes | FileContent | None = None  # the file that it still holds, if that contains several images
    given_back_at: float = 0.0  # by the monotonic clock


class Pool:
    """The server and the workers of this process; one worker per core works at a time, and at least two."""

    def __init__(self) -> None:
        self._slots = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))
        self._lock = threading.Lock()  # guards everything below
        self._idle: list[Worker] = []
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def slot(self) -> threading.BoundedSemaphore:
        """The semaphore to hold while a file is decoded."""
        return self._slots

    def take(self, content: bytes | FileContent) -> Worker:
        """The worker that holds this file, or any idle one, or a new one. Raises DecoderError."""
        with self._lock:
            if self._idle:
                holding = (i for i, worker in enumerate(self._idle) if worker.content is content)
                return self._idle.pop(next(holding, -1))
        return self.start_worker()

    def give_back(self, worker: Worker) -> None:
        """Make a worker available again; it ends where the pool was closed in the meantime."""
        with self._lock:
            if self._server is not None:
                worker.given_back_at = time.monotonic()
                self._idle.append(worker)
                return
        worker.connection.close()

    def close_idle(self) -> None:
        """End workers that were idle for `IDLE_S`, and release the files held for them."""
        limit = time.monotonic() - IDLE_S
        with self._lock:
            expired = [worker for worker in self._idle if worker.given_back_at < limit]
            self._idle = [worker for worker in self._idle if worker.given_back_at >= limit]
        for worker in expired:
            worker.connection.close()

    def end(self, worker: Worker) -> None:
        """Kill a worker, even one that hangs."""
        worker.connection.close()
        with self._lock, contextlib.suppress(OSError):
            if self._control is not None:
                self._control.sendall(COMMAND.pack(KILL, worker.process_id))

    def start_worker(self) -> Worker:
        """A new worker, forked from the server. Raises DecoderError."""
        for is_last in (False, True):  # a server that was killed from outside is started again
            self.start_server()
            try:
                return self._fork()
            except OSError as error:
                self.close()
                if is_last:
                    raise DecoderError(
                        "The process that decodes images does not start. Free some memory and restart the workbench."
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
            ours.settimeout(_START_TIMEOUT_S)
            try:
                self._server = subprocess.Popen(
                    child_process.python_command("kidney_core.imaging.decoder_server", str(theirs.fileno())),
                    env=child_process.bare_environment(_ONE_THREAD),
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # a decoder's message may quote the patient
                    start_new_session=True,  # Ctrl+C goes to this process only, which then ends the server
                )
                self._control = ours
            except OSError as error:
                ours.close()
                raise DecoderError(
                    f"The process that decodes images cannot be started ({error.strerror}). Free some memory and restart "
                    "the workbench."
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

    def close_inherited(self) -> None:
        """Close the inherited sockets in a forked child; the processes belong to the parent and are not ended."""
        for worker in self._idle:
            worker.connection.close()
        if self._control is not None:
            self._control.close()
        if self._server is not None:
            self._server.returncode = 0  # not a child of this process
