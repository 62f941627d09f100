"""Decode files in sandboxed child processes: whatever a hostile file does there, this process goes on.

    this process ──requests workers──> server (`decoder_server`, one per process, forks quickly) ──> workers
         └──────── one socket to each worker: a file is sent, JSON fields and pixels come back ─────────┘

A worker decodes one file after another. After a damaged file it is ended, since what misled its decoder may have
overwritten its memory. A worker that dies or hangs costs an error about its file, and the next file gets a new worker.
The child is not trusted: its response is JSON and bytes of bounded size, never a pickle, and the caller checks every
field. Nothing is written to disk. Server and workers end when this process ends, in whatever way.
"""

import atexit
import contextlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kidney_core.common import errors
from kidney_core.common.errors import SliceError, UnreadableSlice, UnsupportedSlice
from kidney_core.imaging.decoder_pool import Pool, Worker
from kidney_core.imaging.decoder_wire import REQUEST, RESPONSE, Patience, WorkerDied, receive, send
from kidney_core.imaging.file_content import FileContent, bytes_of

_PROCESSOR_S = {  # per task
    "decode": 8.0,
    "count": 3.0,
    "position": 3.0,
    "volume": 8.0,
    "patient": 3.0,
    "geometry": 3.0,
}
# More for each byte to decode: a lossless JPEG 2000 of 64 megapixels (50 MB) takes 10 s, a slice of a scan 0.05 s.
_DECODING_S_PER_BYTE, _MAX_DECODING_S = 0.25e-6, 30.0
_MAX_FIELDS_BYTES = 8 * 1024**2  # the positions of 3,000 frames take 1 MB
_MAX_MESSAGE = 2_000  # characters of an error message
_MAX_SERVED = 500  # files per worker, so that a memory leak in a decoder stays bounded


_T = TypeVar("_T")


@dataclass(frozen=True)
class Response:
    """The response of a child for one file, not checked yet.

    Attributes:
        fields: a JSON object.
        payload: the bytes that belong to it, such as pixels.
    """

    fields: dict[str, Any]
    payload: bytearray = field(repr=False)


def run_task(
    task: str,
    content: bytes | FileContent,
    read: Callable[[Response], _T],
    *,
    name: str,
    max_payload_bytes: int = 0,
    **options: Any,
) -> _T:
    """Run a task of `decoder_server.TASKS` on a file in a child process.

    Args:
        content: the file. The same object in the next call, such as for another frame, is neither read nor sent again.
        read: checks the response and converts it; KeyError, TypeError or ValueError mean that the response is invalid.
        name: the name of the file in messages.
        max_payload_bytes: the largest payload that is accepted.
        options: keyword arguments of the task, JSON values.

    Returns: the value of `read`.

    Raises:
        SliceError: the error that the task raised.
        UnreadableSlice: the file crashed its decoder, took too much processor time or hung (then from a TimeoutError).
        DecoderError: no child can be started.
    """
    request = _request(task, [name], [_size(content)], content, max_payload_bytes, options)
    with _pool.slot():
        worker = _pool.take(content)
        try:
            if worker.n_served:
                # A used worker may have died of an earlier file or of idleness: a new one decides.
                with contextlib.suppress(WorkerDied):
                    return _exchange(worker, request, _read_single(read))
                worker = _pool.start_worker()
            # A new one may also have been killed from outside, for example where memory is short: the file is
            # considered damaged only where two new workers die of it.
            with contextlib.suppress(WorkerDied):
                return _exchange(worker, request, _read_single(read))
            return _exchange(_pool.start_worker(), request, _read_single(read))
        except TimeoutError as error:
            raise UnreadableSlice(
                f"“{name}” could not be decoded: it took longer than {error}. Export or copy the file again."
            ) from error
        except WorkerDied as error:
            raise UnreadableSlice(
                f"“{name}” is damaged and crashes its decoder, which runs in a process of its own. Export or copy the "
                "file again, if possible uncompressed."
            ) from error


def run_task_on_files(
    task: str,
    contents: Sequence[bytes],
    read: Callable[[int, Response], _T],
    *,
    names: Sequence[str],
    max_payload_bytes: int = 0,
    **options: Any,
) -> list[_T | None]:
    """Run a task on several small files in one request, which is several times faster than one by one.

    Args:
        read: as in `run_task`, called with the index of the file and its response.

    Returns: one value per file; None where the file must be run on its own, since it or another one failed.

    Raises: DecoderError as `run_task`.
    """
    joined = contents[0] if len(contents) == 1 else b"".join(contents)
    request = _request(task, names, [len(content) for content in contents], joined, max_payload_bytes, options)

    def read_each(responses: list[Response]) -> list[_T | None]:
        if len(responses) != len(contents):
            raise ValueError(f"there must be {len(contents)} responses, got {len(responses)}")
        return [None if "error" in each.fields else read(i, each) for i, each in enumerate(responses)]

    with _pool.slot():
        try:
            return _exchange(_pool.take(request.content), request, read_each)
        except (TimeoutError, WorkerDied):
            return [None] * len(contents)


def _request(
    task: str,
    names: Sequence[str],
    sizes: list[int],
    content: bytes | FileContent,
    max_payload_bytes: int,
    options: dict[str, Any],
) -> "_Request":
    processor_s = _PROCESSOR_S[task]
    if task == "decode":
        processor_s = min(processor_s + _DECODING_S_PER_BYTE * sum(sizes), _MAX_DECODING_S)
    header = {"task": task, "names": names, "sizes": sizes, "options": options, "processor_s": processor_s}
    return _Request(json.dumps(header).encode(), content, processor_s, max_payload_bytes)


def _size(content: bytes | FileContent) -> int:
    return content.size if isinstance(content, FileContent) else len(content)


def _read_single(read: Callable[[Response], _T]) -> Callable[[list[Response]], _T]:
    """A reader of a list with one response; it raises the error that the response holds."""

    def read_one(responses: list[Response]) -> _T:
        (response,) = responses
        if "error" in response.fields:
            raise _error(response.fields["error"])
        return read(response)

    return read_one


def start() -> None:
    """Start the server if there is none, without waiting, so that the first file finds it ready. Raises DecoderError."""
    _pool.start_server()


def close_idle_workers() -> None:
    """End workers that are no longer used; a long-lived process calls this from time to time."""
    _pool.close_idle()


def stop() -> None:
    """End the server and every worker of this process; the next file starts new ones."""
    _pool.close()


@dataclass(frozen=True)
class _Request:
    header: bytes = field(repr=False)
    content: bytes | FileContent = field(repr=False)
    processor_s: float
    max_payload_bytes: int


def _exchange(worker: Worker, request: _Request, read: Callable[[list[Response]], _T]) -> _T:
    """Send a request and read its responses; the worker returns to the pool only where nothing went wrong.

    Raises: SliceError, TimeoutError, WorkerDied.
    """
    is_reusable = False
    try:
        responses = _communicate(worker, request)
        # A file refused for its kind did not reach a decoder.
        is_reusable = worker.n_served < _MAX_SERVED and all(
            each.fields.get("error", [UnsupportedSlice.__name__])[0] == UnsupportedSlice.__name__ for each in responses
        )
        value = read(responses)
        if len(responses) == 1 and responses[0].fields.get("n_frames", 1) > 1:
            worker.content = request.content
        return value
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        is_reusable = False
        raise WorkerDied from error
    finally:
        if is_reusable:
            _pool.give_back(worker)
        else:
            _pool.end(worker)


def _communicate(worker: Worker, request: _Request) -> list[Response]:
    """Send a request and receive its responses. Raises TimeoutError, WorkerDied."""
    patience = Patience(worker.process_id, request.processor_s)
    # Empty: the worker holds this file.
    content = b"" if worker.content is request.content else bytes_of(request.content)
    if content:
        worker.content = None
    worker.n_served += 1
    try:
        send(worker, REQUEST.pack(len(request.header), len(content)) + request.header, patience)
        send(worker, content, patience)
        n_fields_bytes, n_payload_bytes = RESPONSE.unpack(receive(worker, RESPONSE.size, patience))
        if n_fields_bytes > _MAX_FIELDS_BYTES or n_payload_bytes > request.max_payload_bytes:
            raise WorkerDied
        parts = json.loads(receive(worker, n_fields_bytes, patience))
        payload = receive(worker, n_payload_bytes, patience)
    except TimeoutError:
        raise
    except (OSError, ValueError, RecursionError, WorkerDied) as error:
        if patience.ended_at_its_limit():
            raise TimeoutError(f"{request.processor_s:.0f} s of processor time") from error
        raise WorkerDied from error
    responses, position = [], 0
    for fields, size in parts:
        responses.append(Response(dict(fields), payload[position : position + size] if len(parts) > 1 else payload))
        position += size
    if position != len(payload):
        raise ValueError(f"the parts of the payload must be {len(payload)} bytes, got {position}")
    return responses


def _error(value: Any) -> Exception:
    """The SliceError that a child sent as [class name, message], or WorkerDied for anything else."""
    if isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value):
        kind = getattr(errors, value[0], None)
        if isinstance(kind, type) and issubclass(kind, SliceError):
            return kind(value[1][:_MAX_MESSAGE])
    return WorkerDied()


_pool = Pool()


def _start_afresh_after_fork() -> None:
    """Give a forked child of this process a pool of its own: two processes must not share a worker."""
    global _pool
    inherited, _pool = _pool, Pool()
    inherited.close_inherited()


atexit.register(stop)
os.register_at_fork(after_in_child=_start_afresh_after_fork)
