"""What a checkpoint is the choice for follows from its card and its size, and nothing else."""

import json

from kidney_core.checkpoints import purpose
from kidney_core.checkpoints.checkpoint import WEIGHTS_FILE, Checkpoint
from kidney_core.common.labels import LABELS


def made(folder, name, *, balanced=None, coverage=None, thresholds=None, n_bytes=10, recipe="travel"):
    path = folder / name
    path.mkdir()
    (path / WEIGHTS_FILE).write_bytes(b"0" * n_bytes)
    card = {
        "name": name,
        "architecture": "resnet18",
        "labels": list(LABELS),
        "training": {"recipe": recipe},
        "metrics": {} if balanced is None else {"grouped": {"balanced_accuracy": balanced}},
    }
    if thresholds is not None:
        card["abstention"] = {"coverage": coverage, "thresholds": thresholds}
    return Checkpoint(path, json.loads(json.dumps(card)))


def test_each_purpose_goes_to_the_checkpoint_that_is_best_at_it(tmp_path):
    asked = dict.fromkeys(LABELS, 0.5)
    a = made(tmp_path, "a", balanced=0.8, coverage=0.3, thresholds=asked, n_bytes=30)
    b = made(tmp_path, "b", balanced=0.7, coverage=0.4, thresholds=asked, n_bytes=20)
    c = made(tmp_path, "c", n_bytes=10, recipe="paper")
    assert purpose.purposes([a, b, c]) == {
        "a": (purpose.BEST_UNSEEN,),
        "b": (purpose.ANSWERS_MOST,),
        "c": (purpose.SMALLEST, purpose.PAPERS),
    }


def test_a_single_checkpoint_is_best_at_nothing(tmp_path):
    assert purpose.purposes([made(tmp_path, "a", balanced=0.8)]) == {"a": ()}


def test_labels_without_a_threshold_are_never_answered(tmp_path):
    kept = {"Cyst": 0.5, "Normal": None, "Stone": None, "Tumor": 0.6}
    assert purpose.never_answered(made(tmp_path, "a", coverage=0.3, thresholds=kept)) == ("Normal", "Stone")
    assert purpose.never_answered(made(tmp_path, "b")) == ()
