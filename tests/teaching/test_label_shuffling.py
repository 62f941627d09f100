"""Heads on true and on shuffled labels, on features whose answer is known."""

import numpy as np
import pandas as pd
import pytest
import torch

from kidney_core.data.dataset import read_dataset
from kidney_core.imaging.framing import View
from kidney_core.metrics import splits
from kidney_core.networks import models
from kidney_core.teaching import label_shuffling
from kidney_core.teaching.label_shuffling import BY_SCAN, BY_SLICE, TRUE
from tests.conftest import write_series_dataset

LABELS = ("Cyst", "Normal", "Stone", "Tumor")


@pytest.fixture
def table():
    """4 labels of 8 scans of 5 slices."""
    rows = [(f"{number}-{index}", LABELS[number // 8], number) for number in range(32) for index in range(5)]
    return pd.DataFrame(rows, columns=["path", "label", "series"])


@pytest.fixture
def scans_only(table):
    """Features that tell the scan and nothing of the label."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(32, 60))[table["series"]] + 0.05 * rng.normal(size=(len(table), 60))


def test_shuffling_keeps_the_counts_and_scans_whole(table):
    by_scan, by_slice = (label_shuffling.assign_labels(table, labelling) for labelling in (BY_SCAN, BY_SLICE))
    for dealt in (by_scan, by_slice):
        assert pd.Series(dealt).value_counts().to_dict() == dict.fromkeys(LABELS, 40)
        assert (dealt != table["label"]).mean() > 0.5
    assert pd.Series(by_scan).groupby(table["series"]).nunique().max() == 1
    assert pd.Series(by_slice).groupby(table["series"]).nunique().max() > 1
    assert label_shuffling.assign_labels(table, TRUE).tolist() == table["label"].tolist()
    with pytest.raises(ValueError, match="labelling must be one of"):
        label_shuffling.assign_labels(table, "other")


@pytest.mark.parametrize("labelling", [TRUE, BY_SCAN])
def test_memory_of_scans_is_perfect_on_a_random_split_and_guesses_on_scans_never_seen(table, scans_only, labelling):
    random = label_shuffling.train_heads(scans_only, table, labelling, splits.RANDOM)
    grouped = label_shuffling.train_heads(scans_only, table, labelling, splits.GROUPED)
    assert (random.train_accuracy, random.test_accuracy) == (1, 1)
    assert grouped.train_accuracy == 1
    assert grouped.test_accuracy < 0.5
    series = table["series"].to_numpy()
    assert (series[random.nearest] == series).all()
    assert (series[grouped.nearest] != series).all()
    assert random.similarity.min() > 0.9 > grouped.similarity.max()


def test_labels_shuffled_by_slice_are_learned_by_heart_and_carry_nothing_over(table):
    noise = np.random.default_rng(1).normal(size=(len(table), 300))
    for protocol in splits.PROTOCOLS:
        lesson = label_shuffling.train_heads(noise, table, BY_SLICE, protocol)
        assert lesson.train_accuracy == 1
        assert lesson.test_accuracy < 0.45


def test_a_feature_that_tells_the_label_is_right_under_both_splits(table):
    features = np.eye(4)[[LABELS.index(label) for label in table["label"]]] + 0.0
    for protocol in splits.PROTOCOLS:
        lesson = label_shuffling.train_heads(features, table, TRUE, protocol)
        assert lesson.test_accuracy == 1
        assert lesson.probabilities.sum(axis=1) == pytest.approx(np.ones(len(table)))


def test_of_a_large_folder_neighbours_of_spread_scans_are_taken():
    rows = [
        (f"{label}{scan}-{index}", label, (label, scan)) for label in "ab" for scan in range(40) for index in range(50)
    ]
    table = pd.DataFrame(rows, columns=["path", "label", "series"])
    table["series"] = pd.factorize(table["series"])[0]
    chosen = label_shuffling.choose_slices(table, limit=120)
    assert len(chosen) == 120
    assert chosen.groupby("label")["series"].nunique().to_dict() == {"a": 5, "b": 5}
    assert chosen["path"].iloc[:3].tolist() == ["a0-19", "a0-20", "a0-21"]  # the middle of the first scan
    assert {"a39-19", "b39-19"} <= set(chosen["path"])


@pytest.mark.slow
def test_a_folder_is_read_and_drawn_slices_are_the_same_each_time(tmp_path, monkeypatch):
    read = read_dataset(write_series_dataset(tmp_path / "folder", n_series=4, n_slices=3))
    told = []
    material = label_shuffling.read_data(read, View(32), progress=lambda done, total: told.append((done, total)))
    assert material.pixels.shape == (48, 32, 32)
    assert told[-1] == (48, 48)
    assert len(material.hashes) == 48
    assert not material.simulated
    assert set(material.hashes) == {sha256[:12] for sha256 in read.table["sha256"]}
    model = models.build_model("test_resnet", 4)
    standard = label_shuffling.compute_features(model, material)
    assert standard.mean(axis=0) == pytest.approx(np.zeros(standard.shape[1]), abs=1e-9)
    # What the network says, alone: the same without the thumbnail that the gate sees beside it.
    depths = model.forward_intermediates(torch.zeros(1, 3, 32, 32), intermediates_only=True)
    assert standard.shape[1] == sum(depth.shape[1] for depth in depths[1:])
    monkeypatch.setattr(label_shuffling, "_SCANS", 1)
    one, two = label_shuffling.draw_data(View(32)), label_shuffling.draw_data(View(32))
    assert np.array_equal(one.pixels, two.pixels)
    assert one.table["series"].tolist() == [number for number in range(4) for _ in range(8)]
    assert one.simulated


def test_every_labelling_and_protocol_is_taught(table, scans_only):
    told = []
    lessons = label_shuffling.train_all(scans_only, table, progress=lambda done, total: told.append(done))
    assert set(lessons) == {(one, two) for one in label_shuffling.LABELLINGS for two in splits.PROTOCOLS}
    assert told == [0, 1, 2, 3, 4, 5, 6]
