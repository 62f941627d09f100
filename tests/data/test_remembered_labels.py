"""What a user says about class names is asked once, and a run depends on its own configuration alone."""

import json

import pytest
from PIL import Image

from kidney_core.common import settings
from kidney_core.common.errors import DatasetError
from kidney_core.common.labelling import NOT_STATED, Labelling
from kidney_core.data import leak_audit, remembered_labels


@pytest.fixture
def numbered(tmp_path):
    for name in ("0", "1"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for n in range(3):
            Image.new("L", (16, 16), 40 * n + 9 * int(name)).save(tmp_path / "data" / name / f"{n}.png")
    return tmp_path / "data"


STATED = Labelling.from_text(classes="0=Cyst,1=Normal")


def test_a_folder_is_known_again_by_whatever_path_leads_to_it(numbered, monkeypatch):
    remembered_labels.remember(numbered, STATED)
    monkeypatch.chdir(numbered.parent)
    assert remembered_labels.recall("data/../data/") == STATED
    assert remembered_labels.recall(numbered.parent) == NOT_STATED
    assert remembered_labels.read("data").labels == ("Cyst", "Normal")
    remembered_labels.remember("data", NOT_STATED)
    assert remembered_labels.read("data").labels == ("0", "1")


def test_a_command_remembers_its_options_and_says_what_it_takes_from_before(numbered, capsys):
    assert leak_audit.main([str(numbered), "--classes", "0=Cyst,1=Normal"]) == 0
    assert "as you said before" not in capsys.readouterr().err
    assert leak_audit.main([numbered.as_uri()]) == 0
    captured = capsys.readouterr()
    assert "Cyst " in captured.out
    assert f"as you said before about “{numbered}”: --classes 0=Cyst,1=Normal" in captured.err
    assert leak_audit.main([str(numbered), "--classes", ""]) == 0
    assert remembered_labels.recall(numbered) == NOT_STATED


def test_names_that_mean_different_things_in_two_folders_are_not_mixed(tmp_path):
    for name, classes in (("a", "0=Cyst,1=Normal"), ("b", "2=Stone"), ("c", "0=Tumor")):
        (tmp_path / name).mkdir()
        remembered_labels.remember(tmp_path / name, Labelling.from_text(classes=classes))
    assert remembered_labels.recall_classes([str(tmp_path / "a"), str(tmp_path / "b")]) == "0=Cyst,1=Normal,2=Stone"
    with pytest.raises(DatasetError, match="“0” stands for Cyst in one folder and for Tumor in"):
        remembered_labels.recall_classes([str(tmp_path / "a"), str(tmp_path / "c")])


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, '{"X": 3}', '{"X": {"classes": 3}}'])
def test_a_damaged_file_is_a_sentence(numbered, content):
    path = settings.home() / remembered_labels.FILE
    path.parent.mkdir(parents=True)
    path.write_text(content.replace("X", str(numbered)), encoding="utf-8")
    with pytest.raises(DatasetError, match="cannot be read"):
        remembered_labels.recall(numbered)


def test_the_file_is_plain_json(numbered):
    remembered_labels.remember(numbered, STATED)
    stored = json.loads((settings.home() / remembered_labels.FILE).read_text(encoding="utf-8"))
    assert stored == {str(numbered): {"classes": "0=Cyst,1=Normal", "table": ""}}
