"""The child side of `decoder`: one server with everything imported, and the workers it forks to decode files.

The server never sees a file. A worker drops the rights that decoding does not need, and serves one request after the
other until its socket closes. Only `decoder` starts `python -m kidney_core.imaging.decoder_server SOCKET`.
"""

import contextlib
import gc
import importlib
import io
import itertools
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from PIL import Image

from kidney_core.common import rlimits
from kidney_core.common.errors import OversizedSlice, SliceError, UnreadableSlice
from kidney_core.imaging import (
    dicom,
    dicom_geometry,
    nifti,
    patient_tags,
    raster,
    slice_geometry,
    slices,
    volume_file,
)
from kidney_core.imaging.decoder_pool import COMMAND, FORK, IDLE_S, KILL, PROCESS_ID
from kidney_core.imaging.decoder_wire import REQUEST, RESPONSE

# Memory for data beyond twice the file (as received and as parsed); enough for a colour image of 50 megapixels. A file
# that needs more is a decompression bomb.
_WORKING_BYTES = 350 * 1024**2
_VOLUME_BYTES = nifti.MAX_VOLUME_BYTES + 200 * 1024**2  # beside that, for the voxels of a packed volume
# Modules that Pillow and pydicom would import only at the first file that needs them.
_LAZY_IMPORTS = ("PIL.TiffImagePlugin", "gdcm", "jpeg_ls", "openjpeg", "rle")
_Result = tuple[dict[str, Any], memoryview | bytes]


def _decode(content: bytes, *, name: str, frame: int) -> _Result:
    read = (
        dicom.decode if slices.is_dicom(content) else nifti.decode if volume_file.is_volume(content) else raster.decode
    )
    return slices.to_wire(read(content, name=name, frame=frame))


def _count(content: bytes, *, name: str, is_whole: bool = True) -> _Result:
    return {"n_images": raster.count_images(content, name=name, is_whole=is_whole)}, b""


def _position(content: bytes, *, name: str, is_whole: bool = True) -> _Result:
    return dicom_geometry.to_wire(content, name=name, is_whole=is_whole), b""


def _volume(content: bytes, *, name: str, size: int) -> _Result:
    return {"planes": nifti.counts(content, name=name, size=size)}, b""


def _patient(content: bytes, *, name: str) -> _Result:
    return patient_tags.to_wire(content), b""


def _geometry(content: bytes, *, name: str) -> _Result:
    return slice_geometry.to_wire(content), b""


TASKS: dict[str, Callable[..., _Result]] = {
    "decode": _decode,
    "count": _count,
    "position": _position,
    "volume": _volume,
    "patient": _patient,
    "geometry": _geometry,
}


def main(control: socket.socket) -> None:
    """Fork and kill workers on command until the parent process is gone; then kill the remaining ones."""
    workers: set[int] = set()
    _import_all()
    while True:
        message, sockets, _, _ = socket.recv_fds(control, COMMAND.size, 1, socket.MSG_WAITALL)
        # Reaped only here: until then the system does not reuse the process id of an ended worker.
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
    for name in _LAZY_IMPORTS:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    Image.preinit()
    gc.collect()
    gc.freeze()  # garbage collection in a worker then touches, and so copies, none of these pages


def _work(connection: socket.socket) -> None:
    """Serve requests until the socket closes or idles; it never returns."""
    status = 1
    try:
        rlimits.die_with_parent()
        rlimits.confine()
        with contextlib.suppress(OSError, EOFError):  # the parent process is gone
            content = b""
            while _is_asked(connection):
                n_header_bytes, n_content_bytes = REQUEST.unpack(_receive(connection, REQUEST.size))
                request = json.loads(_receive(connection, n_header_bytes))
                if n_content_bytes:
                    content = b""  # freed before the next one arrives
                    rlimits.allow(memory_bytes=_WORKING_BYTES + 2 * n_content_bytes, cpu_s=request["processor_s"])
                    content = _receive(connection, n_content_bytes)
                more = _VOLUME_BYTES if volume_file.is_volume(content) else 0
                rlimits.allow(memory_bytes=_WORKING_BYTES + more + 2 * len(content), cpu_s=request["processor_s"])
                results = _run_all(request, content)
                head = json.dumps([(fields, len(payload)) for fields, payload in results]).encode()
                connection.sendall(RESPONSE.pack(len(head), sum(len(payload) for _, payload in results)) + head)
                for _, payload in results:
                    connection.sendall(payload)
        status = 0
    finally:
        os._exit(status)


def _is_asked(connection: socket.socket) -> bool:
    """Wait for a request; False where none comes for long. A request itself may take any time, on a busy machine."""
    return bool(select.select([connection], [], [], IDLE_S)[0] or select.select([connection], [], [], 0)[0])


def _receive(connection: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes. Raises EOFError where the socket closes before."""
    buffer = io.BytesIO()  # returns its bytes without a copy, where a list of pieces would need them twice
    while (left := size - buffer.tell()) > 0:
        piece = connection.recv(min(left, 1024**2))
        if not piece:
            raise EOFError
        buffer.write(piece)
    return buffer.getvalue()


def _run_all(request: dict[str, Any], content: bytes) -> list[_Result]:
    """The result of a task for each file; a single file is passed on as the same object, so that `dicom` knows it again."""
    if len(request["names"]) == 1:
        return [_run(request, request["names"][0], content)]
    ends = itertools.accumulate(request["sizes"])
    return [
        _run(request, name, content[end - size : end])
        for name, size, end in zip(request["names"], request["sizes"], ends, strict=True)
    ]


def _run(request: dict[str, Any], name: str, content: bytes) -> _Result:
    """The result of a task for one file; every failure becomes an error message, even one outside `Exception`."""
    try:
        return TASKS[request["task"]](content, name=name, **request["options"])
    except SliceError as error:
        return {"error": [type(error).__name__, str(error)]}, b""
    except MemoryError:
        kind = OversizedSlice.__name__
        message = (
            f"“{name}” needs more memory than any CT slice. Export only the slice you need, at its own resolution."
        )
    except BaseException as error:  # noqa: BLE001 - a panic of a decoder in Rust is not an Exception
        kind = UnreadableSlice.__name__
        message = f"“{name}” is damaged and cannot be decoded ({type(error).__name__}). Export or copy the file again."
    return {"error": [kind, message]}, b""


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
