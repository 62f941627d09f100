"""The search for what breaks a model, and what is stored of it."""

import dataclasses
import json

import numpy as np
import pytest

from kidney_core.checkpoints.checkpoint import list_checkpoints
from kidney_core.common import settings
from kidney_core.common.errors import CheckpointError
from kidney_core.diagnosis import inference
from kidney_core.teaching import breaks, ready_results, robustness
from kidney_core.teaching.breaks import Sample
from tests.diagnosis.test_inference import made_checkpoint


@pytest.fixture
def predictor(tmp_path):
    return inference.open_predictor(made_checkpoint(tmp_path / "checkpoints"))


def test_samples_take_turns_over_the_labels_and_start_anew():
    assert breaks.samples(0)[:5] == [
        Sample("Cyst", 1),
        Sample("Normal", 1),
        Sample("Stone", 1),
        Sample("Tumor", 1),
        Sample("Cyst", 2),
    ]
    assert breaks.samples(1)[0] == Sample("Normal", 2)


def test_a_drawn_sample_knows_its_lesion():
    scene = breaks.draw(Sample("Stone", 1))
    assert scene.lesion.any()
    assert breaks.draw(Sample("Normal", 1)).lesion is None
    assert np.array_equal(scene.image.pixels, breaks.draw(Sample("Stone", 1)).image.pixels)


@pytest.mark.slow
def test_every_break_that_is_found_is_one(predictor):
    scene = breaks.draw(Sample("Tumor", 1))
    found = list(breaks.find_in(predictor, scene))
    for each in found:
        kind = robustness.disturbances_of(scene)[each.disturbance]
        curve = robustness.predict_curve(predictor, scene, kind)
        row = curve.position_of(each.amount)
        assert curve.breaks(kind)[row]
        label, confidence = curve.predicted()[row], float(curve.confidence[row])
        assert each.answered == robustness.is_answered(predictor, label, confidence)
    assert len({each.disturbance for each in found}) == len(found)
    wrong = next(
        label for label in predictor.checkpoint.labels if label != curve.predicted()[curve.position_of(kind.none)]
    )
    assert not list(breaks.find_in(predictor, scene, label=wrong))  # wrong already, undisturbed


@pytest.mark.slow
def test_the_command_stores_what_the_search_finds(predictor, tmp_path):
    ready_results.compute_breaks([predictor], folder=tmp_path, n_samples=2)
    stored = ready_results.breaks_of(predictor.checkpoint, folder=tmp_path)
    assert stored == breaks.choose(predictor, n_samples=2)
    other = dataclasses.replace(predictor.checkpoint, card=predictor.checkpoint.card | {"weights_sha256": "0"})
    assert ready_results.breaks_of(other, folder=tmp_path) == []


def test_a_damaged_result_is_named(predictor, tmp_path):
    (tmp_path / ready_results.BREAKS_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="Compute it again: kidney-ct lessons"):
        ready_results.breaks_of(predictor.checkpoint, folder=tmp_path)


def test_what_is_stored_is_of_the_shipped_checkpoints():
    stored = json.loads((ready_results.FOLDER / ready_results.BREAKS_FILE).read_text(encoding="utf-8"))
    shipped = list_checkpoints(settings.SHIPPED_CHECKPOINTS)[0]
    assert set(stored) == {each.card["weights_sha256"] for each in shipped}
    assert any(ready_results.breaks_of(each) for each in shipped)
