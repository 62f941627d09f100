"""The finder that ships: sealed, small, and right on phantoms and on annotated volumes it did not learn from."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from kidney_core.common import settings
from kidney_core.common.errors import CheckpointError
from kidney_core.data import annotated_volumes
from kidney_core.kidneys import finder as finders
from kidney_core.kidneys import stack_kidneys
from kidney_core.simulation import phantom
from kidney_core.training import finder_evaluation
from tests.conftest import SHARED

FOLDER = settings.SHIPPED_CHECKPOINTS / finders.FOLDER
VOLUMES, SCANS = (SHARED / "data" / name for name in ("abdomen-volumes", "reported-scans"))


@pytest.fixture(scope="module")
def finder():
    return finders.open_finder(FOLDER)


def test_it_is_small_and_its_card_states_how_it_was_measured():
    card = finders.read_card(FOLDER)
    assert (FOLDER / finders.WEIGHTS_FILE).stat().st_size < 12e6
    assert set(card["metrics"]) == {"axial", "axial stack", "coronal"}
    assert card["protocol"]
    assert card["limits"]
    for measures in card["metrics"].values():
        for name in finder_evaluation.MEASURES:
            low, high = measures[name]["interval"]
            assert low <= measures[name]["mean"] <= high


def test_noise_shows_no_kidney(finder):
    rng = np.random.default_rng(4)
    noise = [rng.integers(0, 256, (size, size)).astype(np.uint8) for size in (64, 128, 256, 512) for _ in range(5)]
    smooth = [gaussian_filter(rng.normal(0, 1, (256, 256)), grain) for grain in (1, 2, 4, 8, 16) for _ in range(4)]
    noise += [np.rint((each - each.min()) / np.ptp(each) * 255).astype(np.uint8) for each in smooth]
    n_found = sum(bool(each.find().mask.any()) for each in finder.find(noise))
    assert n_found <= 2


@pytest.mark.parametrize("label", ["Normal", "Cyst", "Tumor", "Stone"])
def test_kidneys_of_phantoms_are_found_with_their_lesions(finder, label):
    drawn = phantom.draw_series(label, 12, n_slices=3)[1]
    found = finder.find([drawn.as_slice("a").network_grey8()])[0].find()
    for mask, truth in ((found.picture_left, drawn.right), (found.picture_right, drawn.left)):
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.75


def test_a_mirrored_picture_has_mirrored_answers(finder):
    grey = phantom.draw_series("Normal", 12, n_slices=3)[1].as_slice("a").network_grey8()
    one, other = (each.find() for each in finder.find([grey, np.ascontiguousarray(grey[:, ::-1])]))
    overlap = (one.picture_left & other.picture_right[:, ::-1]).sum()
    assert overlap / one.picture_left.sum() > 0.85


def test_a_changed_card_and_changed_weights_are_refused(tmp_path):
    copy = tmp_path / "finder"
    shutil.copytree(FOLDER, copy)
    content = bytearray((copy / finders.WEIGHTS_FILE).read_bytes())
    content[-1] ^= 1
    (copy / finders.WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged or replaced"):
        finders.open_finder(copy)
    card = json.loads((copy / finders.CARD_FILE).read_text(encoding="utf-8"))
    card["protocol"] = "measured on everything"
    (copy / finders.CARD_FILE).write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(CheckpointError, match="changed since it was sealed"):
        finders.open_finder(copy)
    (copy / finders.CARD_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="not the card of a kidney finder"):
        finders.open_finder(copy)


@pytest.mark.slow
@pytest.mark.skipif(not VOLUMES.is_dir(), reason="needs the annotated volumes of shared/data")
def test_a_volume_is_measured_at_least_as_well_as_the_card_says_of_volumes_held_out(finder):
    """What ships learned from all volumes; the card's figures are of a network that did not see the volume."""
    held_out = next(row["volume"] for row in finders.read_card(FOLDER)["by_volume"])
    (volume,) = (each for each in annotated_volumes.read_volumes(VOLUMES) if each.name == held_out)
    rows = {row["plane"]: row for row in finder_evaluation.measure(finder, volume)}
    stated = {row["plane"]: row for row in finders.read_card(FOLDER)["by_volume"] if row["volume"] == held_out}
    for plane, row in rows.items():
        for name in finder_evaluation.MEASURES:
            assert row[name] >= stated[plane][name] - 0.02, (plane, name)


@pytest.mark.slow
@pytest.mark.skipif(not SCANS.is_dir(), reason="needs the reported scans of shared/data")
@pytest.mark.parametrize("scan", ["scan02", "scan05", "scan14"])
def test_both_kidneys_of_a_hospital_it_never_saw_are_found(finder, scan):
    """Enhanced and unenhanced, healthy and with a tumour, as the radiologist reported."""
    greys = [np.asarray(Image.open(path).convert("L")) for path in sorted((SCANS / scan).glob("*.jpg"))]
    found = stack_kidneys.along_stack([stack_kidneys.reduce_map(each) for each in finder.find(greys)])
    assert found.sides == ("right", "left")
    first, last = found.range
    assert 0.2 < (last - first + 1) / len(greys) < 0.95
