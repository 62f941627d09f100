"""Folders as they are found: with splits of their own, in archives, with links, and with what is no class."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from kidney_core.common.errors import DatasetError
from kidney_core.common.labelling import Labelling
from kidney_core.data import dataset, folder_layout
from kidney_core.metrics.splits import TEST, TRAIN, VALIDATION

_count = iter(range(10_000))


def add(folder, n=2):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        pixels = np.random.default_rng(next(_count)).integers(0, 255, (40, 40)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def parts(read):
    return {
        label: read.table.loc[read.table["label"] == label, "folder_part"].value_counts().to_dict()
        for label in read.labels
    }


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train", TRAIN),
        ("Training", TRAIN),
        ("VAL", VALIDATION),
        ("valid", VALIDATION),
        ("validation_set", VALIDATION),
        ("Test", TEST),
        ("test_2", TEST),
        ("testing-data", TEST),
        ("images_train", TRAIN),
        ("KidneyTest", TEST),
        ("X_val", VALIDATION),
        ("test_split", TEST),
        ("fold1_train", TRAIN),
        ("evaluation", VALIDATION),
        ("Entraînement", TRAIN),
        ("eğitim", TRAIN),
        ("测试集", TEST),
        ("contrast test", None),
        ("Cyst", None),
        ("contest", None),
        ("tests of patients", None),
    ],
)
def test_names_of_parts(name, part):
    assert folder_layout.part_of(name) == part


@pytest.mark.parametrize("classes", [("Cyst", "Tumor"), ("gesund", "zyste"), ("0", "1")])
@pytest.mark.parametrize("names", [("train", "val", "test"), ("Train", "VALID", "Test")])
def test_parts_above_the_classes_are_no_classes(tmp_path, classes, names):
    for name in names:
        for label in classes:
            add(tmp_path / name / label)
    read = dataset.read_dataset(tmp_path)
    assert read.labels == classes
    assert parts(read) == {label: {TRAIN: 2, VALIDATION: 2, TEST: 2} for label in classes}
    assert read.unreadable == ()


def test_parts_below_the_classes_are_the_same(tmp_path):
    for label in ("Cyst", "Stone"):
        add(tmp_path / label / "train", 3)
        add(tmp_path / label / "test", 1)
    read = dataset.read_dataset(tmp_path)
    assert parts(read) == {label: {TRAIN: 3, TEST: 1} for label in ("Cyst", "Stone")}


@pytest.mark.parametrize("between", ["images", "Images 2", "fold1", "original"])
@pytest.mark.parametrize("classes", [("Cyst", "Tumor"), ("0", "1")])
def test_folders_that_only_hold_others_are_no_classes(tmp_path, between, classes):
    for part in ("train", "test"):
        for name in classes:
            add(tmp_path / part / between / name)
    read = dataset.read_dataset(tmp_path)
    assert parts(read) == {label: {TRAIN: 2, TEST: 2} for label in classes}


def test_known_names_below_others_are_the_classes(tmp_path):
    for part in ("train", "test"):
        for hospital in ("north", "south"):
            for label in ("Cyst", "Tumor"):
                add(tmp_path / part / hospital / label)
    read = dataset.read_dataset(tmp_path)
    assert parts(read) == {label: {TRAIN: 4, TEST: 4} for label in ("Cyst", "Tumor")}


@pytest.mark.parametrize("folder", ["images", "train/images"])
def test_pictures_without_a_class_are_not_of_the_class_images(tmp_path, folder):
    add(tmp_path / folder)
    with pytest.raises(DatasetError, match="No images were found in class folders"):
        dataset.read_dataset(tmp_path)


@pytest.mark.parametrize("drawn", ["mask", "Segmentations", "annotations", "Ground Truth"])
def test_what_is_drawn_on_slices_is_no_slice(tmp_path, drawn):
    for label in ("Cyst", "Tumor"):
        add(tmp_path / label / "images")
        add(tmp_path / label / drawn)
    assert len(dataset.read_dataset(tmp_path)) == 4


def test_a_test_folder_beside_the_classes_is_no_fifth_class(tmp_path):
    for label in ("Cyst", "Normal", "Stone", "Tumor"):
        add(tmp_path / label)
        add(tmp_path / "test" / label, 1)
    read = dataset.read_dataset(tmp_path)
    assert read.labels == ("Cyst", "Normal", "Stone", "Tumor")
    assert parts(read)["Stone"] == {TRAIN: 2, TEST: 1}


def test_images_of_a_part_without_classes_are_left_out_and_listed(tmp_path):
    for label in ("Cyst", "Normal"):
        add(tmp_path / label)
    add(tmp_path / "test", 5)
    read = dataset.read_dataset(tmp_path)
    assert (read.labels, len(read), "folder_part" in read.table) == (("Cyst", "Normal"), 4, False)
    assert read.unreadable == (("test", "“test” holds 5 files that are in no class folder; they are left out."),)


def test_folders_beside_the_parts_are_no_classes_unless_a_part_has_them(tmp_path):
    for label in ("zyste", "gesund"):
        add(tmp_path / "train" / label)
        add(tmp_path / "test" / label)
    add(tmp_path / "zyste", 1)
    add(tmp_path / "notebooks", 3)
    read = dataset.read_dataset(tmp_path)
    assert read.labels == ("gesund", "zyste")
    assert parts(read)["zyste"] == {TRAIN: 3, TEST: 2}
    assert [path for path, _ in read.unreadable] == ["notebooks"]


def test_a_folder_that_is_all_training_has_no_split(tmp_path):
    for label in ("Cyst", "Normal"):
        add(tmp_path / "train" / label)
    read = dataset.read_dataset(tmp_path)
    assert (read.labels, "folder_part" in read.table) == (("Cyst", "Normal"), False)


@pytest.mark.parametrize("inside", ["CT", "CT/CT"])
@pytest.mark.parametrize("split", [(), ("train", "test")])
def test_an_unpacked_archive_is_read_where_its_classes_are(tmp_path, inside, split):
    for part in split or ("",):
        for label in ("Cyst", "Normal", "Stone"):
            add(tmp_path / "download" / inside / part / label)
    (tmp_path / "download" / "readme.txt").write_text("about", encoding="utf-8")
    read = dataset.read_dataset(tmp_path / "download")
    assert read.root == tmp_path / "download" / inside
    assert read.labels == ("Cyst", "Normal", "Stone")
    assert read.table["path"].str.split("/").str[0].isin([*split, "Cyst", "Normal", "Stone"]).all()


def test_a_folder_of_datasets_is_named_with_what_it_holds(tmp_path):
    for name in ("plain", "clahe"):
        for label in ("Cyst", "Normal"):
            add(tmp_path / "data" / name / label)
    with pytest.raises(
        DatasetError, match=r"“.*/data” holds 2 datasets: “clahe”, “plain”. Choose one of these folders"
    ):
        dataset.read_dataset(tmp_path / "data")


def test_what_other_programs_leave_behind_is_skipped(tmp_path):
    for label in ("Cyst", "Normal"):
        add(tmp_path / label)
        (tmp_path / label / "Thumbs.db").write_bytes(b"thumbnails")
        (tmp_path / label / "@eaDir").mkdir()
        (tmp_path / label / "@eaDir" / "0.png").write_bytes(b"metadata")
    add(tmp_path / "__MACOSX" / "Cyst")
    add(tmp_path / ".trash")
    read = dataset.read_dataset(tmp_path)
    assert (read.labels, len(read), read.unreadable) == (("Cyst", "Normal"), 4, ())


def test_a_dangling_link_is_listed_and_the_rest_is_read(tmp_path):
    for label in ("Cyst", "Normal"):
        add(tmp_path / label)
    (tmp_path / "Cyst" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    read = dataset.read_dataset(tmp_path)
    assert len(read) == 4
    assert read.unreadable == (("Cyst/gone.png", "“Cyst/gone.png” is a link to a file that does not exist."),)


def test_linked_class_folders_are_read_and_a_circle_of_links_ends(tmp_path):
    add(tmp_path / "elsewhere", 3)
    add(tmp_path / "data" / "Normal")
    (tmp_path / "data" / "Cyst").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "Normal" / "again").symlink_to(tmp_path / "data" / "Normal")
    read = dataset.read_dataset(tmp_path / "data")
    assert read.counts()["Cyst"] == 3
    assert len(read) <= 7


def test_an_index_from_the_cache_knows_the_parts_too(tmp_path):
    for name in ("train", "test"):
        add(tmp_path / name / "Cyst")
        add(tmp_path / name / "Normal")
    first = dataset.read_dataset(tmp_path)
    again = dataset.read_dataset(tmp_path)
    assert again.table.equals(first.table)
    shutil.rmtree(tmp_path / "test")
    assert "folder_part" not in dataset.read_dataset(tmp_path).table


@pytest.mark.parametrize("names", [("0", "1", "2", "3"), ("囊肿", "正常", "结石", "肿瘤"), ("Quiste", "Cálculo")])
def test_an_archive_of_other_names_is_read_where_its_classes_are(tmp_path, names):
    for name in names:
        add(tmp_path / "CT" / "CT" / name)
    (tmp_path / "README.md").write_text("about", encoding="utf-8")
    read = dataset.read_dataset(tmp_path)
    assert read.root == tmp_path / "CT" / "CT"
    assert read.class_names == {name: (name, 2) for name in names}


def test_stated_names_become_labels_and_one_can_be_left_out(tmp_path):
    for name in ("0", "1", "2"):
        add(tmp_path / name)
    stated = Labelling.from_text(classes="0=Cyst,1=Normal,2=")
    read = dataset.read_dataset(tmp_path, labelling=stated)
    assert read.counts() == {"Cyst": 2, "Normal": 2}
    assert read.unreadable == (("2", "The class “2” is left out, as you said; it has 2 files."),)
    assert read.fingerprint != dataset.read_dataset(tmp_path).fingerprint


def test_names_that_are_no_text_are_listed_and_the_rest_is_read(tmp_path):
    for label in ("Cyst", "Normal"):
        add(tmp_path / label)
    (tmp_path / os.fsdecode(b"C\xe1lculo")).mkdir()
    (tmp_path / os.fsdecode(b"Cyst/qu\xe9.png")).write_bytes(b"x")
    read = dataset.read_dataset(tmp_path)
    assert len(read) == 4
    assert [path for path, _ in read.unreadable] == ["C\ufffdlculo", "Cyst/qu\ufffd.png"]


def test_what_cannot_be_entered_or_opened_is_listed_and_the_rest_is_read(tmp_path):
    for label in ("Cyst", "Normal"):
        add(tmp_path / label)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "Cyst" / "circle.png").symlink_to(tmp_path / "Cyst" / "circle.png")
    (tmp_path / "Cyst" / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "Cyst" / "pipe.png")
    (tmp_path / "Cyst" / "0.bin").write_bytes(b"no image")
    read = dataset.read_dataset(tmp_path)
    assert (len(read), read.labels) == (4, ("Cyst", "Normal"))
    assert sorted(path for path, _ in read.unreadable) == [
        "Cyst/0.bin",
        "Cyst/circle.png",
        "Cyst/gone",
        "Cyst/pipe.png",
    ]


@pytest.mark.parametrize("folder", ["@EADIR", "#recycle", "$RECYCLE.BIN", "Masks", "System Volume Information", ".git"])
def test_folders_that_systems_make_are_no_classes(tmp_path, folder):
    for label in ("Cyst", "Normal", folder):
        add(tmp_path / label)
    assert dataset.read_dataset(tmp_path).labels == ("Cyst", "Normal")
