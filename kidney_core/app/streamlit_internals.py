"""All that this app reads, calls or replaces in Streamlit and its server beyond their public interface.

None of it is promised to last: Streamlit is pinned to the minor version `TESTED`, and tests/app/test_streamlit_internals.py
asserts each attribute that is named here. Whoever raises the pin runs that test first.
"""

import functools
import io
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st
from starlette import formparsers
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from streamlit import config, error_util, runtime
from streamlit.auth_util import get_secrets_auth_section, is_authlib_installed
from streamlit.elements import exception as exception_element
from streamlit.proto.Exception_pb2 import Exception as ExceptionProto
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.runtime.uploaded_file_manager import UploadedFile, UploadedFileRec
from streamlit.web import bootstrap, cli
from streamlit.web.server.starlette import starlette_app_utils, starlette_routes, starlette_websocket
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME, XSRF_COOKIE_NAME

from kidney_core.common.packing import Packed

__all__ = ["get_secrets_auth_section", "is_authlib_installed"]

TESTED = "1.67"
Answer = Callable[[Scope, Receive, Send], Awaitable[None]]  # what a route of the server does
Guard = Callable[[Scope, Receive, Send, Answer], Awaitable[None]]
UPLOADS, MEDIA = starlette_routes._ROUTE_UPLOAD_FILE, starlette_routes._ROUTE_MEDIA  # routes, below server.baseUrlPath


@dataclass(frozen=True)
class Visit:
    """Where a request or a session comes from.

    Attributes:
        claims: of the log-in, as in `st.user`.
        headers: of the request, or of the one that began the session; each as often as it was sent.
    """

    claims: Mapping[str, Any]
    headers: tuple[tuple[str, str], ...]


def session_id() -> str:
    """The session that runs here; empty outside of one."""
    context = get_script_run_ctx()
    return context.session_id if context else ""


def browser_secret() -> str:
    """What only the browser of this session knows, the same after a reload: its token against forged requests.

    Empty where there is none: outside of a browser, or with server.enableXsrfProtection off.
    """
    token, _ = starlette_app_utils.decode_xsrf_token_string(st.context.cookies.get(XSRF_COOKIE_NAME, ""))
    return token.hex() if token else ""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Around or on a callback: all of it happens.

    A press or an entry that comes meanwhile would interrupt it at its next look at the session, and the rest would be lost, because
    Streamlit takes that for a call of `st.rerun`.
    """
    context = get_script_run_ctx()
    state = context.session_state if context else None
    if not isinstance(state, SafeSessionState):
        yield
        return
    interrupts = state._yield_callback
    object.__setattr__(state, "_yield_callback", lambda: None)  # as its own __init__ does
    try:
        yield
    finally:
        object.__setattr__(state, "_yield_callback", interrupts)


def running_server() -> runtime.Runtime | None:
    """The server of this process; None for a page that is run by itself, without one."""
    server = runtime.get_instance() if runtime.exists() else None
    return server if type(server) is runtime.Runtime else None


def handle_errors(*, log: Callable[[BaseException], None], sentence: Callable[[BaseException], str]) -> None:
    """Replace what Streamlit does with errors of pages, fragments and callbacks.

    Args:
        log: takes the error in place of a traceback in the log.
        sentence: what is shown of it, as Markdown.
    """

    @functools.wraps(exception_element.marshall)
    def show(shown: ExceptionProto, error: BaseException, *_: object, **__: object) -> None:
        shown.message, shown.message_is_markdown = sentence(error), True

    error_util._log_uncaught_app_exception = log  # type: ignore[assignment] # mypy takes a parameter's name as its type
    exception_element.marshall = show  # type: ignore[assignment] # mypy compares the names of parameters


class _MemoryFile(io.BytesIO):
    """In place of the server's SpooledTemporaryFile: never on a disk, and read as a whole without a copy."""

    _rolled, _max_size = False, 0  # the server asks for both

    def __init__(self, max_size: int) -> None:
        super().__init__()

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() or (size is not None and size >= 0):
            return super().read(size)
        self.seek(0, io.SEEK_END)
        return self.getvalue()  # the buffer itself, where `read` would copy it


def keep_uploads_in_memory() -> None:
    """Let the server keep upload bodies in memory; it moves those above 1 MB to the temporary folder."""
    formparsers.SpooledTemporaryFile = _MemoryFile  # type: ignore[assignment, misc] # replaced on purpose


def guard_routes(guards: Mapping[str, Guard]) -> None:
    """Let guards answer all requests to some routes, in a server that runs and in one that is started later.

    Args:
        guards: by route, UPLOADS or MEDIA; a guard gets the request, with the route's parameters in `path_params`, and what
            the server would do.
    """
    handle = Route.handle

    @functools.wraps(handle)
    async def guarded(self: Route, scope: Scope, receive: Receive, send: Send) -> None:
        answer = functools.partial(handle, self)
        guard = next((guard for route, guard in guards.items() if self.path.endswith(f"/{route}")), None)
        await (guard(scope, receive, send, answer) if guard else answer(scope, receive, send))

    Route.handle = guarded  # type: ignore[method-assign] # replaced on purpose


def visit_of_request(request: Request) -> Visit:
    """Where a request comes from; as the server does for a session: its signed cookie, then the headers it trusts."""
    raw = starlette_websocket._get_signed_cookie_with_chunks(request.cookies, USER_COOKIE_NAME)
    claims: dict[str, Any] = {}
    if raw:  # signed by this server, so the origin in it is the app's own; requests for pictures name none
        claims = starlette_websocket._parse_decoded_user_cookie(raw, str(json.loads(raw).get("origin", "")))
    claims |= starlette_websocket.gather_user_info(request.headers)
    return Visit(claims, tuple(request.headers.items()))


def visit_of_session(session: str) -> Visit | None:
    """Where a session comes from; None for one that is not connected."""
    server = running_server()
    info = server._session_mgr.get_active_session_info(session) if server else None
    context = info.client.client_context if info else None
    return Visit(info.session._user_info, tuple(context.headers)) if info and context else None


def remember_media(server: Any, remember: Callable[[str, str], None]) -> None:
    """Call `remember` with the address, such as "/media/ab12.png", and the session of each media file that is added."""
    media = server.media_file_mgr
    add = media.add

    def add_and_remember(*arguments: Any, **options: Any) -> str:
        address = add(*arguments, **options)
        remember(address, session_id())
        return address

    media.add = add_and_remember


def stored_bytes() -> dict[str, int]:
    """What each session holds of uploads, as they were uploaded."""
    server = running_server()
    stored = dict(server.uploaded_file_mgr.file_storage) if server else {}  # type: ignore[attr-defined] # of the server's store
    return {
        session: sum(each.size if isinstance(each, HeldFile) else len(each.data) for each in list(files.values()))
        for session, files in stored.items()
    }


class HeldFile(UploadedFileRec):
    """An upload as a store of uploads keeps it: without `data`, which the server copies at every run of a page.

    Attributes:
        content: the bytes, packed or not.
    """

    content: bytes | Packed

    @classmethod
    def of(cls, file: UploadedFileRec) -> "HeldFile":
        """The same upload with its bytes held apart."""
        made = cls(file.file_id, file.name, file.type, b"")
        made.content = file.data
        return made

    @property
    def size(self) -> int:
        """Its bytes as it was uploaded."""
        return self.content.size if isinstance(self.content, Packed) else len(self.content)

    def read(self) -> bytes:
        """The bytes as they were uploaded."""
        content = self.content  # another thread may pack it meanwhile
        return content.unpack() if isinstance(content, Packed) else content


def replace_file(store: Any, session: str, old: UploadedFileRec, new: UploadedFileRec) -> None:
    """Put a file in the place of another in a store of uploads, where that is still there."""
    with store._lock:
        files = store.file_storage.get(session, {})
        if files.get(old.file_id) is old:
            files[old.file_id] = new
            store._total_bytes += len(new.data) - len(old.data)


def upload_reader(file: UploadedFile) -> Callable[[], bytes]:
    """What returns the bytes of an upload whenever they are needed, from any thread."""
    records = (
        runtime.get_instance().uploaded_file_mgr.get_files(session_id(), [file.file_id]) if runtime.exists() else []
    )
    return records[0].read if records and isinstance(records[0], HeldFile) else file.getvalue


def forget_uploads(session: str) -> None:
    """Drop all files that a session has uploaded."""
    if runtime.exists():
        runtime.get_instance().uploaded_file_mgr.remove_session_files(session)


def end_expired_sessions(server: Any) -> list[str]:
    """Shut down the sessions that were left two minutes ago; the server does so only when another one ends.

    Returns: their ids.
    """
    sessions = server._session_mgr
    with sessions._storage_lock:
        expired = sessions._session_storage._cache.expire()
    for _, information in expired:
        information.session.shutdown()
        information.session.session_state.clear()  # the server's loop keeps the session that it served last
    return [session for session, _ in expired]


def sessions(server: Any) -> set[str]:
    """All sessions: those that are connected, and those that were left less than two minutes ago."""
    return {information.session.id for information in server._session_mgr.list_sessions()}


def read_options(script: Path, arguments: Sequence[str]) -> None:
    """Make Streamlit's settings what they will be in the app: its files and environment, then these arguments.

    Raises: click.ClickException for an option that Streamlit does not have.
    """
    parsed = cli.main_run.make_context("run", [str(script), *arguments]).params
    config._main_script_path = str(script)
    flags = {name: value for name, value in parsed.items() if name not in ("target", "args")}
    bootstrap.load_config_options(flags)


def run(script: Path, arguments: Sequence[str]) -> None:
    """Run a script as `streamlit run` does; returns when the server is stopped."""
    sys.argv = ["streamlit", "run", str(script), *arguments]
    cli.main()


@contextmanager
def without_cache_warnings() -> Iterator[None]:
    """For imports before the server runs: each cached function would warn that there is none yet."""
    caching = logging.getLogger("streamlit.runtime.caching.cache_data_api")
    caching.disabled = True
    try:
        yield
    finally:
        caching.disabled = False
