"""What sessions hold of uploaded files: in memory only, packed, up to a limit, and gone soon after the session is.

Streamlit's setting `server.maxUploadSize` (MB), which it keeps for each file, is kept here for all files of a session
together: otherwise one visitor fills the memory of everybody.
"""

import asyncio
import gc
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import streamlit as st
from starlette.exceptions import HTTPException
from starlette.formparsers import FormData, MultiPartParser
from streamlit.runtime.uploaded_file_manager import UploadedFile, UploadedFileRec

from kidney_core.app import streamlit_internals
from kidney_core.app.streamlit_internals import AddFile, HeldFile, Parse, session_id
from kidney_core.common import allocator
from kidney_core.common.packing import pack
from kidney_core.imaging import decoder
from kidney_core.imaging.archive import Member

_MIB = 1024**2
_SECONDS_BETWEEN_SWEEPS = 10.0
# Up to this size a file is packed at once, in about 20 ms; for longer, the server could not answer others.
_PACKED_AT_ONCE_BYTES = 4 * _MIB
# Of bodies that are being received; more of them wait, since each is there several times until it is parsed.
_IN_FLIGHT_BYTES = 8 * _MIB
_MAX_WAIT_S = 60.0
# What other panels keep of uploads in the session: readings with previews and names, where reading stopped, grades.
DERIVED_KEYS = ("diagnosis_readings", "diagnosis_stopped", "diagnosis_grades", "diagnosis_measures")
_PAGE, _READ = "uploads_page", "uploads_opened"  # session keys: the page drawn last, what was read of its uploads
T = TypeVar("T")
_refused: Counter[str] = Counter()  # session -> files that found no room


def limit_bytes() -> int:
    """What one session may hold of uploads."""
    return int(st.get_option("server.maxUploadSize")) * _MIB


def begin_page(title: str) -> None:
    """To be called at the start of each page: what another page was given is dropped, since it is shown no more."""
    _guard_server()
    if st.session_state.get(_PAGE, title) != title:
        drop()
    st.session_state[_PAGE] = title


def drop() -> None:
    """Free all that this session has uploaded, and the previews and results made of it."""
    forget_read()
    for key in DERIVED_KEYS:
        st.session_state.pop(key, None)
    _refused.pop(session_id(), None)
    streamlit_internals.forget_uploads(session_id())


def ids_of(files: Sequence[UploadedFile]) -> tuple[str, ...]:
    """What tells uploaded files from others."""
    return tuple(file.file_id for file in files)


def content(file: UploadedFile) -> bytes:
    """The bytes of an uploaded file."""
    return streamlit_internals.upload_reader(file)()


def member(file: UploadedFile) -> Member:
    """An uploaded file to be sorted into stacks; it stays packed until it is needed."""
    read = streamlit_internals.upload_reader(file)
    return Member.of_bytes(file.name, read(), read)


def read_once(ids: tuple[str, ...], read: Callable[[], T]) -> T:
    """What `read` makes of the files with these ids, made once for as long as they are the ones of this session's page."""
    kept = st.session_state.get(_READ)
    if kept is None or kept[0] != ids:
        forget_read()
        kept = st.session_state[_READ] = (ids, read())
        allocator.return_freed_memory()
    return kept[1]


def forget_read() -> None:
    """Drop what `read_once` keeps of this session."""
    st.session_state.pop(_READ, None)


def refusal() -> str:
    """A sentence about the files that were too much for this session; empty for none."""
    n_files = _refused[session_id()]
    if not n_files:
        return ""
    what = "One file was" if n_files == 1 else f"{n_files:,} files were"
    return (
        f"{what} not accepted: one visitor can upload {limit_bytes() // _MIB} MB in total. Remove some files, or zip the scan, "
        "which roughly halves its size. The administrator can raise the limit (server.maxUploadSize)."
    )


@st.cache_resource
def _guard_server() -> None:
    """Once a server: keep uploads out of the temporary folder, hold the limit, and free what ended sessions held."""
    streamlit_internals.keep_uploads_in_memory(limit_bytes() + _MIB)
    server = streamlit_internals.running_server()
    if server is None:
        return
    streamlit_internals.replace_parser(_one_after_the_other)
    _hold_limit(server.uploaded_file_mgr)
    threading.Thread(target=_sweep, args=(server,), name="uploads", daemon=True).start()


def _hold_limit(store: Any) -> None:
    """Let the store of uploads refuse a file with which its session would hold more than the limit."""
    received_bytes = 0  # since freed memory was returned last
    packing = ThreadPoolExecutor(1, thread_name_prefix="packing")

    def within_limit(add: AddFile) -> AddFile:
        def add_file(session_id: str, file: UploadedFileRec) -> None:  # the server gives both by name
            nonlocal received_bytes
            received_bytes += len(file.data)
            if received_bytes > _IN_FLIGHT_BYTES:  # what receiving took, the C library would keep
                allocator.return_freed_memory()
                received_bytes = 0
            stored_bytes = streamlit_internals.stored_bytes(store, session_id)
            if not stored_bytes:
                _refused.pop(session_id, None)
            if stored_bytes + len(file.data) > limit_bytes():
                _refused[session_id] += 1
                raise HTTPException(status_code=413, detail="no room for this file beside the others of the session")
            held = HeldFile.of(file)
            add(session_id, held)
            if held.size <= _PACKED_AT_ONCE_BYTES:
                _pack(held)
            else:
                packing.submit(_pack, held)

        return add_file

    streamlit_internals.replace_add_file(store, within_limit)


def _pack(file: HeldFile) -> None:
    """Hold a file packed where that saves memory."""
    file.content = pack(file.read()) or file.content


def _one_after_the_other(parse: Parse) -> Parse:
    """Let bodies beyond `_IN_FLIGHT_BYTES` wait until others are parsed; one that is larger goes alone."""
    in_flight = 0

    async def parse_in_turn(self: MultiPartParser) -> FormData:
        nonlocal in_flight
        length = self.headers.get("content-length", "")
        if not length.isdigit():
            raise HTTPException(status_code=411, detail="an upload must state its length")
        size = int(length)
        deadline = asyncio.get_running_loop().time() + _MAX_WAIT_S
        while in_flight and in_flight + size > _IN_FLIGHT_BYTES:
            if asyncio.get_running_loop().time() > deadline:
                raise HTTPException(status_code=503, detail="too many uploads at once")
            await asyncio.sleep(0.02)
        in_flight += size
        try:
            return await parse(self)
        finally:
            in_flight -= size

    return parse_in_turn


def _sweep(server: Any) -> None:
    """Free what sessions held that ended two minutes ago."""
    while True:
        time.sleep(_SECONDS_BETWEEN_SWEEPS)
        decoder.close_idle_workers()
        ended = streamlit_internals.end_expired_sessions(server)
        for session in ended:
            _refused.pop(session, None)
        if ended:
            gc.collect()  # a session and its server refer to each other
        allocator.return_freed_memory()
