"""Which answer of a model counts in a quiz: files are recognised by their content, and nothing is claimed that is not known."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from kidney_core.checkpoints import checkpoint
from kidney_core.data.dataset import read_dataset, short_hash
from kidney_core.diagnosis.outcomes import Outcome
from kidney_core.metrics import evaluation
from kidney_core.metrics.predictions import Predictions
from kidney_core.metrics.splits import CROSS_VALIDATED, GROUPED
from kidney_core.networks import models
from kidney_core.teaching import fair_answers
from kidney_core.teaching.cases import SIMULATED, Guess
from kidney_core.teaching.fair_answers import Basis
from tests.teaching.test_quiz import case

LABELS = ("Cyst", "Normal", "Stone", "Tumor")
PATHS = ["Cyst/1.png", "Cyst/2.png", "Normal/1.png", "Stone/1.png", "Tumor/1.png"]
DIGESTS = {path: f"{number:012x}" for number, path in enumerate(PATHS)}
HELD_OUT = ["Cyst/2.png", "Tumor/1.png"]
SAID = np.array(
    [[0.6, 0.2, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.8, 0.05, 0.05], [0.5, 0.1, 0.3, 0.1], [0, 0, 0, 1]]
)


def made(folder, *, n_extra=0, lines=None, protocols=(GROUPED, CROSS_VALIDATED)):
    """A checkpoint that was trained on all but the held-out paths, with stored answers for all of them."""
    rows = pd.DataFrame({"path": PATHS, "label": [path.split("/")[0] for path in PATHS], "series": range(len(PATHS))})
    pooled = Predictions.from_probabilities(rows, SAID, LABELS)
    stored = {CROSS_VALIDATED: pooled, GROUPED: pooled.subset(rows["path"].isin(HELD_OUT))}
    trained = lines if lines is not None else [DIGESTS[path] for path in PATHS if path not in HELD_OUT]
    card = {
        "architecture": "test_resnet",
        "labels": list(LABELS),
        "preprocessing": {"size_px": 64},
        "temperature": 1.0,
        "training": {"init": "scratch", "protocol": GROUPED},
        "command": "python train.py",
        "data": {"extra_training_slices": n_extra},
        "split": {name: {} for name in protocols},
        "metrics": {name: evaluation.metrics(pooled) for name in protocols},
        "intended_use": checkpoint.INTENDED_USE,
        "limits": ["Made for a test."],
    }
    state = models.build_model("test_resnet", 4, image_size_px=64).state_dict()
    return checkpoint.save_checkpoint(
        folder / "tiny",
        {name: tensor.to(torch.float32) for name, tensor in state.items()},
        card,
        {name: stored[name] for name in protocols},
        trained_on="".join(f"{line}\n" for line in trained).encode(),
    )


def asked(path, digest, label=None):
    return dataclasses.replace(case(label or path.split("/")[0]), origin=path, digest=digest)


def test_a_slice_is_answered_by_the_network_that_never_saw_it(tmp_path):
    stored = fair_answers.stored_answers(made(tmp_path))
    answer = fair_answers.stored_for(stored, asked("Stone/1.png", DIGESTS["Stone/1.png"]))
    assert answer.guess == Guess("Cyst", None)
    assert answer.basis == Basis.OUT_OF_FOLD
    assert answer.is_fair
    assert answer.confidence == pytest.approx(0.5)
    assert answer.finding == pytest.approx(0.9)


def test_a_file_is_recognised_by_its_content_under_any_name(tmp_path):
    stored = fair_answers.stored_answers(made(tmp_path))
    renamed = fair_answers.stored_for(stored, asked("kidney_stone/x.png", DIGESTS["Stone/1.png"], "Stone"))
    assert renamed.probabilities["Cyst"] == pytest.approx(0.5)
    # Two files of one class that changed their names: each keeps the answer of its content.
    swapped = fair_answers.stored_for(stored, asked("Normal/1.png", DIGESTS["Cyst/1.png"], "Cyst"))
    assert swapped.probabilities["Cyst"] == pytest.approx(0.6)


def test_other_content_under_a_known_name_gets_no_stored_answer_and_no_score(tmp_path):
    stored = fair_answers.stored_answers(made(tmp_path))
    copied = asked("Stone/1.png", "ffffffffffff")
    assert fair_answers.stored_for(stored, copied) is None
    assert stored.basis(copied, seen=False) == Basis.UNKNOWN
    moved = asked("Stone/1.png", DIGESTS["Stone/1.png"], "Tumor")  # in another class folder
    assert fair_answers.stored_for(stored, moved) is None
    assert stored.basis(moved, seen=False) == Basis.SEEN


def test_the_held_out_and_the_foreign_are_unseen_unless_the_check_finds_their_scan(tmp_path):
    stored = fair_answers.stored_answers(made(tmp_path))
    for path in ("Tumor/1.png", "Foreign/9.png"):
        assert fair_answers.stored_for(stored, asked(path, "eeeeeeeeeeee")) is None
        assert stored.basis(asked(path, "eeeeeeeeeeee"), seen=False) == Basis.UNSEEN
        assert stored.basis(asked(path, "eeeeeeeeeeee"), seen=True) == Basis.SEEN


def test_held_out_slices_help_to_draw_cases(tmp_path):
    stored = fair_answers.stored_answers(made(tmp_path))
    assert stored.expected("eeeeeeeeeeee", "Tumor/1.png", "Tumor").is_right
    assert not stored.expected("eeeeeeeeeeee", "Cyst/2.png", "Cyst").is_right
    assert stored.expected("eeeeeeeeeeee", "Stone/1.png", "Stone") is None


def test_simulated_cases_are_never_scored(tmp_path):
    stored = fair_answers.stored_answers(made(tmp_path))
    drawn = dataclasses.replace(case(), origin=SIMULATED)
    assert fair_answers.stored_for(stored, drawn) is None
    assert stored.basis(drawn, seen=False) == Basis.SIMULATED
    assert not fair_answers.ModelAnswer(Guess("Cyst", None), {"Cyst": 1.0}, Basis.SIMULATED, Outcome.ANSWERED).is_fair


def test_extra_training_slices_stand_behind_those_of_the_dataset(tmp_path):
    lines = [*(DIGESTS[path] for path in PATHS if path not in HELD_OUT), "aaaaaaaaaaaa"]
    stored = fair_answers.stored_answers(made(tmp_path, n_extra=1, lines=lines))
    assert fair_answers.stored_for(stored, asked("x/1.png", DIGESTS["Normal/1.png"], "Normal")).guess.label == "Normal"
    assert stored.basis(asked("x/1.png", "aaaaaaaaaaaa"), seen=False) == Basis.SEEN


def test_where_the_digests_do_not_tell_which_slice_is_which_the_path_must_agree(tmp_path):
    stored = fair_answers.stored_answers(made(tmp_path, lines=[*DIGESTS.values(), "aaaaaaaaaaaa"]))
    assert not stored.by_digest
    assert fair_answers.stored_for(stored, asked("Stone/1.png", DIGESTS["Stone/1.png"])) is not None
    assert fair_answers.stored_for(stored, asked("Stone/7.png", DIGESTS["Stone/1.png"])) is None


def test_without_digests_or_folds_nothing_is_claimed(tmp_path):
    unknown = fair_answers.stored_answers(made(tmp_path / "unknown", lines=[]))
    assert unknown.basis(asked("Foreign/9.png", "eeeeeeeeeeee"), seen=False) == Basis.UNKNOWN
    one_split = fair_answers.stored_answers(made(tmp_path / "one", protocols=(GROUPED,)))
    seen = asked("Stone/1.png", DIGESTS["Stone/1.png"])
    assert fair_answers.stored_for(one_split, seen) is None
    assert one_split.basis(seen, seen=False) == Basis.SEEN


@pytest.mark.slow
def test_a_published_run_lists_its_training_slices_in_the_order_of_the_dataset(published, small_dataset):
    dataset = read_dataset(small_dataset)
    tested = set(published.predictions(GROUPED).table["path"])
    rows = dataset.table[~dataset.table["path"].isin(tested)]
    assert published.trained_on_in_order() == tuple(map(short_hash, rows["sha256"]))


@pytest.mark.slow
def test_the_shipped_checkpoints_know_every_slice_of_their_dataset(shared_data):
    dataset = read_dataset(shared_data / "ct-kidney-plain")
    for shipped in checkpoint.list_checkpoints()[0]:
        stored = fair_answers.stored_answers(shipped)
        assert stored.by_digest
        digests = map(short_hash, dataset.table["sha256"])
        rows = zip(digests, dataset.table["path"], dataset.table["label"], strict=True)
        found = [(path, stored.of(digest, path, label)) for digest, path, label in rows if digest in stored.trained_on]
        assert len(found) > 5000
        assert all(answer is not None and answer.path == path for path, answer in found)
