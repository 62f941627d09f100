"""Python processes that the package starts find it in any working directory, and import nothing from there."""

import os
import subprocess
from pathlib import Path

import pytest

from kidney_core.common import child_process, settings


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working directory with a file that would hide a module of the package's, and no PYTHONPATH."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    (tmp_path / "dataclasses.py").write_text(
        "raise SystemExit('imported from the working directory')\n", encoding="utf-8"
    )
    return tmp_path


def test_a_child_finds_the_package_and_keeps_its_working_directory(elsewhere):
    command = child_process.python_command("kidney_core.common.settings")
    done = subprocess.run(command, env=child_process.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "KIDNEY_RUNS" in done.stdout


def test_a_checkout_comes_before_the_users_python_path(elsewhere, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    folders = child_process.environment()["PYTHONPATH"].split(os.pathsep)
    assert folders == [str(settings.CHECKOUT), "/somewhere"]
    again = child_process.environment(inherited=child_process.environment())
    assert again["PYTHONPATH"].split(os.pathsep) == folders


def test_an_installed_package_needs_no_python_path(elsewhere, monkeypatch):
    monkeypatch.setattr(settings, "CHECKOUT", None)
    assert "PYTHONPATH" not in child_process.environment()
    assert child_process.import_variables() == {"PYTHONSAFEPATH": "1"}


def test_a_childs_own_variables_win(elsewhere):
    environment = child_process.environment({"A": "own"}, inherited={"A": "inherited", "B": "kept"})
    assert (environment["A"], environment["B"]) == ("own", "kept")
    assert Path(environment["PYTHONPATH"]) == settings.CHECKOUT
