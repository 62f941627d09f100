"""Each attribute beyond Streamlit's public interface that this app uses: is it there, and does it do what the app takes it for?

This is what to run first with another version of Streamlit.
"""

import inspect
import logging
import re

import streamlit
from starlette.formparsers import MultiPartParser
from streamlit import auth_util, config, error_util, runtime
from streamlit.elements import exception as exception_element
from streamlit.proto.Exception_pb2 import Exception as ExceptionProto
from streamlit.runtime.fragment import handle_user_script_exception
from streamlit.runtime.memory_session_storage import MemorySessionStorage
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import exec_code, get_script_run_ctx
from streamlit.runtime.session_manager import SessionInfo
from streamlit.runtime.state import SessionState
from streamlit.runtime.uploaded_file_manager import UploadedFileRec
from streamlit.runtime.websocket_session_manager import WebsocketSessionManager
from streamlit.web import bootstrap, cli

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


def test_upload_parser_has_a_spool_limit_and_a_coroutine_that_parses():
    assert isinstance(MultiPartParser.spool_max_size, int)
    assert inspect.iscoroutinefunction(inspect.unwrap(MultiPartParser.parse)) or callable(MultiPartParser.parse)
    assert parameters(MultiPartParser.__init__)[1] == "headers"


def test_upload_store_adds_holds_and_drops_files_by_session():
    store = MemoryUploadedFileManager("/upload")
    assert parameters(store.add_file) == ["session_id", "file"]
    added = []

    def wrap(add):
        def add_file(session_id, file):
            added.append(session_id)
            add(session_id, file)

        return add_file

    streamlit_internals.replace_add_file(store, wrap)
    store.add_file("me", UploadedFileRec(file_id="a", name="a", type="", data=bytes(7)))
    assert added == ["me"]
    assert streamlit_internals.stored_bytes(store, "me") == 7
    assert streamlit_internals.stored_bytes(store, "you") == 0
    store.remove_session_files("me")
    assert streamlit_internals.stored_bytes(store, "me") == 0


def test_the_server_names_the_parameters_when_it_adds_a_file():
    """So whatever replaces `add_file` must have the same ones."""
    from streamlit.web.server.starlette import starlette_routes

    call = re.search(r"\.add_file\(\s*(\w+)=\w+,\s*(\w+)=", inspect.getsource(starlette_routes))
    assert call.groups() == ("session_id", "file")


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
