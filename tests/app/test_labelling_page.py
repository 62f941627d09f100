"""Class names and columns that are not clear are asked on the pages, remembered, and go into the configuration of a run."""

import pytest
import torch
import torchvision

from kidney_core.checkpoints import checkpoint as checkpoints
from kidney_core.data import remembered_labels
from tests.app.test_pages import opened, texts
from tests.conftest import write_series_dataset

pytestmark = pytest.mark.slow


@pytest.fixture
def spanish(tmp_path):
    """The small dataset with class folders in Spanish, one of them with Markdown in its name."""
    folder = write_series_dataset(tmp_path / "spanish")
    for label, name in (("Cyst", "Quiste"), ("Stone", "Cálculo"), ("Tumor", "![x](http://evil.example)")):
        (folder / label).rename(folder / name.replace("/", "_"))
    return folder


def label_boxes(app):
    return [box for box in app.selectbox if box.label.startswith("Label of class")]


def press(app, label):
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception, app.exception


def test_the_dataset_page_asks_what_class_names_stand_for_and_remembers_it(monkeypatch, spanish):
    app = opened("pages/4_Dataset.py", monkeypatch)
    app.text_input(key="dataset_folder").set_value(f"'{spanish.as_uri()}'")
    app.button[0].click().run()
    assert "evil.example" not in texts(app.markdown)
    assert [box.value for box in label_boxes(app)] == ["keep the name", "Stone", "Cyst"]
    label_boxes(app)[0].set_value("Tumor")
    press(app, "Use these labels")
    assert remembered_labels.read(spanish).labels == ("Cyst", "Normal", "Stone", "Tumor")
    assert [box.value for box in label_boxes(app)] == ["Tumor", "Stone", "Cyst"]


def test_columns_that_are_not_clear_are_asked(monkeypatch, small_dataset):
    rows = ["file,k,side"]
    for n, path in enumerate(sorted(small_dataset.rglob("*.png"))):
        target = small_dataset / f"slice{n:03d}.png"
        rows.append(f"{target.name},{path.parent.name[0]},{'LR'[n % 2]}")
        path.rename(target)
    (small_dataset / "list.csv").write_text("\n".join(rows), encoding="utf-8")
    app = opened("pages/3_Training.py", monkeypatch)
    app.text_input(key="training_folder").set_value(str(small_dataset)).run()
    app.button(key="training_check").click().run()
    assert "which column holds the classes is not clear: k, side" in texts(app.error)
    columns = {box.label: box for box in app.selectbox if box.label in ("Images", "Classes")}
    assert (columns["Images"].value, columns["Classes"].value) == ("file", None)
    columns["Classes"].set_value("k").run()
    press(app, "Use these columns")
    assert "60 slices in" in texts(app.success)
    for box, label in zip(label_boxes(app), ("Cyst", "Normal", "Stone", "Tumor"), strict=True):
        box.set_value(label)
    press(app, "Use these labels")
    assert "15 Cyst, 15 Normal, 15 Stone, 15 Tumor" in texts(app.success)
    assert "--classes C=Cyst,N=Normal,S=Stone,T=Tumor --table list.csv,file,k" in " ".join(
        each.value for each in app.code
    )


def test_a_network_is_imported_and_every_page_says_that_it_was_never_evaluated(monkeypatch, tmp_path):
    torch.save(torchvision.models.resnet18(num_classes=4).state_dict(), tmp_path / "their weights.pth")
    app = opened("pages/2_Evaluation.py", monkeypatch)
    app.text_input(key="evaluation_import_file").set_value((tmp_path / "their weights.pth").as_uri())
    app.selectbox(key="evaluation_import_architecture").set_value("ResNet18")
    app.number_input(key="evaluation_import_size").set_value(64)
    app.text_input(key="evaluation_import_labels").set_value("Cyst, Normal, Stone")
    app.text_input(key="evaluation_import_name").set_value("theirs")
    press(app, "Import")
    assert "parameter fc.weight does not match: it has the shape 4 × 512, and the network 3 × 512" in texts(app.error)
    app.text_input(key="evaluation_import_labels").set_value("Cyst, Normal, Stone, Tumor")
    press(app, "Import")
    assert [each.name for each in checkpoints.list_checkpoints()[0]] == ["theirs"]
    assert "“theirs”, which was never evaluated here" in texts(app.success)
    assert "“theirs” was trained elsewhere and never evaluated here." in texts(app.info)
    for view in ("One model", "Compared with the paper", "Other hospitals", "Your folder"):
        app.segmented_control(key="evaluation_view").set_value(view).run()
        assert not app.exception, app.exception
    app.segmented_control(key="evaluation_view").set_value("One model").run()
    for panel in app.segmented_control(key="evaluation_panel").options:
        app.segmented_control(key="evaluation_panel").set_value(panel).run()
        assert not app.exception, (panel, app.exception)
    for page, where in (("streamlit_app.py", "caption"), ("pages/1_Diagnosis.py", "caption")):
        assert "never evaluated here" in texts(getattr(opened(page, monkeypatch), where))
