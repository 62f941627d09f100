"""All that this app reads, calls or replaces in Streamlit and its server beyond their public interface.

None of it is promised to last: Streamlit is pinned to the minor version `TESTED`, and tests/app/test_streamlit_internals.py
asserts each attribute that is named here. Whoever raises the pin runs that test first.
"""

import functools
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from starlette.formparsers import MultiPartParser
from streamlit import config, error_util, runtime
from streamlit.auth_util import get_secrets_auth_section, is_authlib_installed
from streamlit.elements import exception as exception_element
from streamlit.proto.Exception_pb2 import Exception as ExceptionProto
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile, UploadedFileManager, UploadedFileRec
from streamlit.web import bootstrap, cli

from kidney_core.common.packing import Packed

__all__ = ["get_secrets_auth_section", "is_authlib_installed"]

TESTED = "1.67"
Parse = Callable[[MultiPartParser], Any]  # a coroutine that gives FormData


class AddFile(Protocol):
    """How a store of uploads takes a file; the server calls it with the names of the parameters."""

    def __call__(self, session_id: str, file: UploadedFileRec) -> None: ...


def session_id() -> str:
    """The session that runs here; empty outside of one."""
    context = get_script_run_ctx()
    return context.session_id if context else ""


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


def keep_uploads_in_memory(limit_bytes: int) -> None:
    """Let the server keep upload bodies up to a size in memory; it moves those above 1 MB to the temporary folder."""
    MultiPartParser.spool_max_size = limit_bytes


def replace_parser(wrap: Callable[[Parse], Parse]) -> None:
    """Replace how the server parses the body of an upload by what `wrap` makes of it."""
    MultiPartParser.parse = wrap(MultiPartParser.parse)  # type: ignore[assignment, method-assign] # replaced on purpose


def replace_add_file(store: UploadedFileManager, wrap: Callable[[AddFile], AddFile]) -> None:
    """Replace how a store of uploads takes a file."""
    store.add_file = wrap(store.add_file)  # type: ignore[attr-defined] # the base class does not have it, the store of the server does


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


def stored_bytes(store: Any, session: str) -> int:
    """What a session holds of uploads, as they were uploaded."""
    files = list(store.file_storage.get(session, {}).values())
    return sum(each.size if isinstance(each, HeldFile) else len(each.data) for each in files)


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
