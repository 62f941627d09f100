"""The addresses by which files come in and pictures go out, which the server itself would open to any session.

Both ask who is there (`access.identify`), as every page does. Of an upload, bytes count once they have arrived, not when
they are announced; a body that stalls is ended; and bodies do not wait for each other.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from kidney_core.app import access, packed_uploads, streamlit_internals, upload_room
from kidney_core.app.streamlit_internals import Answer
from kidney_core.common import allocator
from kidney_core.common.errors import AccessError, KidneyError

STALL_S = 20.0
_LEAST_BYTES = 16 * 1024  # of a body, within STALL_S: one byte now and then is no progress
_GRACE_S = 1.0  # a busy server may find that the time is over before it finds the bytes that have arrived
_MOST_DROPPED_BYTES = 1024 * upload_room.MIB  # of a refused body; a browser reads the refusal only when it has sent all
_TRIM_BYTES = 8 * upload_room.MIB  # after so many, what the C library keeps of receiving is returned
_STATUS = {upload_room.SESSION_FULL: 413, upload_room.ALL_FULL: 507, upload_room.STALLED: 408}

room = upload_room.Room(streamlit_internals.stored_bytes)
_owners: dict[str, set[str]] = {}  # address of a media file, without extension -> sessions that were given it
_received_bytes = 0  # since freed memory was returned last
_is_guarded = False


def guard_server() -> None:
    """Once a process: let the routes ask who is there, and keep bodies out of the temporary folder."""
    global _is_guarded
    if not _is_guarded:
        _is_guarded = True
        streamlit_internals.keep_uploads_in_memory()
        streamlit_internals.guard_routes(
            {streamlit_internals.UPLOADS: guard_upload, streamlit_internals.MEDIA: guard_media}
        )


def remember_media(address: str, session: str) -> None:
    """Note that a session was given a media file."""
    _owners.setdefault(_media_id(address), set()).add(session)


def sessions() -> set[str]:
    """All sessions that something is known of."""
    return room.sessions().union(*list(_owners.values()))


def forget(ended: Collection[str]) -> None:
    """Forget sessions that have ended."""
    room.forget(ended)
    for address, owners in list(_owners.items()):
        owners.difference_update(ended)
        if not owners:
            _owners.pop(address, None)


async def guard_upload(scope: Scope, receive: Receive, send: Send, answer: Answer) -> None:
    """Let the server receive a file, or remove it, for the person whose session it is, while there is room."""
    request = Request(scope)
    if request.method == "OPTIONS":
        await answer(scope, receive, send)
        return
    session = request.path_params["session_id"]
    body = _Body(receive, send)
    with contextlib.suppress(ClientDisconnect):  # there is nobody left to answer
        try:
            person = _sender(request, session)
        except KidneyError as denied:
            await PlainTextResponse(str(denied), 403)(scope, body.receive, body.send)
            return
        if request.method != "PUT":
            await answer(scope, body.receive, body.send)
            return
        if malformed := _malformed(request):
            await malformed(scope, body.receive, body.send)
            return
        with room.arriving(session, person.name, int(request.headers["content-length"])) as arrival:
            if problem := arrival.problem:
                answer = PlainTextResponse(arrival.refuse(problem), _STATUS[problem])
            else:
                body.arrival, body.stored = arrival, partial(_keep_packed, session, request.path_params["file_id"])
            await answer(scope, body.receive, body.send)
    _return_memory(body.n_bytes)


async def guard_media(scope: Scope, receive: Receive, send: Send, answer: Answer) -> None:
    """Let the server show a picture, or give a file, to the person for whose session it was made."""
    request = Request(scope)
    try:
        person = access.identify(*_parts(streamlit_internals.visit_of_request(request)))
    except KidneyError as denied:
        await PlainTextResponse(str(denied), 403)(scope, receive, send)
        return
    owners = _owners.get(_media_id(request.path_params["file_id"]), set())
    if person.name == access.LOCAL or any(_is_of(person, session) for session in list(owners)):
        await answer(scope, receive, send)
    else:
        await PlainTextResponse("File not found", 404)(scope, receive, send)


def _sender(request: Request, session: str) -> access.Person:
    """Who uploads: the one person whom both the request and its session name, and who may upload. Raises: KidneyError."""
    visit = streamlit_internals.visit_of_session(session)
    if visit is None:
        raise AccessError("There is no such session. Reload the page.")
    owner = access.identify(*_parts(visit))
    sender = access.identify(*_parts(streamlit_internals.visit_of_request(request)))
    if sender.name != owner.name:
        raise AccessError("This session is another person's. Reload the page.")
    access.check_role(owner, access.DIAGNOSER)
    return access.check_role(sender, access.DIAGNOSER)


def _is_of(person: access.Person, session: str) -> bool:
    visit = streamlit_internals.visit_of_session(session)
    with contextlib.suppress(KidneyError):
        return visit is not None and access.identify(*_parts(visit)).name == person.name
    return False


def _parts(visit: streamlit_internals.Visit) -> tuple[dict, access.Headers]:
    return dict(visit.claims), visit.headers


def _media_id(address: str) -> str:
    """The part of an address or a file's name that the server looks for: without folders and extension."""
    return address.rpartition("/")[2].partition(".")[0]


def _malformed(request: Request) -> PlainTextResponse | None:
    """What to say to a body that no browser sends; None for any other."""
    if not request.headers.get("content-length", "").isdecimal():
        return PlainTextResponse("An upload must state its length.", 411)
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return PlainTextResponse("An upload must be multipart/form-data.", 415)
    return None


def _keep_packed(session: str, file_id: str) -> None:
    server = streamlit_internals.running_server()
    if server is not None:
        packed_uploads.keep_packed(server.uploaded_file_mgr, session, file_id)


def _return_memory(n_bytes: int) -> None:
    global _received_bytes
    _received_bytes += n_bytes
    if _received_bytes > _TRIM_BYTES:
        allocator.return_freed_memory()
        _received_bytes = 0


class _Body:
    """The body of a request as it arrives, and the answer to it.

    Attributes:
        arrival: takes the room for it; None while nothing of it is kept.
        stored: called once the server has stored the file.
        n_bytes: that have arrived.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.arrival: upload_room.Arrival | None = None
        self.stored: Callable[[], None] = lambda: None
        self.n_bytes = 0
        self._is_over = False  # nothing more comes
        self._is_dropped = False  # it is refused
        self._waited_s, self._progress_bytes = 0.0, 0

    async def receive(self) -> Message:
        """The next part. Raises: HTTPException for a body that stalls or finds no room."""
        try:
            message = await self._next()
        except TimeoutError as stalled:
            raise self._refused(upload_room.STALLED) from stalled
        if self.arrival and (problem := self.arrival.take(len(message.get("body", b"")))):
            raise self._refused(problem)
        return message

    async def send(self, message: Message) -> None:
        """Pass an answer on. After a refusal the rest of the body is read and dropped, and the connection is closed."""
        if message["type"] == "http.response.start":
            if message["status"] < 400 and self.arrival:
                self.stored()  # before the page learns of it
                self.arrival.release()
            if message["status"] >= 400 and not self._is_over:
                self._is_dropped = True
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
        elif self._is_dropped and not message.get("more_body"):
            await self._send({**message, "more_body": True})  # who listens reads the refusal now
            await self._drop_rest()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    def _refused(self, reason: str) -> HTTPException:
        if self.arrival is None:
            return HTTPException(_STATUS[reason])
        return HTTPException(_STATUS[reason], self.arrival.refuse(reason))

    async def _next(self) -> Message:
        """The next part. Raises: TimeoutError for a body that stalls."""
        loop = asyncio.get_running_loop()
        for patience_s in (None,) if self._is_over else (STALL_S - self._waited_s, _GRACE_S):
            began = loop.time()
            try:
                async with asyncio.timeout(patience_s):
                    message = await self._receive()
            except TimeoutError:
                continue
            finally:
                self._waited_s += loop.time() - began
            self._note(message)
            return message
        raise TimeoutError

    def _note(self, message: Message) -> None:
        n_bytes = len(message.get("body", b""))
        self.n_bytes += n_bytes
        self._progress_bytes += n_bytes
        self._is_over = not message.get("more_body", False)
        if self._progress_bytes >= _LEAST_BYTES:
            self._waited_s, self._progress_bytes = 0.0, 0

    async def _drop_rest(self) -> None:
        most_bytes = self.n_bytes + _MOST_DROPPED_BYTES
        with contextlib.suppress(TimeoutError):
            while not self._is_over and self.n_bytes < most_bytes:
                await self._next()
