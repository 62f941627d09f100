"""Lesions drawn during training: into Normal slices alone, with the label that belongs to them, the same after an interruption."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from kidney_core.common.errors import RunError
from kidney_core.runs import recipes
from kidney_core.simulation import phantom
from kidney_core.training import trainer
from kidney_core.training.lesion_drawing import LesionDrawing
from kidney_core.training.training_data import read_training_data
from tests.conftest import tiny_run
from tests.phantom_files import write_scan

LABELS = ("Cyst", "Normal", "Stone", "Tumor")


def drawing_of(y, *, n_kidneys=400, greys="relative", train=None):
    """Slices of one kidney each, the corner of which has grey 60 + its position."""
    masks = np.zeros((len(y), 2, 64, 64), np.uint8)
    masks[:, 0, 20:44, 24:40] = 1  # the second kidney is not shown
    pixels = np.zeros_like(masks)
    pixels[:, 0] = np.where(masks[:, 0], 128, 60) + np.arange(len(y))[:, None, None]
    data = SimpleNamespace(
        y=np.array(y),
        masks=masks,
        pixels=pixels,
        train=np.arange(len(y)) if train is None else train,
        series=np.arange(len(y)),
        dataset=SimpleNamespace(labels=LABELS),
    )
    config = recipes.TrainingConfig(
        drawn_lesions=n_kidneys / 32, framing="each-kidney", greys=greys, augmentation="none"
    )
    return LesionDrawing.of(data, config)


@pytest.mark.parametrize("greys", ["relative", "original"])
def test_healthy_kidneys_get_a_lesion_and_its_label_but_one_of_three(greys):
    grey, y = drawing_of([1, 0, 1, 2, 3, 1], greys=greys).kidneys(0)
    assert grey.shape == (400, 64, 64)
    shares = np.bincount(y, minlength=4) / 400
    assert 0.3 < shares[1] < 0.4
    assert shares.min() > 0.1
    # The corner is no kidney: it shows which slice a kidney is of.
    assert set(grey[y == 1][:, 0, 0].tolist()) == {60, 62, 65}
    untouched = {60 + i: np.where(np.pad(np.ones((24, 16)), ((20, 20), (24, 24))), 128 + i, 60 + i) for i in (0, 2, 5)}
    for image, label in zip(grey.numpy(), y.numpy(), strict=True):
        if label == 1:
            np.testing.assert_array_equal(image, untouched[image[0, 0]])
    changed = [np.abs(image.astype(int) - untouched[60]).max() for image in grey[y != 1].numpy()]
    assert np.mean(np.array(changed) > 12) > 0.95


def test_a_step_draws_the_same_again_and_the_next_step_something_else():
    drawing = drawing_of([1, 1, 1], n_kidneys=20)
    one, again, other = (drawing.kidneys(step) for step in (3, 3, 4))
    np.testing.assert_array_equal(one[0], again[0])
    np.testing.assert_array_equal(one[1], again[1])
    assert not np.array_equal(one[0], other[0])


def test_only_training_slices_are_drawn_into():
    grey, y = drawing_of([1, 1, 1], n_kidneys=100, train=np.array([0, 2])).kidneys(0)
    assert set(grey[y == 1][:, 0, 0].tolist()) == {60, 62}
    with pytest.raises(RunError, match="labelled Normal and show a kidney, and there is none"):
        drawing_of([0, 2, 3])
    assert drawing_of([1, 1], n_kidneys=0) is None


def test_drawn_lesions_need_a_view_of_each_kidney():
    with pytest.raises(RunError, match="needs framing “each-kidney”, but framing is “body”"):
        recipes.config_from_recipe("paper", data="x", framing="body", drawn_lesions=0.5)


@pytest.mark.slow
def test_a_training_with_drawn_lesions_resumes_to_the_same_weights(tmp_path):
    for label, seed in (("Cyst", 1), ("Normal", 2), ("Stone", 3), ("Tumor", 4)):
        for number in range(3):
            write_scan(tmp_path / "data" / label, label, 10 * seed + number, n_slices=2, first=2 * number)
    options = {
        "framing": "each-kidney",
        "greys": "relative",
        "drawn_lesions": 1.5,
        "image_size_px": 48,
        "batch_size": 4,
        "augmentation": "scanners",
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


@pytest.mark.slow
def test_marked_lesions_are_painted_over_and_added_as_normal_in_the_training_part(tmp_path):
    root = tmp_path / "data"
    for label, seed in (("Cyst", 1), ("Normal", 2), ("Tumor", 4)):
        for number in range(3):
            write_scan(root / label, label, 10 * seed + number, n_slices=2, first=2 * number)
    (root / "Stone").mkdir()
    (root / "masks" / "Stone").mkdir(parents=True)
    for number in range(8):
        (drawn,) = phantom.draw_series("Stone", 300 + number, n_slices=1)
        Image.fromarray(drawn.as_slice("").network_grey8()).save(root / "Stone" / f"{number}.png")
        if number < 6:
            Image.fromarray(drawn.lesion.astype(np.uint8) * 255).save(root / "masks" / "Stone" / f"{number}.png")
    options = {"framing": "each-kidney", "image_size_px": 64, "drawn_lesions": 1.0, "greys": "relative"}
    run = tiny_run(root, **options, protocol="random")
    data = read_training_data(run, lambda title: lambda done, total: None)
    table = pd.read_csv(run.folder / "split.csv")
    is_marked = table["path"].isin([f"Stone/{number}.png" for number in range(6)])
    originals = np.flatnonzero(is_marked & (table["part"] == "train"))
    assert 0 < data.n_extra == len(originals) == run.data()["painted_slices"]
    added = len(data.dataset) + np.arange(data.n_extra)
    assert set(added) <= set(data.train)
    assert {data.dataset.labels[i] for i in data.y[added]} == {"Normal"}
    np.testing.assert_array_equal(data.series[added], data.series[originals])
    np.testing.assert_array_equal(data.masks[added], data.masks[originals])
    before, after = data.pixels[originals].astype(int), data.pixels[added].astype(int)
    # A stone is bright: what is changed much was bright, in a spot of one kidney.
    changed = np.abs(after - before) > 40
    assert changed.any(axis=(1, 2, 3)).mean() > 0.8
    assert changed.mean() < 0.03
    assert before[changed].mean() > after[changed].mean() + 40
