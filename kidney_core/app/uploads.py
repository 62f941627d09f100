"""What sessions hold of uploaded files: in memory only, up to a limit, and gone soon after the session is.

Streamlit's setting `server.maxUploadSize` (MB), which it keeps for each file, is kept here for all files of a session
together: otherwise one visitor fills the memory of everybody.
"""

import asyncio
import gc
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import streamlit as st
from starlette.exceptions import HTTPException
from starlette.formparsers import FormData, MultiPartParser
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from kidney_core import allocator, decoder

_MIB = 1024**2
_SECONDS_BETWEEN_SWEEPS = 10.0
# Of bodies that are being received; more of them wait, since each is there several times until it is parsed.
_IN_FLIGHT_BYTES = 8 * _MIB
_PATIENCE_S = 60.0
_page, _opened = "uploads_page", "uploads_opened"  # session keys: what was drawn last, what was made of its uploads
_refused: Counter[str] = Counter()  # session -> files that found no room


def limit_bytes() -> int:
    """What one session may hold of uploads."""
    return int(st.get_option("server.maxUploadSize")) * _MIB


def begin_page(title: str) -> None:
    """To be called at the start of each page: what another page was given is dropped, since it is shown no more."""
    _guard_server()
    if st.session_state.get(_page, title) != title:
        drop()
    st.session_state[_page] = title


def drop() -> None:
    """Free all that this session has uploaded: what it was shown in is left."""
    forget_opened()
    _refused.pop(_session(), None)
    if runtime.exists():
        runtime.get_instance().uploaded_file_mgr.remove_session_files(_session())


def opened(files: list[Any], read: Callable[[], Any]) -> Any:
    """What `read` makes of uploaded files, made once for as long as they are the ones of this session's page."""
    ids = tuple(file.file_id for file in files)
    kept = st.session_state.get(_opened)
    if kept is None or kept[0] != ids:
        forget_opened()
        kept = st.session_state[_opened] = (ids, read())
        allocator.return_freed_memory()
    return kept[1]


def forget_opened() -> None:
    """Drop what `opened` keeps of this session."""
    st.session_state.pop(_opened, None)


def refused() -> str:
    """What to say of files that found no room beside those that this session holds; empty for none."""
    n_files = _refused[_session()]
    if not n_files:
        return ""
    what = "One file was" if n_files == 1 else f"{n_files:,} files were"
    return (
        f"{what} not taken: the files of one visitor may have {limit_bytes() // _MIB} MB together. Remove some, or zip the "
        "series, which about halves it. Whoever runs the workbench can allow more: maxUploadSize in "
        ".streamlit/config.toml."
    )


def _session() -> str:
    context = get_script_run_ctx()
    return context.session_id if context else ""


@st.cache_resource
def _guard_server() -> None:
    """Once a server: keep uploads out of the temporary folder, hold the limit, and free what ended sessions held."""
    # The server moves uploads above 1 MB to the temporary folder, unless told that they may be larger.
    MultiPartParser.spool_max_size = limit_bytes() + _MIB
    if not runtime.exists() or type(server := runtime.get_instance()) is not runtime.Runtime:
        return  # a page that is run by itself, without a server
    MultiPartParser.parse = _one_after_the_other(MultiPartParser.parse)
    _hold_limit(server.uploaded_file_mgr)
    threading.Thread(target=_sweep, args=(server,), name="uploads", daemon=True).start()


def _hold_limit(held: Any) -> None:
    """Let the store of uploads refuse a file with which its session would hold more than the limit."""
    add, since_tidied = held.add_file, 0

    def add_file(session_id: str, file: Any) -> None:
        nonlocal since_tidied
        since_tidied += len(file.data)
        if since_tidied > _IN_FLIGHT_BYTES:  # what receiving took, the C library would keep
            allocator.return_freed_memory()
            since_tidied = 0
        others = sum(len(each.data) for each in list(held.file_storage.get(session_id, {}).values()))
        if not others:
            _refused.pop(session_id, None)
        if others + len(file.data) > limit_bytes():
            _refused[session_id] += 1
            raise HTTPException(status_code=413, detail="no room for this file beside the others of the session")
        add(session_id, file)

    held.add_file = add_file


def _one_after_the_other(parse: Callable) -> Callable:
    """Let bodies beyond `_IN_FLIGHT_BYTES` wait until others are parsed; one that is larger goes alone."""
    in_flight = 0

    async def parse_in_turn(self: MultiPartParser) -> FormData:
        nonlocal in_flight
        length = self.headers.get("content-length", "")
        if not length.isdigit():
            raise HTTPException(status_code=411, detail="an upload must tell its length")
        size = int(length)
        patient_until = asyncio.get_running_loop().time() + _PATIENCE_S
        while in_flight and in_flight + size > _IN_FLIGHT_BYTES:
            if asyncio.get_running_loop().time() > patient_until:
                raise HTTPException(status_code=503, detail="too many uploads at once")
            await asyncio.sleep(0.02)
        in_flight += size
        try:
            return await parse(self)
        finally:
            in_flight -= size

    return parse_in_turn


def _sweep(server: Any) -> None:
    """Free what sessions held that ended two minutes ago; by itself the server frees it when another one ends."""
    sessions = server._session_mgr
    while True:
        time.sleep(_SECONDS_BETWEEN_SWEEPS)
        decoder.rest()
        with sessions._storage_lock:
            ended = sessions._session_storage._cache.expire()
        for session_id, information in ended:
            information.session.shutdown()
            information.session.session_state.clear()  # the server's loop keeps the session that it served last
            _refused.pop(session_id, None)
        if ended:
            del ended, information
            gc.collect()  # a session and its server refer to each other
        allocator.return_freed_memory()
