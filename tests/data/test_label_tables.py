"""CSV files beside images: what is clear is read, what is not is asked, and nothing is guessed."""

import pytest
from PIL import Image

from kidney_core.common.errors import DatasetError, UnclearTable
from kidney_core.common.labelling import Labelling
from kidney_core.data import dataset, folder_layout
from kidney_core.metrics.splits import TEST, TRAIN

FOUR = ("Cyst", "Normal", "Stone", "Tumor")


def images(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("L", (8, 8)).save(folder / name)


def labels(root, **options):
    layout = folder_layout.list_files(root, **options)
    return {file.path: file.label for file in layout.files}


def public(root, columns=("", "image_id", "path", "diag", "target", "Class")):
    """kidneyData.csv as the public dataset has it, and its images in one folder."""
    rows, number = [",".join(columns)], 0
    for target, label in enumerate(FOUR):
        for n in (1, 2, 3):
            name = f"{label}- ({n})"
            images(root / "images", [f"{name}.jpg"])
            cells = {"": number, "image_id": name, "path": f"../input/kaggle/{label}/{name}.jpg"}
            cells |= {"diag": label, "target": target, "Class": label}
            rows.append(",".join(str(cells[column]) for column in columns))
            number += 1
    (root / "kidneyData.csv").write_text("\n".join(rows), encoding="utf-8")


def test_the_table_of_the_public_dataset_needs_no_question(tmp_path):
    public(tmp_path)
    found = labels(tmp_path)
    assert len(found) == 12
    assert all(label in path for path, label in found.items())


@pytest.mark.parametrize("columns", [("path", "Class"), ("image_id", "diag"), ("Class", "path", "target")])
def test_paths_of_another_machine_and_names_without_suffix_are_found(tmp_path, columns):
    public(tmp_path, columns)
    assert all(label in path for path, label in labels(tmp_path).items())


def test_it_is_read_from_an_unpacked_archive_too(tmp_path):
    public(tmp_path / "CT" / "CT")
    read = dataset.read_dataset(tmp_path)
    assert (read.root, read.labels) == (tmp_path / "CT" / "CT", FOUR)


def test_class_folders_come_before_a_table_beside_them(tmp_path):
    for label in FOUR:
        images(tmp_path / "CT" / "CT" / label, [f"{label}- (1).jpg"])
    (tmp_path / "kidneyData.csv").write_text("path,Class\nx/Cyst- (1).jpg,Stone\n", encoding="utf-8")
    assert labels(tmp_path)["Cyst/Cyst- (1).jpg"] == "Cyst"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_spreadsheets_of_other_countries_are_read(tmp_path, encoding, delimiter):
    images(tmp_path, ["a.png", "b.png", "c.png"])
    rows = [("imagen", "etiqueta"), ("a.png", "Cálculo"), ("b.png", "Quiste"), ("c.png", "Normal")]
    text = "\r\n".join(delimiter.join(row) for row in rows)
    (tmp_path / "datos.csv").write_bytes(text.encode(encoding))
    stated = Labelling.from_text(classes="Cálculo=Stone,Quiste=Cyst")
    assert labels(tmp_path, labelling=stated) == {"a.png": "Stone", "b.png": "Cyst", "c.png": "Normal"}


def test_a_table_without_heading_is_read(tmp_path):
    images(tmp_path, ["a.png", "b.png"])
    (tmp_path / "list.csv").write_text("a.png,cyst\nb.png,kidney_stone\n", encoding="utf-8")
    assert labels(tmp_path) == {"a.png": "Cyst", "b.png": "Stone"}


def test_one_column_for_each_class_is_read_in_every_part(tmp_path):
    for part in ("train", "valid", "test"):
        images(tmp_path / part, [f"{n}.jpg" for n in range(4)])
        rows = [f"{n}.jpg," + ", ".join("1" if n == k else "0" for k in range(4)) for n in range(4)]
        (tmp_path / part / "_classes.csv").write_text(
            "\n".join(["filename, Cyst, Normal, Stone, Tumor", *rows]), encoding="utf-8"
        )
    found = labels(tmp_path)
    assert {path: FOUR.index(label) for path, label in found.items()} == {path: int(path[-5]) for path in found}
    assert len(found) == 12


def test_train_and_test_tables_give_the_split(tmp_path):
    for part, n in (("train", 3), ("test", 2)):
        images(tmp_path / "images", [f"{part}{k}.png" for k in range(n)])
        rows = [f"{part}{k}.png,{FOUR[k].lower()}" for k in range(n)]
        (tmp_path / f"{part}_labels.csv").write_text("\n".join(["image,label", *rows]), encoding="utf-8")
    read = dataset.read_dataset(tmp_path)
    assert read.table["folder_part"].value_counts().to_dict() == {TRAIN: 3, TEST: 2}


def test_a_column_gives_the_split(tmp_path):
    images(tmp_path, ["a.png", "b.png", "c.png"])
    (tmp_path / "t.csv").write_text("file,set,label\na,train,cyst\nb,test,stone\nc,training,cyst\n", encoding="utf-8")
    read = dataset.read_dataset(tmp_path)
    assert dict(zip(read.table["path"], read.table["folder_part"], strict=True)) == {
        "a.png": TRAIN,
        "b.png": TEST,
        "c.png": TRAIN,
    }


def test_which_column_holds_the_classes_is_asked(tmp_path):
    images(tmp_path, [f"{n}.png" for n in range(24)])
    rows = [f"{n},{n % 4},{'LR'[n % 2]}" for n in range(24)]
    (tmp_path / "t.csv").write_text("\n".join(["id,k,side", *rows]), encoding="utf-8")
    with pytest.raises(
        UnclearTable, match="column “id”, but which column holds the classes is not clear: k, side"
    ) as raised:
        labels(tmp_path)
    assert (raised.value.columns, raised.value.path_column, raised.value.file) == (["id", "k", "side"], "id", "t.csv")
    stated = Labelling.from_text(table="t.csv,id,k", classes="0=Cyst,1=Normal,2=Stone,3=Tumor")
    assert labels(tmp_path, labelling=stated) == {f"{n}.png": FOUR[n % 4] for n in range(24)}


def test_two_columns_of_classes_that_disagree_are_asked(tmp_path):
    images(tmp_path, ["a.png", "b.png"])
    (tmp_path / "t.csv").write_text("file,reader 1,reader 2\na,cyst,stone\nb,stone,tumor\n", encoding="utf-8")
    with pytest.raises(UnclearTable, match="not clear: reader 1, reader 2"):
        labels(tmp_path)
    assert labels(tmp_path, labelling=Labelling.from_text(table="t.csv,,reader 2")) == {
        "a.png": "Stone",
        "b.png": "Tumor",
    }


def test_two_columns_that_name_different_images_are_asked(tmp_path):
    images(tmp_path, ["a.png", "b.png"])
    (tmp_path / "t.csv").write_text("before,after,label\na,b,cyst\nb,a,stone\n", encoding="utf-8")
    with pytest.raises(UnclearTable, match="2 columns that name images: before, after"):
        labels(tmp_path)


def test_rows_and_images_that_do_not_fit_are_listed_and_the_rest_is_read(tmp_path):
    images(tmp_path, ["a.png", "b.png", "c.png", "d.png", "e.png"])
    rows = ["file,label", "a.png,cyst", "b.png,stone", "c.png,cyst", "c.png,stone", "d.png,", "gone.png,cyst"]
    (tmp_path / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    layout = folder_layout.list_files(tmp_path)
    assert {file.path: file.label for file in layout.files} == {"a.png": "Cyst", "b.png": "Stone"}
    assert dict(layout.left_out) == {
        "c.png": "“t.csv” gives “c.png” several classes: cyst, stone. It is left out.",
        "t.csv": layout.left_out[-1][1],
    }
    reasons = [reason for _, reason in layout.left_out]
    assert "1 rows name no image of this folder, or not one alone, such as “gone.png”." in reasons
    assert "1 images have no class, or several, in their row. They are left out." in reasons
    assert reasons[-1] == "2 files of the folder get no class by “t.csv”; they are left out."


def test_two_images_of_one_name_are_told_apart_by_their_folders(tmp_path):
    images(tmp_path / "p1", ["1.png"])
    images(tmp_path / "p2", ["1.png", "2.png"])
    (tmp_path / "t.csv").write_text(
        "path,label\nC:\\x\\p1\\1.png,cyst\nC:\\x\\p2\\1.png,stone\n2.png,cyst\n1.png,tumor\n", encoding="utf-8"
    )
    assert labels(tmp_path) == {"p1/1.png": "Cyst", "p2/1.png": "Stone", "p2/2.png": "Cyst"}


@pytest.mark.parametrize("file", ["../secret.csv", "/etc/passwd", "a/../../secret.csv"])
def test_a_table_outside_of_the_folder_is_not_opened(tmp_path, file):
    images(tmp_path / "data", ["a.png"])
    (tmp_path / "secret.csv").write_text("a.png,cyst\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="is not below"):
        labels(tmp_path / "data", labelling=Labelling.from_text(table=file))


@pytest.mark.parametrize("content", [b"", b"\0" * 999, bytes(range(256)) * 50, b'"' + b"x" * 200_000, b"a,b,c\n"])
def test_a_file_that_is_no_table_is_a_sentence(tmp_path, content):
    images(tmp_path, ["a.png", "b.png"])
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DatasetError):
        labels(tmp_path)


def test_a_stated_table_names_what_is_missing(tmp_path):
    images(tmp_path, ["a.png", "b.png"])
    (tmp_path / "t.csv").write_text("file,label\na,cyst\nb,stone\n", encoding="utf-8")
    for table, message in (
        ("u.csv", "There is no table"),
        ("t.csv,file,klass", "has no column “klass”; it has file, label"),
    ):
        with pytest.raises(DatasetError, match=message):
            labels(tmp_path, labelling=Labelling.from_text(table=table))
