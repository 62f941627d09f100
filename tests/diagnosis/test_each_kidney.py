"""Networks that look at kidneys alone: trained, published, and the same answers in evaluation, diagnosis and a stack."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kidney_core.checkpoints import onnx_export, pointing, prediction
from kidney_core.common.errors import CheckpointError
from kidney_core.data import lesions
from kidney_core.data.dataset import read_dataset
from kidney_core.diagnosis import grading, inference, stack_reading, stack_verdict, verdict
from kidney_core.imaging import stack
from kidney_core.imaging.slices import read_slice
from kidney_core.kidneys import finder as finders
from kidney_core.metrics.predictions import probability_column
from kidney_core.simulation import phantom
from kidney_core.teaching import robustness
from kidney_core.training import publish, trainer
from tests.conftest import tiny_run
from tests.phantom_files import write_scan

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finder():
    return finders.open_installed()


@pytest.fixture
def phantoms(tmp_path):
    """Four classes of five scans of three simulated slices, and an image without a kidney in one class."""
    folder = tmp_path / "phantoms"
    for label in ("Cyst", "Normal", "Stone", "Tumor"):
        for seed in range(5):
            write_scan(folder / label, label, seed, n_slices=3, first=3 * seed + 1)
    grey = np.random.default_rng(0).integers(0, 60, (96, 96)).astype(np.uint8)
    Image.fromarray(grey).save(folder / "Tumor" / "99.png")
    return folder


def published(folder, framing, greys="original"):
    run = tiny_run(
        folder,
        "run",
        protocol="grouped",
        framing=framing,
        greys=greys,
        image_size_px=48,
        validation_fraction=0.34,
        test_fraction=0.3,
        augmentation="strong",
    )
    trainer.train(run)
    return publish.publish(run, name="kidneys")


@pytest.mark.parametrize(("framing", "greys"), [("kidneys", "equalized"), ("each-kidney", "relative")])
def test_evaluation_and_diagnosis_give_the_same_answer(phantoms, finder, framing, greys):
    checkpoint = published(phantoms, framing, greys)
    assert checkpoint.card["preprocessing"]["framing"] == framing
    assert checkpoint.card["preprocessing"]["greys"] == greys
    with pytest.raises(CheckpointError, match="no kidney finder is installed"):
        inference.open_predictor(checkpoint)
    predictor = inference.open_predictor(checkpoint, finder=finder)
    evaluated = prediction.predict_dataset(checkpoint, read_dataset(phantoms), device="cpu").table
    assert "Tumor/99.png" not in set(evaluated["path"])  # no kidney, no answer, no figure
    for row in evaluated.iloc[::7].itertuples():
        image = read_slice(phantoms / row.path)
        answer = inference.diagnose(predictor, image)
        expected = [getattr(row, probability_column(label)) for label in checkpoint.labels]
        assert list(answer.probabilities.values()) == pytest.approx(expected, abs=1e-4)
        judged = verdict.judge(predictor, image, answer)
        assert judged.training_match is not None
        if framing == "each-kidney":
            assert list(answer.by_kidney) == ["right", "left"]
            worse = min(answer.by_kidney.values(), key=lambda each: each["Normal"])
            assert worse == answer.probabilities
            says = [step.reason for step in judged.steps if step.title == verdict.EACH_KIDNEY]
            assert judged.refused or "right: " in says[0]
        else:
            assert answer.by_kidney == {}


def test_the_map_explains_the_kidney_that_is_asked_for(phantoms, finder):
    checkpoint = published(phantoms, "each-kidney")
    predictor = inference.open_predictor(checkpoint, finder=finder)
    image = read_slice(phantoms / "Cyst" / "1.png")
    default = inference.diagnose(predictor, image)
    for label in checkpoint.labels:
        answer = inference.diagnose(predictor, image, explain=label)
        side = max(answer.by_kidney, key=lambda each: answer.by_kidney[each][label])
        assert answer.framed.place == ("right", "left").index(side)
        assert answer.probabilities == default.probabilities
        assert answer.answering.place == default.answering.place
        if answer.heatmap is not None:  # it lies within the frame of that kidney
            outside = np.ones(answer.heatmap.shape, bool)
            answer.framed.frame.crop(outside)[:] = False
            assert not answer.heatmap[outside].any()
            assert {each.title for each in grading.grade(predictor, image, answer)} >= {"Faithful", "Within the body"}
    scene = robustness.Scene(image)
    curve = robustness.predict_curve(predictor, scene, robustness.disturbances_of(scene)["Noise"])
    assert curve.probabilities[0] == pytest.approx(list(default.probabilities.values()), abs=1e-4)
    assert onnx_export.simulated_squares(checkpoint).shape[1:] == (48, 48)
    measured = pointing.measure(checkpoint, {"phantoms": lesions.draw_phantoms(2)})
    assert measured["sets"]["phantoms"]["n"] == 6


def test_a_stack_has_a_verdict_for_each_kidney(phantoms, finder):
    checkpoint = published(phantoms, "each-kidney")
    predictor = inference.open_predictor(checkpoint, finder=finder)
    files = []
    for number, drawn in enumerate(phantom.draw_series("Cyst", 5, n_slices=6)):
        buffer = io.BytesIO()
        Image.fromarray(drawn.as_slice("a").network_grey8()).save(buffer, "PNG")
        files.append((f"{number}.png", buffer.getvalue()))
    (found,) = stack.open_stacks(files).stacks
    reading = stack_reading.read_stack(predictor, found)
    alone = inference.diagnose(predictor, read_slice(files[2][1], name="2.png"))
    row = reading.table.iloc[2]
    for side, probabilities in alone.by_kidney.items():
        columns = [stack_verdict.kidney_column(side, label) for label in checkpoint.labels]
        assert row[columns].tolist() == pytest.approx(list(probabilities.values()), abs=1e-4)
    assert [each.side for each in reading.verdict.by_kidney] == ["right", "left"]
    halves = iter([False] * 3 + [True] * 99)
    part = stack_reading.read_stack(predictor, found, stop=lambda: next(halves))
    rest = stack_reading.read_stack(predictor, found, earlier=part)
    pd.testing.assert_frame_equal(rest.table, reading.table)


def test_the_verdict_of_a_kidney_names_the_slices_that_carry_it():
    labels = ("Cyst", "Normal", "Stone", "Tumor")
    table = pd.DataFrame(
        {
            "problem": "",
            "sides": "right, left",
            "fault": 0,
            "refused": False,
            "seen": False,
            "trained": False,
            "predicted": "Normal",
        },
        index=range(10),
    )
    for label in labels:
        table[probability_column(label)] = 0.25
        table[stack_verdict.kidney_column("right", label)] = 0.91 if label == "Normal" else 0.03
        table[stack_verdict.kidney_column("left", label)] = 0.7 if label == "Normal" else 0.1
    cyst = [stack_verdict.kidney_column("left", label) for label in labels]
    table.loc[4:7, cyst] = [0.8, 0.1, 0.05, 0.05]
    table.loc[9, cyst] = [0.1, 0.0, 0.0, 0.9]  # a flicker
    table.loc[0, cyst] = np.nan  # the left kidney begins on the second slice
    judged = stack_verdict.judge_stack(table, {}, n_read=10, has_reference=False)
    assert [each.in_words for each in judged.by_kidney] == [
        "right: Normal, 91 % on average",
        "left: Cyst on slices 5 to 8, up to 80 %",
    ]
    assert judged.steps[-1].title == verdict.EACH_KIDNEY
