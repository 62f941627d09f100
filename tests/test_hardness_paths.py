"""Typed paths stay inside the roots, and job fields never meet a shell (point 8), beside the lines of the table."""

import ast
import os

import pytest

from kidney_core import roots
from kidney_core.errors import PathError
from tests.conftest import ROOT, write_series_dataset
from tests.hardness import paths
from tests.test_pages import opened, texts


def test_nothing_is_started_through_a_shell():
    """No shell=True, os.system, os.popen anywhere in the product: the processes above are all the ways there are."""
    for path in [*(ROOT / "kidney_core").glob("*.py"), *(ROOT / "pages").glob("*.py"), ROOT / "train.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword):
                assert node.arg != "shell", path
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("system", "popen", "getoutput", "getstatusoutput"), path


# Every text field that is not a path; a new one is either added here or is a `ui.path_input`.
NO_PATHS = {"training_other", "training_seeds", "training_publish_name"}
NO_PATH_LABELS = {"Tags, separated by commas", "Name"}


def test_every_text_field_that_names_a_path_goes_through_the_one_door():
    for path in [*(ROOT / "kidney_core").glob("*.py"), *(ROOT / "pages").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "text_input"
            ):
                continue
            keys = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            label = getattr(node.args[0], "value", None)
            assert path.name == "ui.py" or keys.get("key") in NO_PATHS or label in NO_PATH_LABELS, ast.unparse(node)


def test_roots__error_misspelt(monkeypatch, tmp_path):
    monkeypatch.setenv(roots.VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(PathError, match="which is not a folder. Correct the setting"):
        roots.configured()
    monkeypatch.setenv(roots.VARIABLE, os.pathsep.join([str(tmp_path), ""]))
    assert roots.configured() == (tmp_path.resolve(),)
    monkeypatch.setenv(roots.VARIABLE, "")
    assert roots.configured() == ()
    with pytest.raises(PathError, match=f"set {roots.VARIABLE} to folders"):
        roots.inside(str(tmp_path), roots.configured())
    monkeypatch.delenv(roots.VARIABLE)
    assert roots.configured() is None
    assert str(roots.inside("/anything", None)) == "/anything"


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A dataset outside of the only root."""
    (tmp_path / "root").mkdir()
    monkeypatch.setenv(roots.VARIABLE, str(tmp_path / "root"))
    return str(write_series_dataset(tmp_path / "elsewhere", n_series=1, n_slices=2))


def refused(app):
    assert not app.exception, app.exception
    assert "is outside the folders that may be used" in texts(app.error)
    return True


def test_pages_refuse_folders_outside_the_roots(monkeypatch, outside, tmp_path):
    app = opened("pages/4_Dataset.py", monkeypatch)
    app.text_input(key="dataset_folder").set_value(outside)
    app.button[0].click().run()
    assert refused(app)
    assert "slices in" not in texts(app.markdown)
    app = opened("pages/3_Training.py", monkeypatch)
    for key in ("training_folder", "training_extra_data"):
        app.text_input(key=key).set_value(outside).run()
        assert refused(app)
        app.text_input(key=key).set_value("").run()
    app.selectbox(key="training_start").set_value("A safetensors file").run()
    app.text_input(key="training_weights").set_value("/etc/passwd").run()
    assert refused(app)


def test_an_uploaded_configuration_cannot_name_a_folder_outside_the_roots(monkeypatch, outside, tmp_path):
    app = opened("pages/3_Training.py", monkeypatch)
    content = paths.write_hostile_file(tmp_path, outside)
    app.file_uploader(key="training_config_file").set_value(("c.json", content, "application/json")).run()
    app.button(key="training_config_start").click().run()
    assert refused(app)
    assert not list((tmp_path / "runs").glob("*/config.json"))


def test_a_table_of_a_checkpoint_cannot_name_a_picture_elsewhere(tmp_path):
    with pytest.raises(PathError, match="only if you trust its source"):
        roots.below(tmp_path, "../../secret.png")
