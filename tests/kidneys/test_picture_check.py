"""Turned pictures and contact sheets are told from upright slices, on phantoms and on hospitals that were never seen."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from kidney_core.common import settings
from kidney_core.common.errors import CheckpointError
from kidney_core.kidneys import finder as finders
from kidney_core.kidneys import picture_check
from kidney_core.kidneys.picture_check import SEVERAL, TURNED_LEFT, TURNED_RIGHT, UPRIGHT, PictureClassifier
from kidney_core.simulation import phantom
from kidney_core.training.picture_check_command import contact_sheet
from tests.conftest import SHARED

FOLDER = settings.SHIPPED_CHECKPOINTS / finders.FOLDER
# Axial slices of Irbid and Minnesota, coronal ones of Elazig: hospitals that are in no training data.
ELSEWHERE = {
    "Irbid": "reported-scans/scan*/*0.jpg",
    "Minnesota": "outside-tumor/Tumor/*",
    "Elazig": "stone-boxes/images/*",
}


@pytest.fixture(scope="module")
def finder():
    return finders.open_finder(FOLDER)


def resized(grey):
    return np.asarray(Image.fromarray(grey).resize((256, 256)))


def faults(finder, greys, turn=0):
    turned = [np.ascontiguousarray(np.rot90(grey, turn)) for grey in greys]
    return np.array([each.fault for each in finder.find(turned)])


def phantoms():
    return [
        drawn.as_slice("a").network_grey8()
        for label in ("Normal", "Cyst", "Tumor", "Stone")
        for drawn in phantom.draw_series(label, 31, n_slices=3)
    ]


def test_a_fault_counts_only_where_it_is_certain():
    assert picture_check.fault_of(np.array([0.11, 0.0, 0.89, 0.0, 0.0])) == UPRIGHT
    assert picture_check.fault_of(np.array([0.05, 0.05, 0.1, 0.8, 0.0])) == TURNED_RIGHT
    assert picture_check.fault_of(np.array([0.0, 0.9, 0.05, 0.05, 0.0])) == TURNED_LEFT
    assert picture_check.fault_of(np.array([0.0, 0.1, 0.0, 0.0, 0.9])) == SEVERAL


def test_features_are_those_of_the_last_maps():
    maps = [torch.full((2, channels, size, size), float(size)) for channels, size in ((8, 16), (4, 8), (3, 4), (2, 2))]
    features = picture_check.features_of(maps)
    assert features.shape == (2, picture_check.n_features([8, 4, 3, 2]))
    assert set(features.flatten().tolist()) == {8.0, 4.0, 2.0}


def test_a_classifier_survives_its_file():
    classifier = PictureClassifier(torch.randn(5, 12), torch.randn(5))
    read = picture_check.from_bytes(classifier.to_bytes(), 12)
    features = torch.randn(5, 12)
    np.testing.assert_array_equal(read.probabilities(features), classifier.probabilities(features))
    with pytest.raises(ValueError, match="of other features"):
        picture_check.from_bytes(classifier.to_bytes(), 13)
    with pytest.raises(ValueError, match="no classifier of pictures"):
        picture_check.from_bytes(b"nonsense", 12)


@pytest.mark.parametrize("turn", range(4))
def test_turned_phantoms_are_recognised(finder, turn):
    found = faults(finder, phantoms(), turn)
    assert (found == turn).mean() > 0.7
    assert turn or (found == UPRIGHT).all()


@pytest.mark.parametrize(("n_down", "n_across"), [(1, 2), (2, 2), (3, 4)])
def test_contact_sheets_of_phantoms_are_recognised(finder, n_down, n_across):
    tiles = np.stack([phantoms()[number % 12] for number in range(n_down * n_across)])
    sheet = contact_sheet(tiles, n_down, n_across, gap_px=4, grey=0)
    assert faults(finder, [sheet]).tolist() == [SEVERAL]


def test_a_finder_without_the_classifier_takes_every_picture_for_a_slice_and_a_changed_one_is_refused(tmp_path):
    copy = tmp_path / "finder"
    shutil.copytree(FOLDER, copy)
    content = bytearray((copy / finders.PICTURE_CHECK_FILE).read_bytes())
    content[-1] ^= 1
    (copy / finders.PICTURE_CHECK_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged or replaced"):
        finders.open_finder(copy)
    card = json.loads((copy / finders.CARD_FILE).read_text(encoding="utf-8"))
    del card["picture_check"]
    finders.write_card(copy, card)
    grey = np.zeros((64, 64), np.uint8)
    assert finders.open_finder(copy).find([grey])[0].fault == UPRIGHT


def test_the_card_states_how_often_upright_slices_are_refused():
    measured = finders.read_card(FOLDER)["picture_check"]["metrics"]
    assert set(measured) == {"axial", "coronal", "sagittal", "ct-kidney-plain"}
    assert all(row["upright_refused"] < 0.1 for row in measured.values())


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs the slices of shared/data")
@pytest.mark.parametrize("hospital", ELSEWHERE)
def test_slices_of_hospitals_it_never_saw_are_taken_as_they_stand(finder, hospital):
    paths = sorted((SHARED / "data").glob(ELSEWHERE[hospital]))
    greys = [np.asarray(Image.open(path).convert("L")) for path in paths]
    assert (faults(finder, greys) != UPRIGHT).mean() <= 0.03
    for turn in (1, 2, 3):
        assert (faults(finder, greys, turn) != UPRIGHT).mean() >= 0.75
    if hospital == "Elazig":
        return  # coronal bodies fill their pictures, so that two of them are hard to tell from one
    pairs = [
        contact_sheet(np.stack([resized(one), resized(other)]), 1, 2, gap_px=0, grey=0)
        for one, other in zip(greys[::2], greys[1::2], strict=False)
    ]
    assert (faults(finder, pairs) != UPRIGHT).mean() >= 0.85
