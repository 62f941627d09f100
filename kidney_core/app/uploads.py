"""What sessions hold of uploaded files: in memory only, packed, up to a limit, and gone soon after the session is.

How they come in: `upload_route`. How much room they have: `upload_room`. How they are kept: `packed_uploads`.
"""

import gc
import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from kidney_core.app import streamlit_internals, upload_route
from kidney_core.app.streamlit_internals import session_id
from kidney_core.app.upload_room import limit_bytes
from kidney_core.common import allocator
from kidney_core.imaging import decoder

__all__ = [
    "begin_page",
    "drop",
    "explain_failures",
    "forget_read",
    "guard_server",
    "ids_of",
    "limit_bytes",
    "read_once",
    "refusal",
]

_SECONDS_BETWEEN_SWEEPS = 10.0
# What other panels keep of uploads in the session: readings with previews and names, where reading stopped, grades.
DERIVED_KEYS = ("diagnosis_readings", "diagnosis_stopped", "diagnosis_grades", "diagnosis_measures")
_PAGE, _READ = "uploads_page", "uploads_opened"  # session keys: the page drawn last, what was read of its uploads
_EXPLAIN = Path(__file__).parent / "browser" / "upload_errors.js"
# By the status of the answer. The page says more when it is drawn next, see `refusal`.
_IN_WORDS = {
    "400": "This file did not arrive as it was sent. Try again.",
    "403": "You may not upload here, or your log-in has ended. Reload the page.",
    "408": "The upload stopped on its way. Try again.",
    "413": "No room for this file: all your files together are too large. Remove some, or zip the scan.",
    "507": "No room for this file: the uploads of all visitors fill the server. Try again in a few minutes.",
    "lost": "The connection was lost. Try again.",
}
T = TypeVar("T")


def begin_page(title: str) -> None:
    """To be called at the start of each page: what another page was given is dropped, since it is shown no more."""
    if st.session_state.get(_PAGE, title) != title:
        drop()
    st.session_state[_PAGE] = title


def drop() -> None:
    """Free all that this session has uploaded, and the previews and results made of it."""
    forget_read()
    for key in DERIVED_KEYS:
        st.session_state.pop(key, None)
    upload_route.room.forget_refusals(session_id())
    streamlit_internals.forget_uploads(session_id())


def ids_of(files: Sequence[UploadedFile]) -> tuple[str, ...]:
    """What tells uploaded files from others."""
    return tuple(file.file_id for file in files)


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
    """Sentences about the files of this session that were refused; empty for none."""
    return upload_route.room.told(session_id())


def explain_failures() -> None:
    """Let the browser say in words why an upload failed, on each page."""
    script = _EXPLAIN.read_text(encoding="utf-8").replace("SENTENCES", json.dumps(_IN_WORDS))
    st.html(f"<script>{script}</script>", unsafe_allow_javascript=True)


@st.cache_resource
def guard_server() -> None:
    """Once a server, and before anybody is let in: guard its routes, and free what ended sessions held."""
    upload_route.guard_server()
    server = streamlit_internals.running_server()
    if server is not None:
        streamlit_internals.remember_media(server, upload_route.remember_media)
        threading.Thread(target=_sweep, args=(server,), name="uploads", daemon=True).start()


def _sweep(server: Any) -> None:
    """Free what sessions held that ended two minutes ago."""
    while True:
        time.sleep(_SECONDS_BETWEEN_SWEEPS)
        decoder.close_idle_workers()
        ended = streamlit_internals.end_expired_sessions(server)
        known = upload_route.sessions()  # first: a session that begins meanwhile is none that has ended
        upload_route.forget(known - streamlit_internals.sessions(server))
        if ended:
            gc.collect()  # a session and its server refer to each other
        allocator.return_freed_memory()
