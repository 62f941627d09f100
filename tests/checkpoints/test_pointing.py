"""Do maps point at lesions? Boxes and masks with known answers, and the shipped file against its weights."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from kidney_core.checkpoints import pointing
from kidney_core.checkpoints.checkpoint import EXPLANATIONS_FILE, read_checkpoint
from kidney_core.common import digests
from kidney_core.common.errors import CheckpointError, DatasetError
from kidney_core.common.files import write_json
from kidney_core.data import lesions
from kidney_core.diagnosis import grading, inference
from kidney_core.networks import explanation, models
from kidney_core.networks.null_maps import NULLS


@pytest.fixture
def box_folder(tmp_path):
    """One slice of 100 x 50 px with a box at x 40-60, y 20-30."""
    folder = tmp_path / "boxes"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (50, 100), np.uint8)).save(folder / "images" / "a.png")
    (folder / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n", encoding="utf-8")
    return folder


def test_boxes_become_masks(box_folder):
    (known,) = lesions.read_boxes(box_folder, label="Stone")
    rows, columns = np.nonzero(known.lesion)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 29, 40, 59)


def test_boxes__errors(box_folder, tmp_path):
    (box_folder / "labels" / "a.txt").write_text("0 0.5 x\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="not a list of boxes"):
        lesions.read_boxes(box_folder, label="Stone")
    with pytest.raises(DatasetError, match="Choose a folder in YOLO layout"):
        lesions.read_boxes(tmp_path / "nothing", label="Stone")


def test_phantoms_have_a_lesion_and_are_the_same_each_time():
    found = lesions.draw_phantoms(2)
    assert [each.label for each in found] == ["Cyst", "Cyst", "Stone", "Stone", "Tumor", "Tumor"]
    assert all(each.lesion.any() for each in found)
    assert np.array_equal(found[3].image.pixels, lesions.draw_phantoms(2)[3].image.pixels)


@pytest.mark.slow
def test_shuffled_weights_keep_their_numbers_and_still_tell_images_apart():
    model = models.build_model("mobilenetv2_100", 4).eval()
    images = torch.randn(16, 3, 64, 64)
    other = pointing.shuffled_weights(copy.deepcopy(model), images)
    assert not torch.allclose(model(images), other(images))
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one.flatten().sort().values, two.flatten().sort().values)
    logits = other(images).detach()
    assert logits.isfinite().all()
    assert logits.std(dim=0).min() > 1e-4  # a dead network says the same of every image


@pytest.mark.slow
def test_measuring_writes_what_the_pages_read_and_grades_use(published, box_folder, capsys):
    assert published.explanations() is None
    assert pointing.main([str(published.folder), "--boxes", str(box_folder), "--phantoms", "1"]) == 0
    assert "by chance" in capsys.readouterr().out
    found = published.explanations()
    assert found["sets"]["boxes"]["n"] == 1
    assert found["sets"]["phantoms"]["n"] == 3
    assert set(found["sets"]["phantoms"]["methods"]) == set(explanation.METHODS)
    of_method = found["sets"]["phantoms"]["methods"]["Grad-CAM"]
    assert set(of_method["nulls"]) == set(NULLS)
    assert of_method["nulls"]["brightness"]["heat_inside"] > 0
    assert not of_method["beats"]
    assert 0 < found["sets"]["boxes"]["chance_inside"] < found["sets"]["boxes"]["chance_hit"] < 1
    predictor = inference.open_predictor(published)
    image = lesions.draw_phantoms(1)[0].image
    answer = inference.diagnose(predictor, image)
    assert answer.strength is not None
    titles = [each.title for each in grading.grade(predictor, image, answer, others=(predictor,))]
    # Four slices are too few for the check on shuffled weights, and to beat null maps.
    assert titles == ["Within the body", "Stable", "Models agree"]
    assert set(grading.unproven(predictor, "Layer-CAM")) == {"Faithful", "Sufficient"}
    assert 0 < found["shuffled"]["Layer-CAM"]["n"] < pointing.LEAST_SHUFFLED
    found["shuffled"]["Layer-CAM"] = {"likeness": 0.1, "n": 40}
    found["grades"]["Layer-CAM"]["Faithful"]["beats"] = True
    checked = dataclasses.replace(predictor, explanations=found)
    assert grading.grade(checked, image, answer)[-1].title == "Depends on what was learned"
    assert grading.grade(checked, image, answer)[0].title == "Faithful"
    agree = grading.grade(predictor, image, answer, others=(predictor,))[-1]
    assert agree.title == "Models agree"
    assert agree.value == pytest.approx(1, abs=1e-5)


def test_explanations_of_other_weights_are_not_used_and_damaged_ones_are_named(published):
    path = published.folder / EXPLANATIONS_FILE
    write_json(path, digests.add_seal({"format": 1, "weights_sha256": "of another network"}))
    assert published.explanations() is None
    path.write_text(path.read_text(encoding="utf-8").replace("another", "aNother"), encoding="utf-8")
    with pytest.raises(CheckpointError, match="seal does not fit.* Measure it again"):
        published.explanations()
    path.write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="is damaged .* Measure it again"):
        read_checkpoint(published.folder).explanations()


def test_hit_rate_has_the_wilson_interval():
    rate, low, high = pointing.hit_rate(9, 10)
    assert (rate, round(low, 3), round(high, 3)) == (0.9, 0.596, 0.982)
