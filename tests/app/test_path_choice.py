"""Diagnosis of a folder or file of this machine by its path: within the roots, for diagnosers, and with a line in the audit log."""

import json

import nibabel
import numpy as np
import pytest

from kidney_core.app import access
from kidney_core.common.errors import AccessError
from kidney_core.imaging import stack
from kidney_core.simulation import phantom_dicom
from tests.app.test_pages import opened, png, texts
from tests.imaging.test_stack import zipped


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """The only folder that may be opened, with a folder of two scans in it."""
    root = tmp_path / "SECRET-ROOT"
    for name, label, n_slices in (("S1", "Cyst", 6), ("S2", "Stone", 4)):
        (root / "patient" / name).mkdir(parents=True)
        for file, content in phantom_dicom.series_files(label, 7, n_slices=n_slices):
            (root / "patient" / name / file).write_bytes(content)
    monkeypatch.setenv("KIDNEY_DATA_ROOTS", str(root))
    return root


def enter(monkeypatch, path):
    """The page after a path was typed."""
    app = opened("pages/1_Diagnosis.py", monkeypatch)
    app.segmented_control(key="diagnosis_kind").set_value("By path").run()
    app.text_input(key="diagnosis_path").set_value(str(path)).run()
    assert not app.exception
    return app


def test_a_folder_of_several_series_is_read_and_written_to_the_audit_log(
    monkeypatch, published, scans, tmp_path, capfd
):
    log = tmp_path / "audit.jsonl"
    monkeypatch.setenv("KIDNEY_AUDIT_LOG", str(log))
    app = enter(monkeypatch, scans / "patient")
    assert "6 of 6 slices were read" in texts(app.markdown)
    assert [each.split(" (")[0] for each in app.selectbox(key="diagnosis_stack").options] == [
        "DICOM series 1",
        "DICOM series 2",
    ]
    written = log.read_text(encoding="utf-8")
    files = [(each.name, each.read_bytes()) for each in (scans / "patient" / "S1").iterdir()]
    assert json.loads(written.splitlines()[0])["input"] == stack.open_stacks(files).stacks[0].sha256
    assert not any(word in written + "".join(capfd.readouterr()) for word in ("SECRET-ROOT", "patient", "slice-0"))


@pytest.mark.parametrize("kind", ["zip", "NIfTI", "pictures", "one file"])
def test_other_files_are_read_by_path_too(monkeypatch, published, scans, kind):
    files = [(each.name, each.read_bytes()) for each in (scans / "patient" / "S1").iterdir()]
    path = scans / "other"
    if kind == "zip":
        path.write_bytes(zipped(files))
    elif kind == "NIfTI":
        volume = np.random.default_rng(0).normal(40, 20, (64, 64, 5)).astype(np.int16)
        path.write_bytes(nibabel.Nifti1Image(volume, np.eye(4)).to_bytes())
    elif kind == "pictures":
        path.mkdir()
        for number in range(3):
            (path / f"{number}.png").write_bytes(png(number))
    else:
        path.write_bytes(files[0][1])
    app = enter(monkeypatch, path)
    assert texts(app.error) == ""
    assert texts(app.header) + "".join(str(each.value) for each in app.dataframe)


def test_what_lies_outside_of_the_roots_gets_the_usual_sentence(monkeypatch, published, scans, tmp_path):
    (tmp_path / "outside").mkdir()
    for path in (tmp_path / "outside", "/etc", scans / ".." / "outside", "/nowhere"):
        app = enter(monkeypatch, path)
        assert "is outside the allowed folders" in texts(app.error)
        assert not app.dataframe
    app = enter(monkeypatch, scans / "nowhere")
    assert "There is no folder or file" in texts(app.error)
    (scans / "empty").mkdir()
    app.text_input(key="diagnosis_path").set_value(str(scans / "empty")).run()
    assert "Nothing at this path is an image" in texts(app.error)


def test_only_who_may_upload_may_open_a_path(monkeypatch, published, scans):
    app = opened("pages/1_Diagnosis.py", monkeypatch)
    app.segmented_control(key="diagnosis_kind").set_value("By path").run()
    require, asked = access.require, []

    def viewer_only(needed):
        asked.append(needed)
        if len(asked) > 1:  # the page itself was let through just before
            raise AccessError("You need the role “diagnoser” for this.")
        return require(needed)

    monkeypatch.setattr(access, "require", viewer_only)
    app.text_input(key="diagnosis_path").set_value(str(scans / "patient")).run()
    assert asked[:2] == [access.DIAGNOSER] * 2
    assert "You need the role" in texts(app.error)
    assert not app.dataframe


def test_files_that_were_added_to_a_folder_are_read_at_the_next_click(monkeypatch, published, scans):
    app = enter(monkeypatch, scans / "patient" / "S2")
    assert "4 of 4 slices were read" in texts(app.markdown)
    (scans / "patient" / "S2" / "slice-004.dcm").unlink()
    app.run()
    assert "3 of 3 slices were read" in texts(app.markdown)
