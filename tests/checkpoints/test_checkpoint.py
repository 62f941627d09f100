"""Checkpoints: what is saved is what is loaded, damage is noticed, and cards are honest."""

import errno
import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from kidney_core.checkpoints import checkpoint, model_card, prediction
from kidney_core.common import settings
from kidney_core.common.errors import CheckpointError, DatasetError, RunError
from kidney_core.common.files import write_json
from kidney_core.data import dataset
from kidney_core.metrics import intervals
from kidney_core.runs import cross_validation, run_folder
from kidney_core.training import publish, trainer
from tests.common.test_os_errors import refusing
from tests.conftest import tiny_run, write_series_dataset
from tests.runs.test_cross_validation import tiny_folds


def test_publish_carries_both_protocols_and_the_weights_of_the_grouped_run(published, pair):
    card = published.card
    assert set(card["metrics"]) == {"grouped", "random"}
    stated, reported = card["metrics"]["grouped"], pair["grouped"].report()["figures"]
    assert stated | {"calibration_error": 0} == reported | {"calibration_error": 0}
    assert stated["calibration_error"] == pytest.approx(reported["calibration_error"], abs=1e-6)  # of stored digits
    assert card["split"]["grouped"]["shared_series_fraction"] == 0.0
    assert card["split"]["random"]["shared_series_fraction"] == 1.0
    assert "kidney-ct train" in card["command"]
    assert str(pair["grouped"].folder.parent.parent) not in json.dumps(card)  # no paths of the training machine
    assert any("test scans of one split" in limit for limit in card["limits"])
    trained = load_file(pair["grouped"].folder / "best.safetensors")["fc.bias"]
    assert torch.equal(load_file(published.folder / "model.safetensors")["fc.bias"], trained)
    assert len(published.predictions("random")) == card["metrics"]["random"]["n"]


def test_counterpart_finds_the_run_under_the_other_protocol(pair, small_dataset):
    assert cross_validation.find_counterpart(pair["grouped"]).name == "random"
    other_seed = tiny_run(small_dataset, "other-seed", protocol="random", n_epochs=2, seed=8)
    trainer.train(other_seed)
    assert cross_validation.find_counterpart(pair["grouped"]).name == "random"
    assert cross_validation.find_counterpart(other_seed) is None


def test_loaded_network_predicts_what_was_stored(published, small_dataset):
    from kidney_core.data import dataset

    titles = []
    predicted = prediction.predict_dataset(
        published, dataset.read_dataset(small_dataset), device="cpu", progress_of=titles.append
    )
    assert titles == ["Predicting with tiny"]  # the pixels were decoded for the training
    stored = published.predictions("grouped").table.set_index("path")
    found = predicted.table.set_index("path").loc[stored.index]
    for label in published.labels:
        # half precision on disk
        np.testing.assert_allclose(found[f"p_{label}"], stored[f"p_{label}"], atol=0.01)


def test_weights_are_half_precision_and_norms_are_not(published):
    state = load_file(published.folder / "model.safetensors")
    assert state["fc.weight"].dtype == torch.float16
    assert state["bn1.running_var"].dtype == torch.float32


def test_list_checkpoints_names_the_unusable_ones(published):
    broken = published.folder.parent / "broken"
    broken.mkdir()
    (broken / "card.json").write_text("{", encoding="utf-8")
    usable, problems = checkpoint.list_checkpoints()
    assert [item.name for item in usable] == ["tiny"]
    assert len(problems) == 1
    assert "“broken” has no readable card.json" in problems[0]


def test_load_model__error_one_flipped_byte(published):
    path = published.folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="is not the file that its card lists"):
        checkpoint.load_model(published)


@pytest.mark.slow
def test_load_model__error_missing_weights(published):
    (published.folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.load_model(published)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "resnet18"}, "do not fit"),
        ({"architecture": "no_such_net"}, "do not fit its card: timm has no architecture"),
        ({"labels": ["Cyst", "Normal"]}, "do not fit"),
    ],
)
def test_load_model__error_card_of_another_network(published, changes, message):
    wrong = checkpoint.Checkpoint(published.folder, {**published.card, **changes})
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load_model(wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda card: card.pop("labels"), "lacks “labels”"), (lambda card: card.update(format=9), "card format 9")],
)
def test_read_checkpoint__error_bad_card(published, change, message):
    card = dict(published.card)
    change(card)
    run_folder.write_json(published.folder / "card.json", card)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.read_checkpoint(published.folder)


def test_publish__error_on_a_full_disk_leaves_no_checkpoint(pair, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", refusing(errno.ENOSPC))
    with pytest.raises(CheckpointError, match="The disk of “.*/checkpoints/new” is full. Free some space there"):
        publish.publish(pair["grouped"], name="new")
    assert list(settings.checkpoints_folder().iterdir()) == []


def test_publishing_sweeps_what_a_killed_one_left_after_a_day(pair):
    left = settings.checkpoints_folder() / ".old.0123456789ab.tmp"
    left.mkdir(parents=True)
    (left / "model.safetensors").touch()
    publish.publish(pair["grouped"], name="first")
    assert [path.name for path in checkpoint._checkpoint_paths((left.parent,))] == ["first"]
    assert left.is_dir()  # another process may be writing it
    os.utime(left, (time.time() - 25 * 3600,) * 2)
    publish.publish(pair["grouped"], name="second")
    assert not left.exists()


def test_two_processes_cannot_publish_one_name(published):
    with pytest.raises(CheckpointError, match="“tiny” exists already"):
        checkpoint.save_checkpoint(published.folder, {}, {"metrics": {}}, {})
    assert [path.name for path in published.folder.parent.iterdir()] == ["tiny"]


def test_publish__error_unfinished_taken_and_mismatched(pair, published, small_dataset):
    with pytest.raises(CheckpointError, match="exists already"):
        publish.publish(pair["grouped"], name="tiny")
    assert len(checkpoint.list_checkpoints()[0]) == 1
    with pytest.raises(CheckpointError, match="cannot be the name of a checkpoint"):
        publish.publish(pair["grouped"], name="../tiny")
    with pytest.raises(RunError, match="is not finished"):
        publish.publish(tiny_run(small_dataset, "young"), name="young")
    other = tiny_run(small_dataset, "other", protocol="random", n_epochs=1)
    trainer.train(other)
    with pytest.raises(RunError, match="differ in more than their split"):
        publish.publish(pair["grouped"], name="new", other=other)
    write_json(pair["random"].folder / "data.json", {**pair["random"].data(), "fingerprint": "another"})
    with pytest.raises(RunError, match="were not trained on the same data"):
        publish.publish(pair["grouped"], name="new", other=pair["random"])
    (pair["random"].folder / "predictions.csv").write_bytes(b"\xff\xfe damaged")
    with pytest.raises(RunError, match="test predictions .* cannot be read"):
        publish.publish(pair["random"], name="new")
    (pair["grouped"].folder / "best.safetensors").unlink()
    with pytest.raises(RunError, match="weights of “grouped” cannot be read"):
        publish.publish(pair["grouped"], name="new")


def test_a_checkpoint_knows_the_files_it_was_trained_on_and_no_test_file(pair, published):
    split = pd.read_csv(pair["grouped"].folder / "split.csv")
    known = split["sha256"].map(dataset.short_hash).isin(published.trained_on())
    assert (known == (split["part"] != "test")).all()


@pytest.mark.slow
def test_publish_weights_that_learned_from_all_scans_with_the_figures_of_their_folds(tmp_path):
    data = write_series_dataset(tmp_path / "five", n_series=5)
    options = {"protocol": "grouped", "validation_fraction": 0.25, "n_epochs": 1}
    # The Training page gives folds the test fraction of the run beside them, which they do not obey.
    folds = [tiny_run(data, f"fold-{fold}", n_folds=3, fold=fold, test_fraction=0.0, **options) for fold in range(3)]
    random = tiny_run(data, "random", **{**options, "protocol": "random"})
    final = tiny_run(data, "final", test_fraction=0.0, **options)
    for run in (*folds, random, final):
        trainer.train(run)
    with pytest.raises(RunError, match="Nothing was tested"):
        publish.publish(final, name="alone")
    assert cross_validation.find_counterpart(final).name == "random"
    assert set(publish.publish(folds[0], name="fold").card["metrics"]) == {"grouped"}
    # Networks that are right everywhere want no temperature; some answers are made wrong.
    for run in folds:
        answers = pd.read_csv(run.folder / "predictions.csv")
        wrong = answers.index % 3 == 0
        answers.loc[wrong, ["p_Cyst", "p_Normal", "p_Stone", "p_Tumor"]] = [0.4, 0.3, 0.2, 0.1]
        answers.loc[wrong, "predicted"] = "Cyst"
        answers.to_csv(run.folder / "predictions.csv", index=False)
    made = publish.publish(final, name="final", other=random, folds=folds[0])
    assert set(made.card["metrics"]) == {"random", "cross-validated"}
    assert set(made.card["split"]) == {"random", "cross-validated"}
    assert made.unseen_protocol == "cross-validated"
    assert made.card["calibrated_on"] == "folds"
    assert made.temperature == pytest.approx(made.predictions("cross-validated").best_temperature(), rel=1e-3)
    assert 0.21 < made.temperature < 19
    assert "fitted on the test predictions of all folds, on unseen scans" in model_card.markdown(made)
    assert len(made.trained_on()) == 100
    assert any("trained on scans of all folds" in limit for limit in made.card["limits"])


def test_publish_with_folds_carries_the_figures_over_all_scans_with_intervals(small_dataset):
    folds = tiny_folds(small_dataset)
    run = tiny_run(small_dataset, "one", n_epochs=1, protocol="grouped")
    trainer.train(run)
    assert cross_validation.find_cross_validation(run).name in [fold.name for fold in folds]
    made = publish.publish(run, name="folded", folds=folds[0])
    assert made.unseen_protocol == "cross-validated"
    assert made.unseen_metrics()["n"] == 60
    assert made.card["split"]["cross-validated"]["shared_series_fraction"] == 0.0
    found = intervals.intervals(made.predictions("cross-validated"))["accuracy"]
    assert made.intervals("cross-validated")["accuracy"] == pytest.approx([found.low, found.high], abs=1e-3)
    assert any("is that of the recipe: 3 networks" in limit for limit in made.card["limits"])
    stranger = tiny_run(small_dataset, "two", n_epochs=2, protocol="grouped")
    trainer.train(stranger)
    assert cross_validation.find_cross_validation(stranger) is None
    with pytest.raises(RunError, match="is not a fold of a scan-level cross-validation of the recipe"):
        publish.publish(stranger, name="wrong", folds=folds[0])


@pytest.mark.parametrize("key", ["metrics", "limits", "command", "data", "split", "intended_use"])
@pytest.mark.parametrize("value", [None, 7])
def test_read_checkpoint__error_card_without_what_the_pages_show(published, key, value):
    card = {**published.card, key: value}
    write_json(published.folder / "card.json", card)
    with pytest.raises(CheckpointError, match=f"lacks “{key}”, or has it in a form that this version cannot read"):
        checkpoint.read_checkpoint(published.folder)


def test_predict_dataset__error_unknown_class(published, small_dataset):
    (small_dataset / "Stone").rename(small_dataset / "Abscess")
    with pytest.raises(DatasetError, match="the class “Abscess”, which the checkpoint “tiny” does not know"):
        prediction.predict_dataset(published, dataset.read_dataset(small_dataset))


def test_reading_cards_imports_no_torch():
    import subprocess
    import sys

    code = "import sys; from kidney_core.app import page_frame; from kidney_core.checkpoints import checkpoint; from kidney_core.engines import jobs; checkpoint.list_checkpoints(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
