"""Turned pictures are told from upright ones, on phantoms and on hospitals that the classifier never saw."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from kidney_core.common import settings
from kidney_core.common.errors import CheckpointError
from kidney_core.kidneys import finder as finders
from kidney_core.kidneys import orientation
from kidney_core.kidneys.orientation import TURNS_DEG, TurnClassifier
from kidney_core.simulation import phantom
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


def turned_by(finder, greys, turn):
    turned = [np.ascontiguousarray(np.rot90(grey, turn)) for grey in greys]
    return np.array([each.turned_by_deg for each in finder.find(turned)])


def test_a_picture_counts_as_turned_only_where_that_is_certain():
    assert orientation.turned_by(np.array([0.11, 0.0, 0.89, 0.0])) == 0
    assert orientation.turned_by(np.array([0.05, 0.05, 0.1, 0.8])) == 270
    assert orientation.turned_by(np.array([0.0, 0.9, 0.05, 0.05])) == 90


def test_features_are_those_of_the_last_maps():
    maps = [torch.full((2, channels, size, size), float(size)) for channels, size in ((8, 16), (4, 8), (3, 4), (2, 2))]
    features = orientation.features_of(maps)
    assert features.shape == (2, orientation.n_features([8, 4, 3, 2]))
    assert set(features.flatten().tolist()) == {8.0, 4.0, 2.0}


def test_a_classifier_survives_its_file():
    classifier = TurnClassifier(torch.randn(4, 12), torch.randn(4))
    read = orientation.from_bytes(classifier.to_bytes(), 12)
    features = torch.randn(5, 12)
    np.testing.assert_array_equal(read.probabilities(features), classifier.probabilities(features))
    with pytest.raises(ValueError, match="of other features"):
        orientation.from_bytes(classifier.to_bytes(), 13)
    with pytest.raises(ValueError, match="no classifier of turned pictures"):
        orientation.from_bytes(b"nonsense", 12)


@pytest.mark.parametrize("turn", range(4))
def test_turned_phantoms_are_recognised(finder, turn):
    greys = [
        drawn.as_slice("a").network_grey8()
        for label in ("Normal", "Cyst", "Tumor", "Stone")
        for drawn in phantom.draw_series(label, 31, n_slices=3)
    ]
    found = turned_by(finder, greys, turn)
    assert (found == TURNS_DEG[turn]).mean() > 0.7
    assert turn or (found == 0).all()


def test_a_finder_without_the_classifier_takes_every_picture_for_upright_and_a_changed_one_is_refused(tmp_path):
    copy = tmp_path / "finder"
    shutil.copytree(FOLDER, copy)
    content = bytearray((copy / finders.ORIENTATION_FILE).read_bytes())
    content[-1] ^= 1
    (copy / finders.ORIENTATION_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged or replaced"):
        finders.open_finder(copy)
    card = json.loads((copy / finders.CARD_FILE).read_text(encoding="utf-8"))
    del card["orientation"]
    finders.write_card(copy, card)
    grey = np.zeros((64, 64), np.uint8)
    assert finders.open_finder(copy).find([grey])[0].turned_by_deg == 0


def test_the_card_states_how_often_upright_slices_are_taken_for_turned():
    measured = finders.read_card(FOLDER)["orientation"]["metrics"]
    assert set(measured) == {"axial", "coronal", "sagittal", "ct-kidney-plain"}
    assert all(row["upright_called_turned"] < 0.1 for row in measured.values())


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs the slices of shared/data")
@pytest.mark.parametrize("hospital", ELSEWHERE)
def test_slices_of_hospitals_it_never_saw_are_taken_as_they_stand(finder, hospital):
    paths = sorted((SHARED / "data").glob(ELSEWHERE[hospital]))
    greys = [np.asarray(Image.open(path).convert("L")) for path in paths]
    assert (turned_by(finder, greys, 0) != 0).mean() <= 0.03
    for turn in (1, 2, 3):
        assert (turned_by(finder, greys, turn) != 0).mean() >= 0.75
