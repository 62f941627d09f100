"""Visitors without a browser, as attackers are: a session over its WebSocket, and uploads byte by byte over a socket."""

import contextlib
import re
import socket
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

from benchmarks.browser import running_app

Header = tuple[str, str]
HEADER = "X-Forwarded-Email"
BEHIND_A_PROXY = ("--server.trustedUserHeaders", f'{{"{HEADER}": "email"}}')
ROLES = 'researcher = ["boss@hospital.example"]\ndiagnoser = ["*@hospital.example"]\nviewer = ["*@view.example"]\n'
_BEFORE = b'--edge\r\nContent-Disposition: form-data; name="f"; filename="f.bin"\r\n\r\n'
_AFTER = b"\r\n--edge--\r\n"
_TOKEN = "2|00000000|00000000000000000000000000000000|1700000000"  # of both cookie and header: nothing is secret in it
_PATIENCE_S = 120.0
_BLOCK = bytes(1 << 18)
_MEDIA = re.compile(rb"/media/[0-9a-f]{32}\.\w+")


def named(address: str) -> tuple[Header, ...]:
    """What the proxy adds for a person."""
    return ((HEADER, address),)


@contextmanager
def app_behind_a_proxy(folder: Path, *options: str, **environment: str) -> Iterator[tuple[str, int]]:
    """The app with roles, for people whom a header names; its address and process id."""
    (folder / "roles.toml").write_text(ROLES, encoding="utf-8")
    with running_app(*BEHIND_A_PROXY, *options, KIDNEY_ROLES=f"{folder}/roles.toml", **environment) as (address, app):
        yield address, app.pid


class Upload:
    """A request that sends a file, of which as little may be sent as its sender likes."""

    def __init__(self, address: str, session: str, n_bytes: int, headers: tuple[Header, ...], **changed: str) -> None:
        place = urllib.parse.urlsplit(address)
        self.left = len(_BEFORE) + n_bytes + len(_AFTER)
        self.started = time.monotonic()
        sent = {
            "Host": place.netloc,
            "Cookie": f"_streamlit_xsrf={_TOKEN}",
            "X-Xsrftoken": _TOKEN,
            "Content-Type": "multipart/form-data; boundary=edge",
            "Content-Length": str(self.left),
        } | changed
        lines = [f"{name}: {value}" for name, value in (*sent.items(), *headers) if value]
        self.socket = socket.create_connection((place.hostname, place.port), timeout=_PATIENCE_S)
        target = f"PUT {place.path}/_stcore/upload_file/{session}/{uuid.uuid4()} HTTP/1.1"
        self.socket.sendall("\r\n".join([target, *lines, "", ""]).encode())

    def send(self, n_bytes: int) -> "Upload":
        """Send so much of the body's beginning."""
        self.send_raw(_BEFORE)
        return self.send_zeros(n_bytes)

    def send_zeros(self, n_bytes: int) -> "Upload":
        for first in range(0, n_bytes, len(_BLOCK)):
            self.send_raw(_BLOCK[: n_bytes - first])
        return self

    def send_raw(self, content: bytes) -> "Upload":
        self.left -= len(content)
        self.socket.sendall(content)
        return self

    def finish(self) -> int:
        """Send what is missing; the status of the answer, 0 where the connection was cut."""
        with contextlib.suppress(OSError):  # the answer may have come before
            self.send(self.left - len(_BEFORE) - len(_AFTER)).send_raw(_AFTER)
        return self.status()

    def status(self) -> int:
        """The status of the answer; 0 where the connection was cut."""
        try:
            answer = self.socket.recv(1 << 16)
        except OSError:
            answer = b""
        return int(answer.split()[1]) if answer else 0

    def age_s(self) -> float:
        return time.monotonic() - self.started


class Visitor:
    """Somebody with a session.

    Args:
        page: which is opened, "" for Home; None for one who connects and opens none.
    """

    def __init__(self, address: str, *headers: Header, page: str | None = "") -> None:
        self.address, self.headers = address, headers
        place = urllib.parse.urlsplit(address)
        self._open = contextlib.ExitStack()  # until `leave`
        stream = f"ws://{place.netloc}{place.path}/_stcore/stream"
        self._socket: ClientConnection = self._open.enter_context(
            connect(stream, additional_headers=list(headers), max_size=None, max_queue=None, close_timeout=1)
        )
        asked, told = BackMsg(), ForwardMsg()
        if page is None:  # asks only where a file would go, as an uploader does
            asked.file_urls_request.file_names.append("f.bin")
        else:
            asked.rerun_script.page_name = page
        self._socket.send(asked.SerializeToString())
        self.page = b""
        while told.WhichOneof("type") not in ("new_session", "file_urls_response"):
            self.page = self._socket.recv(_PATIENCE_S, decode=False)
            told.ParseFromString(self.page)
        urls = told.file_urls_response.file_urls
        self.session = urls[0].upload_url.split("/")[-2] if urls else told.new_session.initialize.session_id

    def read_page(self) -> bytes:
        """All messages of the page, as they come."""
        told, messages = ForwardMsg(), [self.page]
        while told.WhichOneof("type") != "script_finished":
            messages.append(self._socket.recv(_PATIENCE_S, decode=False))
            told.ParseFromString(messages[-1])
        return b"".join(messages)

    def media(self) -> list[str]:
        """Addresses of the files that the page shows or offers."""
        return [each.decode() for each in _MEDIA.findall(self.read_page())]

    def upload(
        self, n_bytes: int, *, session: str | None = None, headers: tuple[Header, ...] | None = None, **changed: str
    ) -> Upload:
        """Begin to send a file; `changed` are headers of the request, "" leaves one out."""
        sent = self.headers if headers is None else headers
        upload = Upload(self.address, session or self.session, n_bytes, sent, **changed)
        self._open.enter_context(upload.socket)
        return upload

    def leave(self) -> None:
        """End the session, and all uploads."""
        self._open.close()


@contextlib.contextmanager
def visitors() -> Iterator[Callable[..., Visitor]]:
    """Makes visitors, who leave at the end."""
    with contextlib.ExitStack() as leaving:

        def visit(address: str, *headers: Header, page: str | None = "") -> Visitor:
            visitor = Visitor(address, *headers, page=page)
            leaving.callback(visitor.leave)
            return visitor

        yield visit


def status_of(address: str, path: str, *headers: Header) -> int:
    """The status of a GET."""
    place = urllib.parse.urlsplit(address)
    with socket.create_connection((place.hostname, place.port), timeout=_PATIENCE_S) as connection:
        lines = [f"GET {path} HTTP/1.1", f"Host: {place.netloc}", "Connection: close"]
        connection.sendall("\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers), "", ""]).encode())
        return int(connection.recv(1 << 16).split()[1])
