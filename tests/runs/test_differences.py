"""In what runs differ, in the words of a legend."""

from dataclasses import replace

from kidney_core.runs import differences
from kidney_core.runs.recipes import TrainingConfig

BASE = TrainingConfig(data="/data/kidneys")


def test_a_label_says_what_differs_and_nothing_else():
    configs = {
        "one": replace(BASE, learning_rate=1e-3),
        "two": replace(BASE, learning_rate=1e-2, protocol="grouped", architecture="resnet18"),
    }
    assert differences.differing(list(configs.values())) == ["architecture", "learning_rate", "protocol"]
    assert differences.labels(configs) == {
        "one": "MobileNetV2, random split (paper), lr 0.001",
        "two": "ResNet18, unseen scans, lr 0.01",
    }


def test_runs_that_do_not_differ_are_told_by_their_names():
    assert differences.labels({"one": BASE, "two": BASE}) == {"one": "one", "two": "two"}
    three = {"one": BASE, "two": BASE, "three": replace(BASE, seed=4)}
    assert differences.labels(three) == {"one": "seed 0, one", "two": "seed 0, two", "three": "seed 4"}


def test_of_many_differences_only_those_are_told_that_tell_the_runs_apart():
    unseen = replace(BASE, protocol="grouped", validation_fraction=0.1, reported_epoch="best", patience=3)
    configs = {"a": BASE, "b": unseen, "c": replace(unseen, seed=1)}
    assert list(differences.labels(configs).values()) == [
        "random split (paper), seed 0",
        "unseen scans, seed 0",
        "unseen scans, seed 1",
    ]


def test_folds_are_counted_from_one():
    folds = {str(fold): replace(BASE, n_folds=3, fold=fold) for fold in range(2)}
    assert list(differences.labels(folds).values()) == ["fold 1", "fold 2"]


def test_repetitions_differ_in_seed_and_fold_only():
    configs = {"a": BASE, "b": replace(BASE, seed=1), "c": replace(BASE, seed=1, learning_rate=0.1)}
    assert differences.repetitions(configs) == [["a", "b"], ["c"]]
