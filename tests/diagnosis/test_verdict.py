"""Can a prediction be used? A real training run's reference, for seen, new, out-of-distribution and unsure slices."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from kidney_core.checkpoints.checkpoint import REFERENCE_FILE
from kidney_core.common import settings
from kidney_core.common.errors import CheckpointError
from kidney_core.common.files import read_table
from kidney_core.diagnosis import inference, verdict
from kidney_core.diagnosis.inference import Diagnosis
from kidney_core.imaging.slices import Slice, Window, read_slice
from kidney_core.runs import run_folder
from kidney_core.training import publish, trainer
from tests.conftest import tiny_run, write_series_dataset


@pytest.fixture
def trained(tmp_path):
    """A grouped run with a validation part, published; and the folder of its images."""
    folder = write_series_dataset(tmp_path / "many", n_series=12, n_slices=6)
    run = tiny_run(folder, "grouped", protocol="grouped", validation_fraction=0.3)
    trainer.train(run)
    return publish.publish(run, name="judge"), folder


def part_of(part):
    split = read_table(settings.runs_folder() / "grouped" / "split.csv")
    return split.loc[split["part"] == part, "path"].tolist()


def outcomes(judged):
    return [step.outcome for step in judged.steps]


def ask(predictor, image, **options):
    return verdict.judge(predictor, image, inference.diagnose(predictor, image), **options)


def answered(predictor, p):
    """An answer of that confidence for the first label."""
    labels = predictor.checkpoint.labels
    rest = (1 - p) / (len(labels) - 1)
    framed = predictor.checkpoint.view.frame(np.zeros((48, 48), np.uint8))
    probabilities = {each: p if i == 0 else rest for i, each in enumerate(labels)}
    return Diagnosis("judge", probabilities, labels[0], labels[0], None, framed, framed)


@pytest.mark.slow
def test_training_writes_what_the_chain_needs_and_publishing_keeps_it(trained):
    checkpoint, _ = trained
    report = run_folder.Run(settings.runs_folder() / "grouped").report()
    assert set(report["familiarity"]) == {"test_foreign", "test_seen"}
    assert checkpoint.card["familiarity"] == report["familiarity"]
    reference = inference.open_predictor(checkpoint).reference
    assert set(reference.paths) < set(part_of("train"))  # every second slice of each scan
    assert len(reference.paths) == len(part_of("train"))  # as they are, and mirrored
    assert len(set(reference.paths)) == len(part_of("train")) / 2
    entry = checkpoint.card["abstention"]
    assert entry["protocol"] == "grouped"
    assert set(entry["thresholds"]) == set(entry["by_label"]) == set(checkpoint.labels)


def test_a_seen_scan_is_named_and_a_new_one_is_not(trained):
    checkpoint, folder = trained
    predictor = inference.open_predictor(checkpoint)
    path = part_of("train")[0]
    seen = np.asarray(Image.open(folder / path)).astype(int) + np.random.default_rng(0).integers(-3, 4, (48, 48))
    image = Slice("neighbour", np.clip(seen, 0, 255).astype(np.uint8), "grey", Window(127.5, 255))
    judged = ask(predictor, image)
    assert judged.seen
    assert judged.outcome == "memory"
    assert "The model has probably seen this scan" in judged.steps[3].reason
    judged = [ask(predictor, read_slice(folder / each)) for each in part_of("test")]
    assert np.mean([each.seen for each in judged]) < 0.2


def test_an_image_out_of_distribution_is_refused_with_the_reason_and_nothing_else_is_checked(trained):
    checkpoint, _ = trained
    predictor = inference.open_predictor(checkpoint)
    stripes = np.tile(np.array([0, 255], np.uint8), (48, 24))
    judged = ask(predictor, Slice("stripes", stripes, "grey", Window(127.5, 255)))
    assert judged.refused
    assert outcomes(judged) == ["passed", "not checked", "failed"]
    assert "unlike the CT slices" in judged.steps[2].reason
    measured = checkpoint.card["familiarity"]["test_foreign"]
    assert f"This check rejects {100 * measured:.1f} % of slices of unseen scans." in judged.steps[2].reason
    known = ask(predictor, Slice("stripes", stripes, "grey", Window(127.5, 255)), trained_on_file=True)
    assert known.outcome == "refused"
    assert "This very file was in the training data, but it is out of distribution" in known.steps[2].reason


@pytest.mark.slow
def test_the_very_file_counts_as_seen(trained):
    checkpoint, folder = trained
    judged = ask(inference.open_predictor(checkpoint), read_slice(folder / part_of("test")[0]), trained_on_file=True)
    assert judged.outcome == "memory"
    assert "This very file was used to train" in judged.steps[3].reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("threshold", "confidence", "word"), [(0.7, 0.71, "answered"), (0.7, 0.69, "undecided"), (None, 0.99, "undecided")]
)
@pytest.mark.parametrize("by_label", [True, False])  # False: a card of 0.5
def test_abstaining_follows_the_threshold_of_the_card(trained, threshold, confidence, word, by_label):
    checkpoint, folder = trained
    abstention = {"protocol": "grouped", "accepted_error": 0.1, "threshold": threshold, "coverage": 0.4, "error": 0.08}
    if by_label:
        of_label = {"n": 90, "n_scans": 9, "error": 0.06, "interval": [0.01, 0.12]}
        abstention |= {
            "thresholds": dict.fromkeys(checkpoint.labels, threshold),
            "by_label": dict.fromkeys(checkpoint.labels, of_label),
        }
    checkpoint = dataclasses.replace(checkpoint, card={**checkpoint.card, "abstention": abstention})
    predictor = dataclasses.replace(inference.open_predictor(checkpoint), reference=None)
    judged = verdict.judge(predictor, read_slice(folder / part_of("test")[0]), answered(predictor, confidence))
    assert judged.outcome == word
    assert outcomes(judged)[1:3] == ["not checked", "not checked"]
    assert ("abstains" in judged.steps[-1].reason) == (word == "undecided")


@pytest.mark.slow
def test_open_predictor__error_exchanged_reference(trained):
    checkpoint, _ = trained
    path = checkpoint.folder / REFERENCE_FILE
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not the file that its card lists"):
        inference.open_predictor(checkpoint)
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be read .* Copy the checkpoint's folder again"):
        inference.open_predictor(checkpoint)
