"""The kidney finder's training: what is done to a slice, one step after another, and a training that was interrupted."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from kidney_core.data import annotated_volumes
from kidney_core.data.dataset import read_dataset
from kidney_core.imaging.framing import BODY, View
from kidney_core.imaging.planes import AXIAL
from kidney_core.kidneys import finder as finders
from kidney_core.kidneys.finder_network import FinderNetwork
from kidney_core.kidneys.found import PICTURE_LEFT, PICTURE_RIGHT
from kidney_core.simulation import phantom
from kidney_core.training import finder_augmentation, finder_command, finder_pseudo_labels, finder_training
from kidney_core.training.finder_training import FinderRecipe
from tests.phantom_files import write_scan


@pytest.fixture(scope="module")
def phantoms():
    return annotated_volumes.simulated(2, View(96, BODY))


@pytest.fixture
def encoder_weights(tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in FinderNetwork().encoder.state_dict().items()}, path)
    return path


def write_volume(folder, name, seed):
    """An annotated volume of 12 slices in the layout that `read_volumes` reads."""
    for kind in ("slices", "kidneys"):
        (folder / kind / name).mkdir(parents=True)
    drawn = phantom.draw_series("Normal", seed, n_slices=12)
    for number, each in enumerate(drawn):
        grey = each.as_slice("a").network_grey8()
        Image.fromarray(grey).save(folder / "slices" / name / f"{number:04d}.jpg")
        codes = np.where(each.right, 254, np.where(each.left, 127, 0)).astype(np.uint8)
        Image.fromarray(codes).save(folder / "kidneys" / name / f"{number:04d}.png")


def test_a_lesion_belongs_to_its_kidney(phantoms):
    rng, grown = np.random.default_rng(3), 0
    for square, codes in zip(phantoms.squares, phantoms.kidneys, strict=True):
        drawn, new = finder_augmentation.draw_lesion(square.astype(np.float32), codes, AXIAL, rng)
        assert (new[codes > 0] > 0).all()
        assert drawn.min() >= 0
        assert drawn.max() <= 255
        grown += int((new > 0).sum() > (codes > 0).sum())
    assert grown > len(phantoms.squares) / 2
    empty = np.zeros((96, 96), np.uint8)
    np.testing.assert_array_equal(
        finder_augmentation.draw_lesion(empty.astype(np.float32), empty, AXIAL, rng)[1], empty
    )


def test_some_slices_are_replaced_by_pictures_without_kidneys(phantoms):
    square, codes = phantoms.squares[0], phantoms.kidneys[0]
    rng = np.random.default_rng(2)
    drawn = [finder_augmentation.change_patient(square, codes, AXIAL, rng) for _ in range(120)]
    empty = [greys for greys, new in drawn if not new.any()]
    assert 2 <= len(empty) <= 30
    for _ in range(20):
        picture = finder_augmentation.draw_no_ct((96, 96), rng)
        assert picture.shape == (96, 96)
        assert 0 <= picture.min() < picture.max() <= 255
        assert np.isfinite(picture).all()


def test_a_kidney_is_taken_out_or_replaced_by_a_lesion(phantoms):
    rng, n_gone, n_replaced = np.random.default_rng(5), 0, 0
    for square, codes in zip(phantoms.squares, phantoms.kidneys, strict=True):
        greys, new = finder_augmentation.replace_kidney(square.astype(np.float32), codes, AXIAL, rng)
        assert greys.min() >= 0
        assert greys.max() <= 255
        lost = (codes > 0) & (new == 0)
        if not lost.any():
            continue
        n_gone += int(not (new > 0).any())
        n_replaced += int((new > 0)[codes == 0].any())
        far = annotated_far(np.maximum(codes, new), px=12)
        assert abs(greys[far] - square[far]).max() < 1  # nothing else changes
        assert abs(greys[lost].mean() - square[lost].mean()) > 3
    assert n_gone > 0
    assert n_replaced > 3


def test_contrast_agent_changes_the_kidneys_alone(phantoms):
    square, codes = phantoms.squares[0].astype(np.float32), phantoms.kidneys[0]
    changed = finder_augmentation.enhance_kidneys(square, codes, np.random.default_rng(1))
    far = annotated_far(codes)
    np.testing.assert_array_equal(changed[far], square[far])
    assert abs(changed[codes > 0].mean() - square[codes > 0].mean()) > 3


def annotated_far(codes, *, px=6):
    """Pixels so far or more from every kidney."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(codes == 0) > px


def test_mirroring_swaps_the_sides_and_turning_keeps_them(phantoms):
    squares = torch.from_numpy(phantoms.squares).float()
    codes = torch.from_numpy(phantoms.kidneys)
    is_reformatted = np.zeros(len(squares), bool)
    _, moved = finder_augmentation.change_view(
        squares, codes, 96, np.random.default_rng(0), is_reformatted=is_reformatted
    )
    columns = torch.arange(96).float()
    n_sided = 0
    for each in moved:
        left, right = ((each == code).float().sum(0) for code in (PICTURE_LEFT, PICTURE_RIGHT))
        if left.sum() > 20 and right.sum() > 20:
            n_sided += int((left @ columns) / left.sum() < (right @ columns) / right.sum())
    shown = sum(bool((each == PICTURE_LEFT).sum() > 20 and (each == PICTURE_RIGHT).sum() > 20) for each in moved)
    assert shown >= 12
    assert n_sided == shown


@pytest.mark.slow
def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(phantoms, encoder_weights, tmp_path, monkeypatch):
    recipe = FinderRecipe(n_steps=6, batch_size=4, first_size_px=64, size_px=64)
    monkeypatch.setattr(finder_training, "_STEPS_PER_STATE", 2)
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = finder_training.train(phantoms, recipe, tmp_path / "whole", encoder_weights=encoder_weights)

    class Interrupted(Exception):
        pass

    def stop(step, total, loss):
        assert np.isfinite(loss)
        if step == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        finder_training.train(phantoms, recipe, tmp_path / "parts", encoder_weights=encoder_weights, progress=stop)
    parts = finder_training.train(phantoms, recipe, tmp_path / "parts", encoder_weights=encoder_weights)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], tensor, rtol=0, atol=0)


@pytest.mark.slow
def test_one_fold_is_refused(encoder_weights, tmp_path, capsys):
    write_volume(tmp_path / "volumes", "a", 1)
    write_volume(tmp_path / "volumes", "b", 2)
    arguments = [str(tmp_path / "volumes"), "--weights", str(encoder_weights), "--folds", "1"]
    assert finder_command.main(arguments) == 1
    assert "--folds is 1. Give at least 2 and at most 2" in capsys.readouterr().err


def test_a_finder_outlines_kidneys_for_a_second_training(tmp_path):
    for label, seed in (("Cyst", 3), ("Normal", 5)):
        write_scan(tmp_path / "data" / label, label, seed, n_slices=4)
    Image.fromarray(np.full((96, 96), 90, np.uint8)).save(tmp_path / "data" / "Cyst" / "9.png")
    dataset = read_dataset(tmp_path / "data")
    outlined = finder_pseudo_labels.pseudo_label(dataset, finders.open_installed(), View(96, BODY))
    assert set(outlined.kinds) == {annotated_volumes.PSEUDO_LABELLED}
    assert 1 <= len(outlined.squares) <= 8  # the empty slice is not among them
    assert annotated_volumes.is_kidney(outlined.kidneys).any(axis=(1, 2)).all()
    unsure = outlined.kidneys == annotated_volumes.UNSURE
    assert 0 < unsure.mean() < 0.1  # along the edges of the kidneys


def test_pixels_that_are_unsure_do_not_count():
    logits = torch.randn(2, 2, 8, 8)
    codes = torch.zeros(2, 8, 8, dtype=torch.uint8)
    codes[:, 2:5, 2:5] = PICTURE_LEFT
    unsure = codes.clone()
    unsure[:, 6:] = annotated_volumes.UNSURE
    sided = torch.tensor([True, True])
    changed = logits.clone()
    changed[:, :, 6:] += 5
    one, other = (finder_training.finder_loss(each, unsure, sided) for each in (logits, changed))
    torch.testing.assert_close(one, other)
    assert finder_training.finder_loss(changed, codes, sided) != finder_training.finder_loss(logits, codes, sided)


def test_the_command_writes_a_finder_with_the_figures_of_its_folds(encoder_weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(finder_command, "_N_PHANTOM_SCANS", 1)
    for number in range(2):
        write_volume(tmp_path / "volumes", f"case{number}", 20 + number)
    arguments = [str(tmp_path / "volumes"), "--weights", str(encoder_weights), "--steps", "2", "--folds", "2"]
    out = tmp_path / "finder"
    assert finder_command.main([*arguments, "--work", str(tmp_path / "work"), "--out", str(out)]) == 0
    card = finders.read_card(out)
    assert {row["volume"] for row in card["by_volume"]} == {"case0", "case1"}
    assert card["metrics"]["axial"]["n_volumes"] == 2
    grey = phantom.draw_series("Normal", 3, n_slices=1)[0].as_slice("a").network_grey8()
    assert 0 <= finders.open_finder(out).find([grey])[0].presence <= 1
    assert "wrote" in capsys.readouterr().out


def test_a_folder_without_volumes_is_a_sentence(encoder_weights, tmp_path, capsys):
    assert finder_command.main([str(tmp_path), "--weights", str(encoder_weights)]) == 1
    assert "holds no annotated volumes" in capsys.readouterr().err
