"""Starting the app: help, wrong options, and the same settings whatever folder it is started from."""

import json
import os
import subprocess
import sys
import urllib.request

import pytest
import streamlit as st
from streamlit import config

from benchmarks.browser import free_port, wait_for_answer
from kidney_core.app import serve, streamlit_internals
from tests.conftest import ROOT

SECURITY = {
    "server.address": "127.0.0.1",
    "client.showErrorDetails": "none",
    "client.showErrorLinks": "false",
    "client.toolbarMode": "minimal",
    "browser.gatherUsageStats": False,
    "server.maxUploadSize": 1024,
    "server.enableStaticServing": False,
    "server.fileWatcherType": "none",
}


@pytest.fixture
def fresh_settings():
    """Streamlit's settings as they were, after a test that read others."""
    yield
    config._main_script_path = None
    config.get_config_options(force_reparse=True)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder whose own settings would open the app to everybody."""
    folder = tmp_path / "elsewhere"
    (folder / ".streamlit").mkdir(parents=True)
    (folder / ".streamlit" / "config.toml").write_text(
        '[server]\naddress = "0.0.0.0"\nmaxUploadSize = 9000\n[client]\nshowErrorDetails = "full"\n', encoding="utf-8"
    )
    monkeypatch.chdir(folder)
    return folder


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "kidney_core.app.serve", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_prints_the_usage_and_ends_with_0(tmp_path):
    finished = run("--help", cwd=tmp_path)
    assert finished.returncode == 0
    assert finished.stdout.startswith("usage: ")
    assert "Any other option goes to Streamlit" in finished.stdout


def test_serve__error_unknown_option(tmp_path):
    finished = run("--server.prt", "8600", cwd=tmp_path)
    assert finished.returncode == 2
    assert "error: No such option '--server.prt'" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_the_security_settings_hold_in_any_folder(elsewhere, fresh_settings):
    options = serve.own_settings({})
    streamlit_internals.read_options(serve.app_script(), options)
    assert {name: st.get_option(name) for name in SECURITY} == SECURITY
    assert st.get_option("theme.chartCategoricalColors")[0] == "#0072B2"
    assert {f"--{name}" for name in SECURITY} <= {option.partition("=")[0] for option in options}


def test_an_environment_variable_and_an_option_win_over_the_own_settings(monkeypatch, fresh_settings):
    monkeypatch.setenv("STREAMLIT_SERVER_MAX_UPLOAD_SIZE", "128")
    monkeypatch.setenv("STREAMLIT_SERVER_PORT", "9000")
    streamlit_internals.read_options(serve.app_script(), [*serve.own_settings(), "--server.port", "9001"])
    assert st.get_option("server.maxUploadSize") == 128
    assert st.get_option("server.port") == 9001


@pytest.mark.slow
def test_the_app_answers_when_it_is_started_from_another_folder(elsewhere):
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "kidney_core.app.serve", "--server.port", str(port)],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for_answer(f"http://127.0.0.1:{port}/_stcore/health", process, "the app")
        assert process.stdout.readline().startswith(f"Kidney CT workbench: http://127.0.0.1:{port} ")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/host-config", timeout=20) as answer:
            assert "enableCustomParentMessages" in json.load(answer)
    finally:
        process.terminate()
        process.communicate(timeout=20)
