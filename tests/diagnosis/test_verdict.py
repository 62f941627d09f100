"""May the network speak? A real training run's reference, asked about seen, new, foreign and unsure slices."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from kidney_core import diagnosis, publish, runs, training, verdict
from kidney_core.checkpoint import REFERENCE_FILE
from kidney_core.diagnosis import Diagnosis
from kidney_core.errors import CheckpointError
from kidney_core.files import read_table
from kidney_core.slices import Slice, Window, read_slice
from tests.conftest import tiny_run, write_series_dataset


@pytest.fixture
def trained(tmp_path):
    """A grouped run with a validation part, published; and the folder of its images."""
    folder = write_series_dataset(tmp_path / "many", n_series=12, n_slices=6)
    run = tiny_run(folder, "grouped", protocol="grouped", validation_fraction=0.3)
    training.train(run)
    return publish.publish(run, name="judge"), folder


def part_of(part):
    split = read_table(runs.runs_folder() / "grouped" / "split.csv")
    return split.loc[split["part"] == part, "path"].tolist()


def outcomes(judged):
    return [step.outcome for step in judged.steps]


def ask(reader, image, **options):
    return verdict.judge(reader, image, diagnosis.diagnose(reader, image), **options)


def answered(reader, p):
    """An answer of that confidence for the first label."""
    labels = reader.checkpoint.labels
    rest = (1 - p) / (len(labels) - 1)
    return Diagnosis(
        "judge", {each: p if i == 0 else rest for i, each in enumerate(labels)}, labels[0], labels[0], None
    )


def test_training_writes_what_the_chain_needs_and_publishing_keeps_it(trained):
    checkpoint, _ = trained
    report = runs.Run(runs.runs_folder() / "grouped").report()
    assert set(report["familiarity"]) == {"test_foreign", "test_seen"}
    assert checkpoint.card["familiarity"] == report["familiarity"]
    reference = diagnosis.open_reader(checkpoint).reference
    assert set(reference.paths) < set(part_of("train"))  # every second slice of each scan
    assert len(reference.paths) == len(part_of("train")) / 2
    assert set(checkpoint.card["abstention"]) == {"protocol", "accepted_error", "threshold", "coverage", "error"}


def test_a_seen_scan_is_named_and_a_new_one_is_not(trained):
    checkpoint, folder = trained
    reader = diagnosis.open_reader(checkpoint)
    path = part_of("train")[0]
    seen = np.asarray(Image.open(folder / path)).astype(int) + np.random.default_rng(0).integers(-3, 4, (48, 48))
    image = Slice("neighbour", np.clip(seen, 0, 255).astype(np.uint8), "grey", Window(127.5, 255))
    judged = ask(reader, image)
    assert judged.seen
    assert judged.in_a_word == "memory"
    assert "the model has seen this scan" in judged.steps[2].reason
    judged = [ask(reader, read_slice(folder / each)) for each in part_of("test")]
    assert np.mean([each.seen for each in judged]) < 0.2


def test_a_foreign_image_is_refused_with_the_reason_and_nothing_else_is_asked(trained):
    checkpoint, _ = trained
    reader = diagnosis.open_reader(checkpoint)
    stripes = np.tile(np.array([0, 255], np.uint8), (48, 24))
    judged = ask(reader, Slice("stripes", stripes, "grey", Window(127.5, 255)))
    assert judged.refused
    assert outcomes(judged) == ["passed", "refused"]
    assert "unlike the CT slices" in judged.steps[1].reason
    measured = checkpoint.card["familiarity"]["test_foreign"]
    assert f"Of slices of unseen scans it refuses {100 * measured:.1f} %." in judged.steps[1].reason
    known = ask(reader, Slice("stripes", stripes, "grey", Window(127.5, 255)), trained_on_file=True)
    assert known.in_a_word == "refused"
    assert "This very file was in its training, yet" in known.steps[1].reason


def test_the_very_file_counts_as_seen(trained):
    checkpoint, folder = trained
    judged = ask(diagnosis.open_reader(checkpoint), read_slice(folder / part_of("test")[0]), trained_on_file=True)
    assert judged.in_a_word == "memory"
    assert "This very file was used to train" in judged.steps[2].reason


@pytest.mark.parametrize(
    ("threshold", "confidence", "word"), [(0.7, 0.71, "answered"), (0.7, 0.69, "undecided"), (None, 0.99, "undecided")]
)
def test_abstaining_follows_the_threshold_of_the_card(trained, threshold, confidence, word):
    checkpoint, folder = trained
    abstention = {"protocol": "grouped", "accepted_error": 0.1, "threshold": threshold, "coverage": 0.4, "error": 0.08}
    checkpoint = dataclasses.replace(checkpoint, card={**checkpoint.card, "abstention": abstention})
    reader = dataclasses.replace(diagnosis.open_reader(checkpoint), reference=None)
    judged = verdict.judge(reader, read_slice(folder / part_of("test")[0]), answered(reader, confidence))
    assert judged.in_a_word == word
    assert outcomes(judged)[1:3] == ["unchecked", "unchecked"]
    assert ("it abstains" in judged.steps[-1].reason) == (word == "undecided")


def test_open_reader__error_exchanged_reference(trained):
    checkpoint, _ = trained
    path = checkpoint.folder / REFERENCE_FILE
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not the file its card describes"):
        diagnosis.open_reader(checkpoint)
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be read .* Copy the checkpoint's folder again"):
        diagnosis.open_reader(checkpoint)
