"""An error that nobody foresaw: a reference number for the user and, under it in the log, where it happened.

The log names exception types and file:line:function only. Messages, variables and source lines may hold a patient's name,
so none of them is written anywhere.
"""

import functools
import logging
import secrets
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from kidney_core.app import streamlit_internals

MAX_FRAMES = 60  # of one exception; a recursion without end has a thousand
# Their tracebacks hold values of the app: Streamlit's own, and those of the server below it.
_SERVER_LOGGERS = ("streamlit", "uvicorn", "starlette", "asyncio", "websockets")
_ATTRIBUTE = "_kidney_reference"
_log = logging.getLogger(__name__)


def install() -> None:
    """Let Streamlit log and show what no page expected in the way of this module; a second call changes nothing."""
    _install()


def install_for_process() -> None:
    """As `install`, for the errors of background threads too, and write the log of `kidney_core` to standard error."""
    install()
    threading.excepthook = lambda details: _log_error(details.exc_value) if details.exc_value else None
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("kidney_core").addHandler(handler)


def reference_of(error: BaseException) -> str:
    """The number by which user and log speak of the same error, such as "4821-7730"."""
    if not hasattr(error, _ATTRIBUTE):
        number = secrets.randbelow(10**8)
        setattr(error, _ATTRIBUTE, f"{number // 10**4:04d}-{number % 10**4:04d}")
    return str(getattr(error, _ATTRIBUTE))


def sentence(error: BaseException) -> str:
    """What a page shows in place of an error, as Markdown."""
    return (
        "Something unexpected went wrong here. Please reload the page; if it happens again, tell the person who runs this "
        f"workbench the reference number **{reference_of(error)}**."
    )


def describe(error: BaseException) -> str:
    """The reference number, and the chain of exception types with file:line:function, without any value."""
    return "\n".join([f"unexpected error, reference {reference_of(error)}", *_chain(error, "", set())])


def _log_error(error: BaseException) -> None:
    _log.error("%s", describe(error))


def _chain(error: BaseException, relation: str, seen: set[int]) -> Iterator[str]:
    """The lines of an exception, of those that it was raised from or during, and of the members of a group."""
    if id(error) in seen:
        return
    seen.add(id(error))
    yield f"  {relation}{_type_name(error)}"
    yield from (f"    {place}" for place in _places(error.__traceback__))
    if error.__cause__ is not None:
        yield from _chain(error.__cause__, "caused by ", seen)
    if error.__context__ is not None:
        yield from _chain(error.__context__, "raised while handling ", seen)
    for member in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from _chain(member, "grouped ", seen)


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _places(trace: TracebackType | None) -> list[str]:
    """file:line:function of each frame, the outermost first; the middle of a very deep one is left out."""
    places = [
        f"{_short(frame.f_code.co_filename)}:{line}:{frame.f_code.co_qualname}"
        for frame, line in traceback.walk_tb(trace)
    ]
    n_left_out = len(places) - MAX_FRAMES
    if n_left_out <= 0:
        return places
    half = MAX_FRAMES // 2
    return [*places[:half], f"... {n_left_out} more ...", *places[-half:]]


@functools.lru_cache(maxsize=1024)
def _short(file: str) -> str:
    """A file's path from the folder that Python imports it from, which is all that is needed to find it."""
    parents = [Path(folder) for folder in sys.path if folder and Path(file).is_relative_to(folder)]
    return str(Path(file).relative_to(max(parents, key=lambda folder: len(folder.parts)))) if parents else file


@functools.cache
def _install() -> None:
    streamlit_internals.handle_errors(log=_log_error, sentence=sentence)
    make_record = logging.getLogRecordFactory()

    def make_record_without_values(*arguments: object, **options: object) -> logging.LogRecord:
        record = make_record(*arguments, **options)
        if record.exc_info and record.exc_info[1] is not None and record.name.startswith(_SERVER_LOGGERS):
            record.msg, record.args = "%s", (describe(record.exc_info[1]),)
            record.exc_info = record.exc_text = None
        return record

    logging.setLogRecordFactory(make_record_without_values)
