"""Settings come from the environment, with one table of defaults."""

import re

import pytest

from kidney_core.checkpoints import checkpoint
from kidney_core.common import settings
from kidney_core.common.errors import PathError
from tests.conftest import ROOT


@pytest.fixture
def defaults(monkeypatch):
    """No setting comes from the environment."""
    for setting in settings.SETTINGS:
        monkeypatch.delenv(setting.name, raising=False)


def test_a_checkout_keeps_runs_and_checkpoints_in_its_own_folder(defaults, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert settings.runs_folder() == ROOT / "runs"
    assert settings.checkpoint_folders() == (ROOT / "checkpoints",)


def test_an_installed_package_keeps_them_in_the_users_data_folder(defaults, monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "CHECKOUT", None)
    monkeypatch.setattr(settings, "SHIPPED_CHECKPOINTS", tmp_path / "package")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert settings.runs_folder() == tmp_path / "kidney-ct" / "runs"
    assert settings.checkpoint_folders() == (tmp_path / "kidney-ct" / "checkpoints", tmp_path / "package")


def test_home_moves_both_and_a_folder_of_its_own_wins(defaults, monkeypatch, tmp_path):
    monkeypatch.setenv("KIDNEY_HOME", str(tmp_path))
    monkeypatch.setenv("KIDNEY_RUNS", str(tmp_path / "elsewhere"))
    assert settings.checkpoints_folder() == tmp_path / "checkpoints"
    assert settings.runs_folder() == tmp_path / "elsewhere"


def test_checkpoints_of_the_user_come_before_those_of_the_package(monkeypatch, tmp_path, published):
    monkeypatch.delenv("KIDNEY_CHECKPOINTS")
    monkeypatch.setenv("KIDNEY_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(settings, "SHIPPED_CHECKPOINTS", published.folder.parent)
    assert [each.folder for each in checkpoint.list_checkpoints()[0]] == [published.folder]
    own = tmp_path / "home" / "checkpoints" / published.folder.name
    own.mkdir(parents=True)
    usable, problems = checkpoint.list_checkpoints()
    assert usable == []
    assert "has no readable card.json" in problems[0]


def test_the_home_folder_is_resolved_in_every_path(defaults, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for setting in (settings.HOME, settings.RUNS, settings.AUDIT_LOG, settings.ROLES):
        assert setting.path() is None
        monkeypatch.setenv(setting.name, " ~/here ")
        assert setting.path() == tmp_path / "here"
    monkeypatch.setenv("KIDNEY_ROLES", "~nobody-of-that-name/roles.toml")
    with pytest.raises(
        PathError, match="KIDNEY_ROLES is “~nobody-of-that-name/roles.toml”, and this machine has no such"
    ):
        settings.ROLES.path()


def test_every_setting_of_the_code_is_in_the_table():
    named = set()
    for path in (ROOT / "kidney_core").rglob("*.py"):
        named |= set(re.findall(r"\bKIDNEY_[A-Z_]+[A-Z]\b", path.read_text(encoding="utf-8")))
    # What a process sets for its own children is no setting of a person.
    assert named - {"KIDNEY_HELD_RUN", "KIDNEY_LOGGED", "KIDNEY_RAY_WORKER"} == {
        setting.name for setting in settings.SETTINGS
    }


def test_the_table_is_printed_without_the_secret(monkeypatch, capsys):
    monkeypatch.setenv("KIDNEY_RAY_TOKEN", "s3cret")
    monkeypatch.setenv("KIDNEY_SLOTS", "3")
    assert settings.main([]) == 0
    printed = capsys.readouterr().out
    assert "s3cret" not in printed
    assert re.search(r"KIDNEY_SLOTS +3\n", printed)
    assert all(setting.name in printed for setting in settings.SETTINGS)
