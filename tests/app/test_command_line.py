"""One console script reaches every command, and its help ends well."""

import importlib
import re
import subprocess
import sys
import tomllib

import pytest

from kidney_core import __version__
from kidney_core.app import command_line
from tests.conftest import ROOT


def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kidney_core.app.command_line", *arguments], capture_output=True, text=True, **options
    )


def test_help_lists_every_command_without_loading_torch_or_streamlit():
    code = (
        "import sys; from kidney_core.app import command_line; assert command_line.main(['--help']) == 0; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'streamlit', 'pandas')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0
    assert all(f"  {name} " in found.stdout for name in command_line.COMMANDS)


@pytest.mark.parametrize("name", sorted(command_line.COMMANDS))
def test_the_help_of_every_command_names_it_and_ends_with_status_0(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["kidney-ct"])
    with pytest.raises(SystemExit) as ended:
        command_line.main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: kidney-ct {name}" in capsys.readouterr().out


def test_every_command_has_a_main():
    assert all(callable(importlib.import_module(module).main) for module, _ in command_line.COMMANDS.values())


def test_an_unknown_command_is_a_sentence_and_status_2(capsys):
    assert command_line.main(["trian"]) == 2
    assert "there is no command “trian”" in capsys.readouterr().err


def test_ctrl_c_is_one_line_and_status_130(capsys, monkeypatch):
    def interrupted(_name):
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib, "import_module", interrupted)
    assert command_line.main(["phantom", "demo-data"]) == 130
    assert capsys.readouterr().err == "\nStopped.\n"


def test_the_version_is_that_of_the_package(capsys):
    assert command_line.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"] == __version__


@pytest.mark.slow
def test_an_error_that_a_user_can_mend_is_a_sentence_and_status_1(tmp_path):
    found = run("audit", str(tmp_path / "none"))
    assert found.returncode == 1
    assert found.stderr.startswith("error: ")
    assert "Traceback" not in found.stderr


def test_a_folder_that_cannot_be_written_is_a_sentence_too(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = run("phantom", str(tmp_path / "file" / "demo"))
    assert result.returncode == 1
    assert re.fullmatch(
        r"error: “[^”]+/file/demo[^”]*” cannot be read or written \(Not a directory\)\..+\n", result.stderr
    )
