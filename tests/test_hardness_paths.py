"""Typed paths stay inside the roots, and job fields never meet a shell (point 8), beside the lines of the table."""

import ast
import os

import pytest
from streamlit.testing.v1 import AppTest

from kidney_core.app import path_inputs
from kidney_core.common import allowed_paths
from kidney_core.common.errors import PathError
from tests.app.test_pages import opened, texts
from tests.conftest import ROOT, write_series_dataset
from tests.hardness import paths


def test_nothing_is_started_through_a_shell():
    """No shell=True, os.system, os.popen anywhere in the product: the processes above are all the ways there are."""
    for path in [*(ROOT / "kidney_core").rglob("*.py"), *(ROOT / "pages").glob("*.py"), ROOT / "train.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword):
                assert node.arg != "shell", path
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("system", "popen", "getoutput", "getstatusoutput"), path


# Every text field that is not a path; a new one is either added here or is a `path_inputs.path_input`.
NO_PATHS = {
    "evaluation_import_labels",
    "evaluation_import_mean",
    "evaluation_import_std",
    "evaluation_import_name",
    "training_search",
    "teaching_student_name",
    "teaching_join_code",
    "teaching_class_name",
    "training_architecture_text",
    "training_publish_name",
    "search_options",  # `job_start.ready` checks the paths among them
    "search_range_{name}",
}
NO_PATH_LABELS = {"Tags, separated by commas", "Name", "Seeds"}


def test_every_text_field_that_names_a_path_goes_through_the_one_door():
    for path in [*(ROOT / "kidney_core").rglob("*.py"), *(ROOT / "pages").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "text_input"
            ):
                continue
            keys = {word.arg: ast.unparse(word.value).removeprefix("f").strip("'") for word in node.keywords}
            label = getattr(node.args[0], "value", None)
            assert path.name == "path_inputs.py" or keys.get("key") in NO_PATHS or label in NO_PATH_LABELS, ast.unparse(
                node
            )


def test_roots__error_misspelt(monkeypatch, tmp_path):
    monkeypatch.setenv(allowed_paths.VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(PathError, match="which is not a folder. Correct the setting"):
        allowed_paths.configured_roots()
    monkeypatch.setenv(allowed_paths.VARIABLE, "~nobody-of-that-name/x")
    with pytest.raises(PathError, match="which is not a folder. Correct the setting"):
        allowed_paths.configured_roots()
    monkeypatch.setenv(allowed_paths.VARIABLE, os.pathsep.join([str(tmp_path), ""]))
    assert allowed_paths.configured_roots() == (tmp_path.resolve(),)
    monkeypatch.setenv(allowed_paths.VARIABLE, "")
    assert allowed_paths.configured_roots() == ()
    with pytest.raises(PathError, match=f"set {allowed_paths.VARIABLE} to folders"):
        allowed_paths.resolve_allowed(str(tmp_path), allowed_paths.configured_roots())
    monkeypatch.delenv(allowed_paths.VARIABLE)
    assert allowed_paths.configured_roots() is None
    assert str(allowed_paths.resolve_allowed("/anything", None)) == "/anything"


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A dataset outside of the only root."""
    (tmp_path / "root").mkdir()
    monkeypatch.setenv(allowed_paths.VARIABLE, str(tmp_path / "root"))
    return str(write_series_dataset(tmp_path / "elsewhere", n_series=1, n_slices=2))


def refused(app):
    assert not app.exception, app.exception
    assert "is outside the allowed folders" in texts(app.error)
    return True


def test_the_simulated_dataset_is_offered_only_where_it_may_be_used(monkeypatch, outside, tmp_path):
    monkeypatch.chdir(ROOT)  # where the settings of the server are
    monkeypatch.setattr(path_inputs, "_DEMO_FOLDER", outside)
    assert _offered() == ("", 0)
    monkeypatch.setenv(allowed_paths.VARIABLE, str(tmp_path))
    assert _offered() == (outside, 0)


def _offered():
    """What the field of a folder holds at first, and how many errors are shown."""

    def page():
        from kidney_core.app import path_inputs

        path_inputs.folder_input("folder")

    app = AppTest.from_function(page).run()
    assert not app.exception, app.exception
    return app.text_input(key="folder").value, len(app.error)


@pytest.mark.slow
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
    app.selectbox(key="training_start").set_value("A file").run()
    app.text_input(key="training_weights").set_value("/etc/passwd").run()
    assert refused(app)


@pytest.mark.slow
def test_an_uploaded_configuration_cannot_name_a_folder_outside_the_roots(monkeypatch, outside, tmp_path):
    app = opened("pages/3_Training.py", monkeypatch)
    content = paths.write_hostile_file(tmp_path, outside)
    app.file_uploader(key="training_config_file").set_value(("c.json", content, "application/json")).run()
    app.button(key="training_config_start").click().run()
    assert refused(app)
    assert not list((tmp_path / "runs").glob("*/config.json"))


def test_a_table_of_a_checkpoint_cannot_name_a_picture_elsewhere(tmp_path):
    with pytest.raises(PathError, match="only if you trust its source"):
        allowed_paths.file_below(tmp_path, "../../secret.png")
