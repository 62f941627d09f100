"""A folder of whole scans: which files are a scan, what its label is, and what a bad list says."""

from pathlib import Path

import pytest

from kidney_core.common.errors import DatasetError
from kidney_core.data import labelled_scans


def write(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    return root


def files_of(scans):
    return {scan.name: scan.files for scan in scans}


def test_a_list_names_files_folders_and_volumes(tmp_path):
    root = write(tmp_path, "a/2.dcm", "a/10.dcm", "b.nii.gz", "c/1.jpg", "c/2.jpg")
    (root / "series.csv").write_text(
        "path,series,label\na,first,cysts\nb.nii.gz,second,Tumour\nc/1.jpg,third,Stone\nc/2.jpg,third,Normal\n",
        encoding="utf-8",
    )
    scans, left_out = labelled_scans.read_labelled_scans(root)
    assert files_of(scans) == {
        "first": {"a/2.dcm": "Cyst", "a/10.dcm": "Cyst"},
        "second": {"b.nii.gz": "Tumor"},
        "third": {"c/1.jpg": "Stone", "c/2.jpg": "Normal"},
    }
    assert list(scans[0].files) == ["a/2.dcm", "a/10.dcm"]  # natural order
    assert not left_out
    assert labelled_scans.lists_whole_scans(root)


def test_without_labels_in_the_list_the_class_folder_names_them(tmp_path):
    root = write(tmp_path, "Stone/1.png", "normal/2.png")
    (root / "series.csv").write_text("path,series\nStone/1.png,7\nnormal/2.png,8\n", encoding="utf-8")
    assert files_of(labelled_scans.read_labelled_scans(root)[0]) == {
        "7": {"Stone/1.png": "Stone"},
        "8": {"normal/2.png": "Normal"},
    }
    assert not labelled_scans.lists_whole_scans(root)  # slices of class folders, grouped by the list
    (root / "series.csv").write_text(
        "path,series,label\nStone/1.png,7,Stone\nnormal/2.png,8,Normal\n", encoding="utf-8"
    )
    assert not labelled_scans.lists_whole_scans(root)  # the same with labels that say nothing new


def test_without_a_list_a_volume_and_a_folder_below_a_class_are_scans(tmp_path):
    root = write(tmp_path, "Tumor/one/1.dcm", "Tumor/one/2.dcm", "Tumor/two.nii", "Cyst/three.nii.gz", "Cyst/loose.png")
    scans, left_out = labelled_scans.read_labelled_scans(root)
    assert files_of(scans) == {
        "Cyst/three.nii.gz": {"Cyst/three.nii.gz": "Cyst"},
        "Tumor/one": {"Tumor/one/1.dcm": "Tumor", "Tumor/one/2.dcm": "Tumor"},
        "Tumor/two.nii": {"Tumor/two.nii": "Tumor"},
    }
    assert left_out[0][0] == "Cyst"
    assert "1 slices of unknown scans" in left_out[0][1]
    assert labelled_scans.lists_whole_scans(root)


def test_one_class_may_be_given_for_all(tmp_path):
    root = write(tmp_path, "patient1/1.dcm", "patient2/1.dcm")
    scans, _ = labelled_scans.read_labelled_scans(root, label="Stone")
    assert files_of(scans) == {"patient1": {"patient1/1.dcm": "Stone"}, "patient2": {"patient2/1.dcm": "Stone"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,label\na.png,Cyst\n", "needs the columns path and series"),
        ("path,series,label\nnot-there.png,1,Cyst\n", "neither a file nor a folder with files"),
        ("path,series,label\n../out.png,1,Cyst\n", "not a path below its folder"),
        ("path,series,label\n/etc/passwd,1,Cyst\n", "not a path below its folder"),
        ("path,series,label\na.png,1,\n", "has no label for a.png"),
        ("path,series,label\na.png,,Cyst\n", "without a path or a series"),
        ("", "not a table"),
    ],
)
def test_read_labelled_scans__error_bad_list(tmp_path, content, message):
    root = write(tmp_path / "root", "a.png")
    (root / "series.csv").write_text(content, encoding="utf-8")
    with pytest.raises(DatasetError, match=message):
        labelled_scans.read_labelled_scans(root)


def test_read_labelled_scans__error_no_folder_and_no_scan(tmp_path):
    with pytest.raises(DatasetError, match="There is no folder"):
        labelled_scans.read_labelled_scans(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="holds no scan"):
        labelled_scans.read_labelled_scans(write(tmp_path, "Cyst/1.png", "Stone/2.png"))
