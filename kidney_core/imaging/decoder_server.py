"""The child side of `decoder`: one server that has everything imported, and the workers it forks to decode files.

The server never sees a file. A worker gives up what decoding does not need, and answers one file after the other until
its socket closes. `python -m kidney_core.decoder_server SOCKET` is started by `decoder` and by nobody else.
"""

import contextlib
import gc
import importlib
import io
import itertools
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from PIL import Image

from kidney_core import dicom, dicom_place, limits, patient_tags, raster, slices
from kidney_core.decoder import ANSWER, REQUEST
from kidney_core.decoder_pool import COMMAND, FORK, IDLE_S, KILL, PROCESS_ID
from kidney_core.errors import OversizedSlice, SliceError, UnreadableSlice

# Of data, beyond twice the file itself, which is there as it came and as it was parsed: a colour image of 50
# megapixels. What wants more is a bomb.
_WORKING_BYTES = 350 * 1024**2
# What Pillow and pydicom import at the first file that needs it.
_LATE = ("PIL.TiffImagePlugin", "gdcm", "jpeg_ls", "openjpeg", "rle")
_Told = tuple[dict[str, Any], memoryview | bytes]


def _decode(content: bytes, *, name: str, frame: int) -> _Told:
    read = dicom.decode if slices.is_dicom(content) else raster.decode
    return slices.told(read(content, name=name, frame=frame))


def _count(content: bytes, *, name: str) -> _Told:
    return {"n_images": raster.count_images(content, name=name)}, b""


def _place(content: bytes, *, name: str) -> _Told:
    return dicom_place.told(content, name=name), b""


def _patient(content: bytes, *, name: str) -> _Told:
    return patient_tags.told(content), b""


TASKS: dict[str, Callable[..., _Told]] = {
    "decode": _decode,
    "count": _count,
    "place": _place,
    "patient": _patient,
}


def main(control: socket.socket) -> None:
    """Fork and end workers as asked, until the process that asks is gone; then nothing of them is left."""
    workers: set[int] = set()
    _import_all()
    while True:
        message, sockets, _, _ = socket.recv_fds(control, COMMAND.size, 1, socket.MSG_WAITALL)
        # Reaped here and nowhere else: until then the system gives no other process the id of an ended one.
        workers -= {worker for worker in workers if os.waitpid(worker, os.WNOHANG)[0]}
        if len(message) < COMMAND.size:
            break
        command, process_id = COMMAND.unpack(message)
        if command == FORK:
            worker = os.fork()
            if worker == 0:
                control.close()
                _work(socket.socket(fileno=sockets[0]))
            workers.add(worker)
            os.close(sockets[0])
            control.sendall(PROCESS_ID.pack(worker))
        elif command == KILL and process_id in workers:
            os.kill(process_id, signal.SIGKILL)
            os.waitpid(process_id, 0)
            workers.discard(process_id)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


def _import_all() -> None:
    for name in _LATE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    Image.preinit()
    gc.collect()
    gc.freeze()  # a worker's collections then copy none of these pages


def _work(connection: socket.socket) -> None:
    """The life of a worker; it never returns."""
    status = 1
    try:
        limits.die_with_parent()
        limits.confine()
        connection.settimeout(IDLE_S)
        with contextlib.suppress(OSError, EOFError):  # asked no more, or the asker is gone
            content = b""
            while True:
                n_request, n_content = REQUEST.unpack(_exactly(connection, REQUEST.size))
                request = json.loads(_exactly(connection, n_request))
                if n_content:
                    content = b""  # freed before the next one comes
                    limits.allow(memory_bytes=_WORKING_BYTES + 2 * n_content, cpu_s=request["processor_s"])
                    content = _exactly(connection, n_content)
                limits.allow(memory_bytes=_WORKING_BYTES + 2 * len(content), cpu_s=request["processor_s"])
                answers = _answers(request, content)
                head = json.dumps([(fields, len(payload)) for fields, payload in answers]).encode()
                connection.sendall(ANSWER.pack(len(head), sum(len(payload) for _, payload in answers)) + head)
                for _, payload in answers:
                    connection.sendall(payload)
        status = 0
    finally:
        os._exit(status)


def _exactly(connection: socket.socket, size: int) -> bytes:
    buffer = io.BytesIO()  # gives its bytes without a copy, where a list of pieces would need them twice
    while (left := size - buffer.tell()) > 0:
        piece = connection.recv(min(left, 1024**2))
        if not piece:
            raise EOFError
        buffer.write(piece)
    return buffer.getvalue()


def _answers(request: dict[str, Any], whole: bytes) -> list[_Told]:
    """What a task says of each file; the one whole file stays the same object, which tells that it is known."""
    if len(request["names"]) == 1:
        return [_answer(request, request["names"][0], whole)]
    ends = itertools.accumulate(request["sizes"])
    return [
        _answer(request, name, whole[end - size : end])
        for name, size, end in zip(request["names"], request["sizes"], ends, strict=True)
    ]


def _answer(request: dict[str, Any], name: str, content: bytes) -> _Told:
    """What a task says of a file; every way to fail is a sentence, also those outside `Exception`."""
    try:
        return TASKS[request["task"]](content, name=name, **request["options"])
    except SliceError as error:
        return {"error": [type(error).__name__, str(error)]}, b""
    except MemoryError:
        told = (
            OversizedSlice.__name__,
            (
                f"“{name}” needs more memory than a CT slice ever does. Export the single slice you need, at its own "
                "resolution."
            ),
        )
    except BaseException as error:  # noqa: BLE001 - a Rust decoder's panic is no Exception
        told = (
            UnreadableSlice.__name__,
            (f"“{name}” is damaged and cannot be decoded ({type(error).__name__}). Export or copy the file again."),
        )
    return {"error": told}, b""


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
