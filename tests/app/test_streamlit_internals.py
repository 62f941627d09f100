"""Each attribute beyond Streamlit's public interface that this app uses: is it there, and does it do what the app takes it for?

This is what to run first with another version of Streamlit.
"""

import ast
import inspect
import json
import logging
import re

import pytest
import streamlit
from starlette import formparsers
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from streamlit import auth_util, config, error_util, runtime
from streamlit.elements import exception as exception_element
from streamlit.proto.Exception_pb2 import Exception as ExceptionProto
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.fragment import handle_user_script_exception
from streamlit.runtime.media_file_manager import MediaFileManager
from streamlit.runtime.memory_media_file_storage import MemoryMediaFileStorage
from streamlit.runtime.memory_session_storage import MemorySessionStorage
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import exec_code, get_script_run_ctx
from streamlit.runtime.session_manager import ActiveSessionInfo, SessionInfo
from streamlit.runtime.state import SessionState
from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.runtime.uploaded_file_manager import UploadedFileRec
from streamlit.runtime.websocket_session_manager import WebsocketSessionManager
from streamlit.web import bootstrap, cli
from streamlit.web.server.starlette import starlette_routes, starlette_websocket
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value, generate_xsrf_token_string
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME, XSRF_COOKIE_NAME

from kidney_core.app import streamlit_internals
from tests.conftest import ROOT
from tests.test_architecture import FILES, imports


def parameters(function):
    return list(inspect.signature(function).parameters)


def test_streamlit_is_of_the_tested_minor_version():
    assert streamlit.__version__.rpartition(".")[0] == streamlit_internals.TESTED


def test_error_util_logs_by_one_function_that_can_be_replaced(monkeypatch):
    logged = []
    monkeypatch.setattr(error_util, "_log_uncaught_app_exception", logged.append)
    monkeypatch.setattr(error_util, "show_uncaught_app_exception", lambda error: None)
    assert exec_code.handle_user_script_exception is handle_user_script_exception
    error = KeyError("x")
    handle_user_script_exception(error, None)
    assert logged == [error]


def test_errors_are_shown_by_one_function_that_can_be_replaced(monkeypatch):
    assert parameters(exception_element.marshall)[:2] == ["exception_proto", "exception"]
    assert "marshall(" in inspect.getsource(exception_element._exception)
    from streamlit.runtime import app_session

    assert "exception_utils.marshall(" in inspect.getsource(app_session.AppSession._create_exception_message)
    assert app_session.exception_utils is exception_element
    assert {"message", "message_is_markdown"} <= set(ExceptionProto.DESCRIPTOR.fields_by_name)


def test_handle_errors_replaces_both(monkeypatch):
    for owner, name in ((error_util, "_log_uncaught_app_exception"), (exception_element, "marshall")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    logged = []
    streamlit_internals.handle_errors(log=logged.append, sentence=lambda error: f"**{type(error).__name__}**")
    shown, error = ExceptionProto(), ValueError("x")
    error_util._log_uncaught_app_exception(error)
    exception_element.marshall(shown, error, None, apply_show_error_details=True)
    assert logged == [error]
    assert (shown.message, shown.message_is_markdown, shown.type, list(shown.stack_trace)) == (
        "**ValueError**", True, "", [],
    )  # fmt: skip


def test_uploads_are_parsed_into_memory_and_read_without_a_copy(monkeypatch):
    monkeypatch.setattr(formparsers, "SpooledTemporaryFile", formparsers.SpooledTemporaryFile)
    streamlit_internals.keep_uploads_in_memory()
    content = bytes(range(256)) * 16_384

    async def receive(request):
        upload = (await request.form())["f"]
        assert upload._in_memory
        kept = await upload.read()
        is_copied = kept is not upload.file.getvalue()
        upload.file.seek(3)
        parts = upload.file.read(2), upload.file.read(0), len(upload.file.read())
        upload.file.close()
        return JSONResponse([kept == content, is_copied, [list(parts[0]), list(parts[1]), parts[2]]])

    client = TestClient(Starlette(routes=[Route("/", receive, methods=["PUT"])]))
    answer = client.put("/", files={"f": ("f.bin", content)}).json()
    assert answer == [True, False, [[3, 4], [], len(content) - 5]]


def test_upload_store_holds_and_drops_files_by_session(monkeypatch):
    store = MemoryUploadedFileManager("/upload")
    server = type("Server", (), {"uploaded_file_mgr": store})()
    monkeypatch.setattr(streamlit_internals, "running_server", lambda: server)
    store.add_file("me", UploadedFileRec(file_id="a", name="a", type="", data=bytes(7)))
    store.add_file("me", UploadedFileRec(file_id="b", name="b", type="", data=bytes(4)))
    assert streamlit_internals.stored_bytes() == {"me": 11}
    store.remove_session_files("me")
    assert streamlit_internals.stored_bytes() == {}


def routes(*paths):
    """A server with routes that answer “server”."""

    async def answer(request):
        return PlainTextResponse("server")

    return TestClient(Starlette(routes=[Route(path, answer, methods=["PUT", "GET"]) for path in paths]))


def test_routes_are_guarded_in_a_server_that_runs_already(monkeypatch):
    monkeypatch.setattr(Route, "handle", inspect.unwrap(Route.handle))  # another test may have guarded it
    client = routes(f"/base/{streamlit_internals.UPLOADS}", f"/{streamlit_internals.MEDIA}", "/other")

    async def guard(scope, receive, send, answer):
        seen.append(dict(scope["path_params"]))
        await (answer if scope["method"] == "PUT" else PlainTextResponse("guard"))(scope, receive, send)

    seen = []
    streamlit_internals.guard_routes({streamlit_internals.UPLOADS: guard, streamlit_internals.MEDIA: guard})
    assert client.put("/base/_stcore/upload_file/me/1").text == "server"
    assert client.get("/base/_stcore/upload_file/me/1").text == "guard"
    assert client.get("/media/ab12.png").text == "guard"
    assert client.get("/other").text == "server"
    assert seen == [{"session_id": "me", "file_id": "1"}] * 2 + [{"file_id": "ab12.png"}]


def test_the_server_has_the_guarded_routes_and_reads_uploads_as_a_stream():
    for make, path, name in (
        (starlette_routes.create_upload_routes, "_stcore/upload_file/{session_id}/{file_id}", "_ROUTE_UPLOAD_FILE"),
        (starlette_routes.create_media_routes, "media/{file_id:path}", "_ROUTE_MEDIA"),
    ):
        assert getattr(starlette_routes, name) == path
        assert name in inspect.getsource(make)
    source = inspect.getsource(starlette_routes.create_upload_routes)
    assert "request.stream()" in source  # so what the guard raises at a chunk is what is answered
    assert "upload_mgr.add_file(" in source


def request_with(*headers):
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": raw})


def test_a_request_comes_from_whom_the_signed_cookie_or_the_trusted_headers_name(monkeypatch):
    monkeypatch.setattr(starlette_websocket, "get_cookie_secret", lambda: "k" * 64)
    payload = json.dumps({"origin": "https://ct.example", "is_logged_in": True, "email": "a@b.example"})
    value = create_signed_value("k" * 64, USER_COOKIE_NAME, payload).decode()
    visit = streamlit_internals.visit_of_request(request_with(("Cookie", f"{USER_COOKIE_NAME}={value}")))
    assert visit.claims == {"is_logged_in": True, "email": "a@b.example"}
    forged = create_signed_value("x" * 64, USER_COOKIE_NAME, payload).decode()
    for cookie in (forged, value[:-2], "{}"):
        request = request_with(("Cookie", f"{USER_COOKIE_NAME}={cookie}"))
        assert streamlit_internals.visit_of_request(request).claims == {}
    monkeypatch.setattr(
        starlette_websocket.config, "get_option", {"server.trustedUserHeaders": {"X-Email": "email"}}.get
    )
    visit = streamlit_internals.visit_of_request(request_with(("X-Email", "a@b.example"), ("x-email", "b@b.example")))
    assert visit.claims == {"email": "a@b.example"}
    assert visit.headers == (("x-email", "a@b.example"), ("x-email", "b@b.example"))


def test_a_browser_has_a_secret_that_stays_when_its_cookie_is_written_anew(monkeypatch):
    cookies = {}
    monkeypatch.setattr(streamlit, "context", type("Context", (), {"cookies": cookies}))
    assert streamlit_internals.browser_secret() == ""
    for token in (b"a" * 16, b"b" * 16):
        seen = set()
        for _ in range(2):
            cookies[XSRF_COOKIE_NAME] = generate_xsrf_token_string(token)
            seen.add(streamlit_internals.browser_secret())
        assert seen == {token.hex()}
    cookies[XSRF_COOKIE_NAME] = "2|torn"
    assert streamlit_internals.browser_secret() == ""


def test_a_session_knows_its_claims_and_the_headers_that_began_it():
    assert "self._user_info = user_info" in inspect.getsource(AppSession.__init__)
    assert {"client", "session"} <= set(ActiveSessionInfo.__dataclass_fields__)
    assert "headers" in dir(starlette_websocket.StarletteClientContext)
    assert streamlit_internals.visit_of_session("me") is None  # no server runs


def test_addresses_of_media_files_are_remembered(monkeypatch):
    media = MediaFileManager(MemoryMediaFileStorage("/media"))
    server = type("Server", (), {"media_file_mgr": media})()
    given = []
    streamlit_internals.remember_media(server, lambda address, session: given.append((address, session)))
    monkeypatch.setattr(streamlit_internals, "session_id", lambda: "me")
    address = media.add(b"x", "text/csv", "1", file_name="a.csv", is_for_static_download=True)
    assert given == [(address, "me")]
    assert re.fullmatch(r"/media/[0-9a-f]{32}\.csv", address)


def test_no_download_is_made_when_it_is_clicked():
    """Files of such buttons are stored past `remember_media`: nobody could fetch them."""
    for path in FILES:
        if path.parent.name == "app":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                is_download = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "download_button"
                if is_download:
                    assert not any(isinstance(each, ast.Lambda) for each in ast.walk(node)), path.name


def test_expired_sessions_are_taken_out_of_the_storage_and_shut_down():
    ended = []

    class Session:
        id = "old"
        session_state = SessionState()

        def shutdown(self):
            ended.append(self.id)

    storage = MemorySessionStorage(ttl_seconds=0)
    manager = WebsocketSessionManager(storage, None, None, None)
    storage.save(SessionInfo(client=None, session=Session()))
    server = type("Server", (), {"_session_mgr": manager})()
    assert streamlit_internals.end_expired_sessions(server) == ["old"]
    assert ended == ["old"]
    assert streamlit_internals.end_expired_sessions(server) == []


def test_sessions_are_the_connected_ones_and_those_that_were_left():
    storage = MemorySessionStorage(ttl_seconds=60)
    manager = WebsocketSessionManager(storage, None, None, None)
    left, connected = (type("Session", (), {"id": name})() for name in ("left", "connected"))
    storage.save(SessionInfo(client=None, session=left))
    manager._active_session_info_by_id["connected"] = ActiveSessionInfo(client=None, session=connected)
    assert streamlit_internals.sessions(type("Server", (), {"_session_mgr": manager})()) == {"left", "connected"}


def test_the_server_names_its_sessions_and_its_uploads():
    source = inspect.getsource(runtime.Runtime)
    assert "self._session_mgr = " in source
    assert isinstance(inspect.getattr_static(runtime.Runtime, "uploaded_file_mgr"), property)
    assert get_script_run_ctx(suppress_warning=True) is None
    assert streamlit_internals.session_id() == ""
    assert streamlit_internals.running_server() is None


def test_the_log_in_is_read_from_the_secrets():
    assert parameters(auth_util.get_secrets_auth_section) == []
    assert auth_util.is_authlib_installed() is True


def test_options_are_read_as_the_run_command_does():
    assert cli.main_run.params
    assert parameters(bootstrap.load_config_options) == ["flag_options"]
    assert hasattr(config, "_main_script_path")
    context = cli.main_run.make_context("run", [str(ROOT / "streamlit_app.py"), "--server.port", "8600"])
    assert context.params["server_port"] == 8600
    assert {"target", "args"} <= set(context.params)


def test_the_cache_warns_by_one_logger_that_is_silenced_for_a_while():
    with streamlit_internals.without_cache_warnings():
        assert logging.getLogger("streamlit.runtime.caching.cache_data_api").disabled
    assert not logging.getLogger("streamlit.runtime.caching.cache_data_api").disabled
    from streamlit.runtime.caching import cache_data_api

    assert cache_data_api._LOGGER.name == "streamlit.runtime.caching.cache_data_api"


def test_no_other_module_reaches_into_streamlit():
    """Its public interface, and names that it documents, are enough everywhere else."""
    allowed = {
        "streamlit",
        "streamlit.runtime.uploaded_file_manager.UploadedFile",
        "streamlit.delta_generator.DeltaGenerator",
    }
    allowed |= {"streamlit.runtime.uploaded_file_manager.UploadedFileRec"}
    for path in FILES:
        if path.name != "streamlit_internals.py":
            for name in imports(path):
                assert name.partition(".")[0] != "streamlit" or name in allowed, f"{path.name}: {name}"


def test_a_callback_that_is_uninterrupted_sees_all_of_it_happen(monkeypatch):
    class Interrupted(BaseException):
        pass

    def interrupt():
        raise Interrupted

    state = SafeSessionState(SessionState(), interrupt)
    context = type("Context", (), {"session_state": state})()
    monkeypatch.setattr(streamlit_internals, "get_script_run_ctx", lambda: context)

    def callback():
        state["one"] = 1
        state["two"] = state["one"] + 1

    with pytest.raises(Interrupted):
        callback()
    streamlit_internals.uninterrupted()(callback)()
    assert state.filtered_state == {"one": 1, "two": 2}
    with pytest.raises(Interrupted):
        callback()
