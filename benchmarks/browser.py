"""The app in headless Chromium, for benchmarks, browser tests and screenshots."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
_START_S = 300  # of a server, on a machine that is busy with other things
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def chromium_path() -> str | None:
    """The installed Chromium or Chrome, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)


@contextmanager
def launched_browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_answer(url: str, process: subprocess.Popen, what: str) -> None:
    """Wait until a server that a process starts answers. Raises RuntimeError when it ends or does not in time."""
    deadline = time.monotonic() + _START_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError as error:
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"{what} did not start") from error
            time.sleep(0.1)


@contextmanager
def running_app(
    *options: str, command: tuple[str, ...] = ("kidney_core.app.serve",), log: Path | None = None, **environment: str
) -> Iterator[tuple[str, subprocess.Popen]]:
    """The app as `make app` starts it, on a free port; (address, process).

    Args:
        options: of Streamlit.
        command: the module that is run, with its arguments.
        log: takes what the app prints; it is thrown away otherwise.

    Raises: RuntimeError when it does not start.
    """
    port = free_port()
    with (log or Path(os.devnull)).open("ab") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--server.port", str(port), *options],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=printed,
            stderr=printed,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for_answer(f"{address}/_stcore/health", process, f"the app on {address}")
        yield address, process
    finally:
        process.terminate()
        process.wait(timeout=60)


def choose_files(page: Page, files: Any) -> None:
    """Choose files to diagnose; with an image on the page the uploader is in its menu."""
    menu = page.get_by_role("button", name="Another image or model")
    if menu.count():
        menu.click()
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(files)


def settled(page: Page, *, seconds: float = 60) -> None:
    """Wait until the page's script has run; a short pause lets a click reach the server first."""
    page.wait_for_timeout(300)
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=seconds * 1000)
