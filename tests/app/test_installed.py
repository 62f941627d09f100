"""The wheel works where no checkout is: in an environment of its own, from another folder."""

import os
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
from pathlib import Path

import pytest

from benchmarks.browser import free_port
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """`kidney-ct` of a wheel in a fresh environment, which borrows only the packages that it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*build, str(folder), "."], cwd=ROOT, check=True)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    paths = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True
    )
    (Path(paths.stdout.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed", str(wheel)], check=True
    )
    return environment / "bin" / "kidney-ct"


@pytest.fixture
def run(installed, tmp_path):
    """Run a command of the installed package in a folder of its own, with the user's data folder there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KIDNEY_")}
    environment |= {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("PYTHONPATH", None)

    def call(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [installed, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            **options,
        )

    call.environment, call.folder = environment, tmp_path
    return call


def test_the_package_runs_from_where_it_was_installed(run, installed):
    settings = run("settings").stdout
    assert f"KIDNEY_RUNS            {run.folder}/data/kidney-ct/runs" in settings
    located = subprocess.run(
        [installed.with_name("python"), "-c", "import kidney_core; print(kidney_core.__file__)"],
        cwd=run.folder,
        env=run.environment,
        capture_output=True,
        text=True,
    )
    assert str(installed.parent.parent) in located.stdout


def test_it_trains_where_no_checkout_is(run):
    assert run("phantom", "demo", "--series", "3", "--slices", "2").returncode == 0
    network = ["--init", "scratch", "--trainable", "all", "--architecture", "test_resnet", "--image-size", "32"]
    trained = run(
        "train", "--data", "demo", *network, "--epochs", "1", "--device", "cpu", "--n-processes", "2", "--name", "first"
    )
    assert trained.returncode == 0, trained.stderr
    assert (run.folder / "data" / "kidney-ct" / "runs" / "first" / "report.json").is_file()


def test_the_app_starts_from_any_folder_and_knows_the_shipped_checkpoints(run, installed):
    port = free_port()
    with subprocess.Popen(
        [installed, "app", "--server.port", str(port)],
        cwd=run.folder,
        env=run.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as app:
        try:
            assert f"http://127.0.0.1:{port}" in app.stdout.readline()
            page = _patiently(f"http://127.0.0.1:{port}/_stcore/health")
            assert page == b"ok"
        finally:
            _stop(app)
    code = "from kidney_core.checkpoints import checkpoint; print([each.name for each in checkpoint.list_checkpoints()[0]])"
    found = subprocess.run(
        [installed.with_name("python"), "-c", code], cwd=run.folder, env=run.environment, capture_output=True, text=True
    )
    assert all(name in found.stdout for name in ("mobilenetv2", "resnet18", "efficientnet-b0"))


def _stop(app: subprocess.Popen[str]) -> None:
    """End a server; Streamlit loses a signal that comes while it is still starting."""
    for _ in range(20):
        app.terminate()
        try:
            app.wait(timeout=3)
            return
        except subprocess.TimeoutExpired:
            continue
    app.kill()
    raise AssertionError("the app does not end when it is asked to")


def _patiently(url: str) -> bytes:
    """What an address answers, as soon as the server listens."""
    for _ in range(240):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read()
        except OSError:
            time.sleep(0.25)
    raise AssertionError(f"nobody answers at {url}")
