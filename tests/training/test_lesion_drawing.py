"""Lesions drawn during training: into Normal slices alone, with the label that belongs to them, the same after an interruption."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kidney_core.common.errors import RunError
from kidney_core.networks import preprocessing
from kidney_core.runs import recipes
from kidney_core.training import trainer
from kidney_core.training.lesion_drawing import LesionDrawing
from tests.conftest import tiny_run
from tests.phantom_files import write_scan

LABELS = ("Cyst", "Normal", "Stone", "Tumor")


def drawing_of(y, *, share=1.0):
    masks = np.zeros((len(y), 2, 64, 64), np.uint8)
    masks[:, 0, 20:44, 24:40] = 1  # the second kidney is not shown
    data = SimpleNamespace(y=np.array(y), masks=masks, dataset=SimpleNamespace(labels=LABELS))
    return LesionDrawing.of(data, recipes.TrainingConfig(drawn_lesions=share, framing="each-kidney", greys="relative"))


def test_normal_slices_get_a_lesion_and_its_label_and_others_stay_as_they_are():
    y = [1, 0, 1, 2, 1, 3, 1, 1, 1, 1]
    drawing, positions = drawing_of(y), np.arange(len(y))
    numbers = preprocessing.random_numbers(len(y), seed=0, epoch=1)
    labels = drawing.labels(positions, numbers)
    grey = torch.full((len(y), 2, 64, 64), 120, dtype=torch.uint8)
    drawn = drawing.draw_into(grey.clone(), positions, numbers)
    was_normal = np.array(y) == 1
    assert (labels[was_normal] != 1).all()
    assert len(set(labels[was_normal])) > 1
    np.testing.assert_array_equal(labels[~was_normal], np.array(y)[~was_normal])
    is_changed = (drawn != grey).flatten(2).any(2).numpy()
    np.testing.assert_array_equal(is_changed[:, 0], was_normal)
    assert not is_changed[:, 1].any()
    np.testing.assert_array_equal(drawing.draw_into(grey.clone(), positions, numbers), drawn)


def test_the_share_is_kept_and_other_numbers_draw_others():
    y = [1] * 400
    numbers = preprocessing.random_numbers(400, seed=3, epoch=2)
    n_drawn = int((drawing_of(y, share=0.5).labels(np.arange(400), numbers) != 1).sum())
    assert 160 < n_drawn < 240
    assert drawing_of(y, share=0.0).labels(np.arange(400), numbers).tolist() == y


def test_drawn_lesions_need_a_view_of_each_kidney():
    with pytest.raises(RunError, match="needs framing “each-kidney”, but framing is “body”"):
        recipes.config_from_recipe("robust", data="x", drawn_lesions=0.5)


@pytest.mark.slow
def test_a_training_with_drawn_lesions_resumes_to_the_same_weights(tmp_path):
    for label, seed in (("Cyst", 1), ("Normal", 2), ("Stone", 3), ("Tumor", 4)):
        for number in range(3):
            write_scan(tmp_path / "data" / label, label, 10 * seed + number, n_slices=2, first=2 * number)
    options = {
        "framing": "each-kidney",
        "greys": "relative",
        "drawn_lesions": 0.8,
        "image_size_px": 48,
        "batch_size": 4,
        "augmentation": "strong",
    }
    whole, parts = (tiny_run(tmp_path / "data", name, **options) for name in ("whole", "parts"))
    trainer.train(whole)
    n_steps = 0

    def stop():
        nonlocal n_steps
        n_steps += 1
        return n_steps == 6

    assert trainer.train(parts, should_stop=stop) == "stopped"
    trainer.train(parts)
    one, other = (load_file(run.folder / "last.safetensors") for run in (whole, parts))
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=0)
    plain = tiny_run(tmp_path / "data", "plain", **{**options, "drawn_lesions": 0.0})
    trainer.train(plain)
    assert plain.epochs()[0]["train_loss"] != whole.epochs()[0]["train_loss"]
