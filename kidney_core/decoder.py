"""A file is decoded in a child process with limits: whatever the file does there, this process goes on.

    this process ──asks for workers──> server (`decoder_server`, one for each process, forks at once) ──> workers
         └──────────── one socket to each worker: the file goes in, fields and pixels come back ────────────┘

A worker serves file after file. One that met a damaged file is ended all the same, since what misled a decoder may have
overwritten its memory; one that dies or stalls costs a sentence about the file it died of, and the next file gets another.
The child is the hostile side: its answer is JSON and bytes of a bounded size, never a pickle, and who asks checks
every field. Nothing is written to disk. Server and workers end when this process ends, however that happens.
"""

import atexit
import contextlib
import json
import os
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kidney_core import errors
from kidney_core.decoder_pool import Pool, Worker
from kidney_core.errors import SliceError, UnreadableSlice, UnsupportedSlice

TIMEOUT_S = 10.0
_STARVED_TIMEOUT_S = 60.0  # for a child that waits for a processor, of which it has its share in any case:
_PROCESSOR_S = {"decode": 8.0, "count": 3.0, "place": 3.0, "patient": 3.0}  # an upload is placed, then decoded
REQUEST = struct.Struct("!IQ")  # bytes of JSON, bytes of the file: none for the file before
ANSWER = struct.Struct("!IQ")  # bytes of JSON, bytes of pixels
_MAX_FIELDS_BYTES = 8 * 1024**2  # the places of 3,000 frames are one
_MAX_MESSAGE = 2_000  # characters of a sentence
_MAX_SERVED = 500  # files of one worker: what leaks in a decoder ends with it


_T = TypeVar("_T")


@dataclass(frozen=True)
class Answer:
    """What a child says of a file: both parts are to be checked by who asked.

    Attributes:
        fields: a JSON object.
        payload: the bytes that go with it, such as pixels.
    """

    fields: dict[str, Any]
    payload: bytearray = field(repr=False)


def ask(
    task: str,
    content: bytes,
    read: Callable[[Answer], _T],
    *,
    name: str,
    max_payload_bytes: int = 0,
    **options: Any,
) -> _T:
    """Let a child do a task of `decoder_server.TASKS` on a file.

    Args:
        content: the file. Who asks again about the same object, such as for its next frame, sends it once.
        read: what checks the answer and makes something of it; a KeyError, TypeError or ValueError says that it is none.
        name: what the file is called in messages.
        max_payload_bytes: the largest payload that is taken.
        options: of the task, JSON values.

    Raises:
        SliceError: what the task raised, with its sentence.
        UnreadableSlice: the file crashed its decoder, or took longer than 10 s (then from a TimeoutError).
        DecoderError: no child can be started.
    """
    question = _question(task, [name], [content], max_payload_bytes, options)
    with _pool.place():
        worker = _pool.take(content)
        try:
            if worker.n_served:
                # A death may be of an earlier file, or of idleness: a child that is new tells.
                with contextlib.suppress(_ChildDied):
                    return _exchange(worker, question, _first(read))
                worker = _pool.start_worker()
            # Also a new one may have been killed from outside, first of all where memory is short: a file is damaged
            # where two of them die of it.
            with contextlib.suppress(_ChildDied):
                return _exchange(worker, question, _first(read))
            return _exchange(_pool.start_worker(), question, _first(read))
        except TimeoutError as error:
            raise UnreadableSlice(
                f"“{name}” was given up: decoding it took longer than {error}. Export or copy the file again."
            ) from error
        except _ChildDied as error:
            raise UnreadableSlice(
                f"“{name}” is damaged so that it crashes its decoder, which runs apart from the workbench. Export or copy "
                "the file again, if possible uncompressed."
            ) from error


def ask_of_each(
    task: str,
    contents: Sequence[bytes],
    read: Callable[[int, Answer], _T],
    *,
    names: Sequence[str],
    max_payload_bytes: int = 0,
    **options: Any,
) -> list[_T | None]:
    """`ask` of several small files at once, which costs a fraction of asking one after the other.

    Args:
        read: as of `ask`, given the position of the file too.

    Returns: what was made of each file; None of those to ask about alone, since something is wrong with them or with
    another one.
    """
    question = _question(task, names, contents, max_payload_bytes, options)

    def read_each(answers: list[Answer]) -> list[_T | None]:
        if len(answers) != len(contents):
            raise ValueError(f"there must be {len(contents)} answers, got {len(answers)}")
        return [None if "error" in each.fields else read(i, each) for i, each in enumerate(answers)]

    with _pool.place():
        try:
            return _exchange(_pool.take(question.content), question, read_each)
        except (TimeoutError, _ChildDied):
            return [None] * len(contents)


def _question(
    task: str, names: Sequence[str], contents: Sequence[bytes], max_payload_bytes: int, options: dict[str, Any]
) -> "_Question":
    told = {"task": task, "names": names, "sizes": [*map(len, contents)], "options": options}
    whole = contents[0] if len(contents) == 1 else b"".join(contents)
    processor_s = _PROCESSOR_S[task]
    return _Question(json.dumps({**told, "processor_s": processor_s}).encode(), whole, processor_s, max_payload_bytes)


def _first(read: Callable[[Answer], _T]) -> Callable[[list[Answer]], _T]:
    """What makes something of the one answer, or raises the error that it tells."""

    def read_one(answers: list[Answer]) -> _T:
        (answer,) = answers
        if "error" in answer.fields:
            raise _error(answer.fields["error"])
        return read(answer)

    return read_one


def start() -> None:
    """Start the server, if there is none, without waiting for it: the first file then finds it warm."""
    _pool.start_server()


def rest() -> None:
    """Let go of workers that nobody asks; to be called from time to time where a process lives long."""
    _pool.rest()


def stop() -> None:
    """End the server and every worker of this process; the next file starts them anew."""
    _pool.close()


class _ChildDied(Exception):
    """The child ended, or answers what no sound child answers."""


@dataclass(frozen=True)
class _Question:
    request: bytes = field(repr=False)
    content: bytes = field(repr=False)
    processor_s: float
    max_payload_bytes: int


def _exchange(worker: Worker, question: _Question, read: Callable[[list[Answer]], _T]) -> _T:
    """Files there, and what was made of the answers; the worker returns to the pool only where all went well.

    Raises: SliceError, TimeoutError, _ChildDied.
    """
    kept = False
    try:
        answers = _talk(worker, question)
        # A refused kind of file has misled no decoder.
        kept = worker.n_served < _MAX_SERVED and all(
            each.fields.get("error", [UnsupportedSlice.__name__])[0] == UnsupportedSlice.__name__ for each in answers
        )
        value = read(answers)
        if len(answers) == 1 and answers[0].fields.get("n_frames", 1) > 1:
            worker.content = question.content
        return value
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        kept = False
        raise _ChildDied from error
    finally:
        if kept:
            _pool.give_back(worker)
        else:
            _pool.end(worker)


def _talk(worker: Worker, question: _Question) -> list[Answer]:
    """Raises: TimeoutError, _ChildDied."""
    started = time.monotonic()
    content = b"" if worker.content is question.content else question.content  # no content: the one that is held
    if content:
        worker.content = None
    worker.n_served += 1
    try:
        _send(worker, REQUEST.pack(len(question.request), len(content)) + question.request, started)
        _send(worker, content, started)
        n_fields, n_payload = ANSWER.unpack(_receive(worker, ANSWER.size, started))
        if n_fields > _MAX_FIELDS_BYTES or n_payload > question.max_payload_bytes:
            raise _ChildDied
        told = json.loads(_receive(worker, n_fields, started))
        payload = _receive(worker, n_payload, started)
    except TimeoutError:
        raise
    except (OSError, ValueError, RecursionError, _ChildDied) as error:
        if time.monotonic() - started > question.processor_s:  # the system ended it at its limit
            raise TimeoutError(f"{question.processor_s:g} s of a processor") from error
        raise _ChildDied from error
    answers, position = [], 0
    for fields, size in told:
        answers.append(Answer(dict(fields), payload[position : position + size] if len(told) > 1 else payload))
        position += size
    if position != len(payload):
        raise ValueError(f"the parts of the payload must be {len(payload)} bytes, got {position}")
    return answers


def _send(worker: Worker, message: bytes, started: float) -> None:
    view, done = memoryview(message), 0
    while done < len(view):
        worker.connection.settimeout(_patience(worker, started))
        with contextlib.suppress(TimeoutError):
            done += worker.connection.send(view[done:])


def _receive(worker: Worker, size: int, started: float) -> bytearray:
    """Exactly so many bytes. Raises TimeoutError, _ChildDied where there are fewer."""
    received = bytearray(size)
    view, done = memoryview(received), 0
    while done < size:
        worker.connection.settimeout(_patience(worker, started))
        try:
            got = worker.connection.recv_into(view[done:])
        except TimeoutError:
            continue
        if not got:
            raise _ChildDied
        done += got
    return received


def _patience(worker: Worker, started: float) -> float:
    """How many seconds to wait on. Raises TimeoutError where there are none left."""
    waited = time.monotonic() - started
    if waited < TIMEOUT_S:
        return TIMEOUT_S - waited
    import psutil

    with contextlib.suppress(psutil.Error):
        status = psutil.Process(worker.process_id).status()
        if waited < _STARVED_TIMEOUT_S and status in (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP):
            return 0.5
    raise TimeoutError(f"{TIMEOUT_S:g} s")


def _error(told: Any) -> Exception:
    """The error that a child tells as [class, sentence], or _ChildDied where that is none of ours."""
    if isinstance(told, list) and len(told) == 2 and all(isinstance(each, str) for each in told):
        kind = getattr(errors, told[0], None)
        if isinstance(kind, type) and issubclass(kind, SliceError):
            return kind(told[1][:_MAX_MESSAGE])
    return _ChildDied()


_pool = Pool()


def _forget() -> None:
    """A forked child of this process starts a server of its own: two must not talk to one worker."""
    global _pool
    inherited, _pool = _pool, Pool()
    inherited.forget()


atexit.register(stop)
os.register_at_fork(after_in_child=_forget)
