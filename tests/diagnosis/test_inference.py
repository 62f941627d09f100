"""A slice and a checkpoint become an answer with an explanation."""

import numpy as np
import pytest
import torch

from kidney_core.checkpoints import checkpoint
from kidney_core.diagnosis import inference
from kidney_core.imaging.slices import Slice, Window
from kidney_core.networks import models


def made_checkpoint(folder, architecture="test_resnet", temperature=2.0, size_px=64):
    torch.manual_seed(1)
    model = models.build_model(architecture, 4, image_size_px=size_px)
    card = {
        "architecture": architecture,
        "labels": ["Cyst", "Normal", "Stone", "Tumor"],
        "preprocessing": {"size_px": size_px},
        "temperature": temperature,
        "training": {"init": "scratch"},
        "command": "python train.py",
        "data": {},
        "split": {},
        "metrics": {},
        "intended_use": checkpoint.INTENDED_USE,
        "limits": ["Made for a test."],
    }
    return checkpoint.save_checkpoint(folder / architecture, model.state_dict(), card, {})


def slice_of(height=60, width=100):
    pixels = np.random.default_rng(0).integers(0, 255, (height, width), np.uint8)
    return Slice("a", pixels, "grey", Window(127.5, 255))


def test_diagnose_gives_calibrated_probabilities_and_a_map_over_the_slice(tmp_path):
    predictor = inference.open_predictor(made_checkpoint(tmp_path))
    answer = inference.diagnose(predictor, slice_of())
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    assert answer.predicted_label == max(answer.probabilities, key=answer.probabilities.get)
    assert answer.explained_label == answer.predicted_label
    assert answer.heatmap is None or answer.heatmap.shape == (60, 100)


def test_temperature_softens_the_probabilities(tmp_path):
    answers = [
        inference.diagnose(inference.open_predictor(made_checkpoint(tmp_path / str(t), temperature=t)), slice_of())
        for t in (0.2, 5.0)
    ]
    assert max(answers[0].probabilities.values()) > max(answers[1].probabilities.values())
    assert answers[0].predicted_label == answers[1].predicted_label


def test_any_label_may_be_explained_and_the_answer_stays(tmp_path):
    predictor = inference.open_predictor(made_checkpoint(tmp_path))
    plain = inference.diagnose(predictor, slice_of())
    for label in predictor.checkpoint.labels:
        answer = inference.diagnose(predictor, slice_of(), explain=label)
        assert answer.explained_label == label
        assert answer.probabilities == pytest.approx(plain.probabilities)
        assert (answer.heatmap is None) == bool(answer.no_heatmap_because)


def test_a_vision_transformer_is_read_and_says_why_it_has_no_map(tmp_path):
    predictor = inference.open_predictor(made_checkpoint(tmp_path, "test_vit", size_px=160))
    answer = inference.diagnose(predictor, slice_of())
    assert answer.heatmap is None
    assert "no heatmap can be drawn of it" in answer.no_heatmap_because
    assert sum(answer.probabilities.values()) == pytest.approx(1)


def test_diagnose__error_unknown_label(tmp_path):
    with pytest.raises(ValueError, match="explain and against must be of"):
        inference.diagnose(inference.open_predictor(made_checkpoint(tmp_path)), slice_of(), explain="Abscess")


def test_a_map_that_is_the_same_for_every_label_names_none(tmp_path):
    predictor = inference.open_predictor(made_checkpoint(tmp_path))
    answer = inference.diagnose(predictor, slice_of(), explain="Stone", against="Cyst", method="Eigen-CAM")
    assert answer.explained_label == answer.predicted_label
    assert answer.against_label is None
    assert answer.map_title == "Eigen-CAM, the same for every label"
    assert answer.map_in_words.startswith("Eigen-CAM, the same for every label. The strongest pattern")
    other = inference.diagnose(predictor, slice_of(), explain="Stone", against="Cyst", method="Grad-CAM")
    assert other.map_title == "Grad-CAM of Stone rather than Cyst"
