"""The training loop: it learns, it resumes to the bit, and it fails in words."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from kidney_core.common.errors import DatasetError, RunError
from kidney_core.networks import models, preprocessing
from kidney_core.runs import recipes
from kidney_core.training import frozen_features, optimization, trainer
from tests.conftest import ROOT, tiny_run, write_series_dataset


def final_weights(run):
    return load_file(run.folder / "last.safetensors")


def max_difference(one, other):
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one if one[name].numel())


def test_train_learns_and_leaves_a_readable_folder(small_dataset):
    run = tiny_run(small_dataset, n_epochs=24)  # at 1e-3 every seed tried ends with all slices right
    assert trainer.train(run) == "finished"
    epochs = run.epochs()
    assert [row["epoch"] for row in epochs] == list(range(1, 25))
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"] / 2
    assert {"train_accuracy", "validation_loss", "validation_accuracy", "learning_rate", "duration_s"} <= epochs[
        0
    ].keys()
    report = run.report()
    assert report["protocol"] == "random"
    assert report["figures"]["n"] == 12
    assert report["figures"]["accuracy"] > 0.8
    predictions = pd.read_csv(run.folder / "predictions.csv")
    split = pd.read_csv(run.folder / "split.csv")
    assert sorted(predictions["path"]) == sorted(split.loc[split["part"] == "test", "path"])
    assert run.data()["counts"] == {"Cyst": 15, "Normal": 15, "Stone": 15, "Tumor": 15}
    assert run.data()["n_series"] == 12


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(small_dataset):
    made = [tiny_run(small_dataset, f"run-{seed}-{i}", seed=seed, n_epochs=1) for i, seed in enumerate((1, 1, 2))]
    for run in made:
        trainer.train(run)
    weights = [final_weights(run) for run in made]
    assert max_difference(weights[0], weights[1]) == 0.0
    assert max_difference(weights[0], weights[2]) > 0.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"augmentation": "strong", "schedule": "one-cycle", "optimizer": "adamw"},
        {"sampling": "balanced", "weight_averaging": 0.9},
    ],
)
def test_a_stopped_run_resumes_to_the_bit(small_dataset, changes):
    whole = tiny_run(small_dataset, "whole", **changes)
    trainer.train(whole)
    parts = tiny_run(small_dataset, "parts", **changes)
    for n_steps in (2, 5, 1):  # stops within the first epoch, within the second, and at once
        asked = iter([False] * (n_steps + 2) + [True] * 1000)
        assert trainer.train(parts, should_stop=lambda asked=asked: next(asked)) == "stopped"
        assert parts.state()["state"] == "stopped"
    assert trainer.train(parts) == "finished"
    assert max_difference(final_weights(whole), final_weights(parts)) == 0.0
    ignored = ("time", "images_per_s", "duration_s")
    plain = [
        [{k: v for k, v in row.items() if k not in ignored} for row in run.read_metrics()[0]] for run in (whole, parts)
    ]
    assert plain[0] == plain[1]


@pytest.mark.slow
def test_with_a_running_mean_it_is_the_mean_of_the_weights_that_is_reported(small_dataset):
    run = tiny_run(small_dataset, n_epochs=3, weight_averaging=0.99, learning_rate=1e-2)
    trainer.train(run)
    last, best = final_weights(run), load_file(run.folder / "best.safetensors")
    own, mean = (
        {name.split(".", 1)[1]: last[name] for name in last if name.startswith(kind)} for kind in ("model.", "mean.")
    )
    assert max_difference(mean, best) == 0.0
    assert max_difference(own, best) > 1e-3


@pytest.mark.slow
def test_balanced_sampling_draws_as_many_images_as_the_dataset_trains_on(small_dataset, tmp_path):
    extra = write_series_dataset(tmp_path / "extra", n_series=4, seed=9)
    run = tiny_run(small_dataset, n_epochs=1, extra_data=str(extra), sampling="balanced")
    trainer.train(run)
    assert run.data()["extra_training_slices"] == 80
    assert run.epochs()[0]["step"] == 48 // 8


@pytest.mark.slow
def test_several_folders_of_extra_data_are_trained_on(small_dataset, tmp_path):
    extra = [write_series_dataset(tmp_path / f"extra-{seed}", n_series=2, seed=seed) for seed in (8, 9)]
    run = tiny_run(small_dataset, n_epochs=1, extra_data=os.pathsep.join(map(str, extra)))
    trainer.train(run)
    assert run.data()["extra_training_slices"] == 80
    assert run.data()["extra_data"] == "extra-8, extra-9"


def test_a_cancel_file_stops_with_a_checkpoint(small_dataset):
    run = tiny_run(small_dataset)
    (run.folder / "cancel").touch()
    assert trainer.train(run) == "stopped"


@pytest.mark.slow
def test_patience_ends_a_training_at_its_best_epoch_also_when_it_is_resumed(small_dataset):
    """With a learning rate of nothing no epoch is better than the first."""
    options = {
        "protocol": "grouped",
        "validation_fraction": 0.25,
        "reported_epoch": "best",
        "learning_rate": 1e-7,
        "optimizer": "sgd",
        "best_by": "recall:Stone",
        "n_epochs": 30,
        "patience": 2,
    }
    run = tiny_run(small_dataset, "patient", **options)
    assert trainer.train(run) == "finished"
    epochs, best = run.epochs(), run.report()["best_epoch"]
    assert len(epochs) == best + 2 < 30
    assert run.state()["n_epochs"] == len(epochs)
    assert {"validation_recall_Cyst", "validation_balanced_accuracy"} <= set(epochs[0])
    assert trainer.train(run) == "finished"  # killed before it was tested: it does not train on
    assert len(run.epochs()) == len(epochs)


@pytest.mark.slow
def test_without_a_test_part_nothing_is_reported_but_a_temperature(small_dataset):
    run = tiny_run(small_dataset, n_epochs=2, protocol="grouped", test_fraction=0.0, validation_fraction=0.25)
    assert trainer.train(run) == "finished"
    report = run.report()
    assert report["figures"] == {}
    assert report["temperature"] > 0
    assert not (run.folder / "predictions.csv").exists()
    assert set(pd.read_csv(run.folder / "split.csv")["part"]) == {"train", "validation"}


def test_without_a_test_part__error_no_validation_part(small_dataset):
    with pytest.raises(RunError, match="needs a validation part"):
        tiny_run(small_dataset, test_fraction=0.0)


@pytest.mark.slow
def test_grouped_training_with_validation_chooses_its_best_epoch_and_a_temperature(small_dataset):
    run = tiny_run(
        small_dataset,
        n_epochs=4,
        protocol="grouped",
        validation_fraction=0.2,
        learning_rate=3e-3,
        reported_epoch="best",
    )
    trainer.train(run)
    losses = {row["epoch"]: row["calibrated_validation_loss"] for row in run.epochs()}
    assert run.report()["best_epoch"] == min(losses, key=losses.get)
    assert run.report()["temperature"] != 1.0
    assert run.data()["shared_series_fraction"] == 0.0


@pytest.mark.slow
def test_without_validation_the_last_epoch_is_reported(small_dataset):
    run = tiny_run(small_dataset, n_epochs=3)
    trainer.train(run)
    assert run.report()["best_epoch"] == 3
    assert run.report()["temperature"] == 1.0


@pytest.mark.slow
def test_extra_data_are_trained_on_and_never_tested(small_dataset, tmp_path):
    extra = write_series_dataset(tmp_path / "extra", n_series=1, seed=9)
    run = tiny_run(small_dataset, n_epochs=1, extra_data=str(extra))
    trainer.train(run)
    assert run.data()["extra_training_slices"] == 20
    assert len(pd.read_csv(run.folder / "predictions.csv")) == 12
    steps = run.epochs()[0]["step"]
    assert steps == (48 + 20) // 8 + 1


@pytest.mark.slow
def test_extra_data_that_look_like_test_slices_are_left_out(small_dataset, tmp_path):
    """The dataset itself as extra data, saved anew: no hash is the same, and yet no test slice may be trained on."""
    extra = tmp_path / "again"
    for path in small_dataset.rglob("*.png"):
        copy = extra / path.relative_to(small_dataset)
        copy.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(copy.with_suffix(".bmp"))
    run = tiny_run(small_dataset, n_epochs=1, protocol="grouped", extra_data=str(extra))
    trainer.train(run)
    split = pd.read_csv(run.folder / "split.csv")
    held_out = (split["part"] != "train").sum()
    assert run.data()["extra_left_out"] == held_out > 0
    assert run.data()["extra_training_slices"] == 60 - held_out


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_extra_data(small_dataset, tmp_path):
    extra = write_series_dataset(tmp_path / "extra", n_series=1, seed=9)
    run = tiny_run(small_dataset, n_epochs=2, extra_data=str(extra))
    assert trainer.train(run, should_stop=lambda: run.state().get("step", 0) > 0) == "stopped"
    seen = (run.folder / "trained-on.txt").read_text(encoding="utf-8")
    next(extra.rglob("*.png")).unlink()
    with pytest.raises(RunError, match=f"The extra images in “{extra}” changed since the run “run” began"):
        trainer.train(run)
    assert (run.folder / "trained-on.txt").read_text(encoding="utf-8") == seen


def number_of(path):
    """17 of `Stone- (17).png`."""
    return int(path.stem.split("(")[1].rstrip(")"))


def test_of_extra_data_whole_scans_are_left_out_and_their_neighbours(tmp_path):
    """One slice of a scan is tested on: none of its other slices, which only the extra folder has, may be trained on."""
    extra = write_series_dataset(tmp_path / "extra", n_series=6)
    data = tmp_path / "data"
    numbers = (
        1,
        6,
        21,
    )  # slices of the scans 1, 2 and 5 of each class; the scans 3, 4 and 6 are in the extra folder only
    for path in sorted(extra.rglob("*.png")):
        copy = data / path.relative_to(extra).with_suffix(".bmp")
        if number_of(path) in numbers:
            copy.parent.mkdir(parents=True, exist_ok=True)
            equalised = np.sqrt(np.asarray(Image.open(path), float) / 255) * 255  # another contrast
            Image.fromarray(equalised.astype(np.uint8)).resize((64, 64)).save(copy)
    run = tiny_run(data, n_epochs=1, batch_size=4, protocol="grouped", test_fraction=0.3, extra_data=str(extra))
    trainer.train(run)
    split = pd.read_csv(run.folder / "split.csv")
    seen = set((run.folder / "trained-on.txt").read_text(encoding="utf-8").split())
    trained = [
        path for path in sorted(extra.rglob("*.png")) if hashlib.sha256(path.read_bytes()).hexdigest()[:12] in seen
    ]
    for label, rows in split.groupby("label"):
        (tested,) = rows.loc[rows["part"] == "test", "path"]
        expected = {1: {2, 3, 4, 5, 6}, 6: {1, 4, 5, 6}, 21: {1, 2, 3}}[number_of(Path(tested))]
        scans = {(number_of(path) - 1) // 5 + 1 for path in trained if path.parent.name == label}
        assert scans == expected


@pytest.mark.slow
@pytest.mark.parametrize("trainable", ["head", "last-block"])
def test_training_on_frozen_features_equals_training_through_the_whole_network(small_dataset, monkeypatch, trainable):
    changes = {"trainable": trainable, "init": str(_weights(small_dataset.parent)), "n_epochs": 2}
    cached = tiny_run(small_dataset, "cached", **changes)
    trainer.train(cached)
    monkeypatch.setattr(frozen_features, "frozen_prefix", lambda *_: None)
    plain = tiny_run(small_dataset, "plain", **changes)
    trainer.train(plain)
    for one, other in zip(cached.epochs(), plain.epochs(), strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
        assert one["validation_loss"] == pytest.approx(other["validation_loss"], rel=1e-4)


def _weights(folder):
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = folder / "weights.safetensors"
    save_file(models.build_model("test_resnet", 4).state_dict(), path)
    return path


def test_frozen_features_hold_the_trunk_of_each_image_and_its_mirror_image():
    model = models.build_model("resnet18", 4).eval()
    models.set_trainable(model, "last-block")
    pixels = np.random.default_rng(0).integers(0, 255, (3, 64, 64), np.uint8)
    images = preprocessing.to_input(torch.from_numpy(pixels))
    trunk, tail = frozen_features.frozen_prefix(model, images)
    features = frozen_features.compute(trunk, pixels, mirrored=np.array([2, 0]), device=torch.device("cpu"))
    assert len(features) == 5
    with torch.no_grad():
        for there, shown in ((slice(0, 3), images), (slice(3, 5), images[[2, 0]].flip(3))):
            expected = model(shown)
            found = model.forward_head(tail(features[there]))
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenetv2_100", "efficientnet_b0", "convnext_atto"])
def test_where_only_the_head_learns_one_vector_an_image_is_kept(architecture):
    model = models.build_model(architecture, 4).eval()
    models.set_trainable(model, "head")
    probe = torch.randn(2, 3, 64, 64)
    trunk, tail = frozen_features.frozen_prefix(model, probe)
    classifier = frozen_features.pooled_head(model, trunk, tail, probe)
    with torch.no_grad():
        pooled = frozen_features.Pool(model)(trunk(probe))
        assert pooled.ndim == 2
        torch.testing.assert_close(classifier(pooled), model(probe))


def test_dropout_in_the_head_is_drawn_anew_at_each_step():
    """It lies before the classifier: kept vectors would be the same at each step."""
    model = models.build_model("resnet18", 4)
    model.drop_rate = 0.2
    probe = torch.randn(2, 3, 64, 64)
    trunk, tail = frozen_features.frozen_prefix(model.requires_grad_(False), probe)
    assert frozen_features.pooled_head(model, trunk, tail, probe) is None


def test_balanced_class_weights_are_inverse_to_the_slices_of_a_class():
    y = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
    assert optimization.class_weights(y, 3, "none") is None
    found = optimization.class_weights(y, 3, "balanced")
    assert found.tolist() == pytest.approx([8 / 12, 8 / 6, 8 / 6])
    assert found[y].mean() == pytest.approx(1.0)


@pytest.mark.slow
def test_a_run_with_balanced_weights_validates_with_them(small_dataset):
    for image in sorted((small_dataset / "Stone").glob("*.png"))[5:]:
        image.unlink()
    run = tiny_run(small_dataset, class_weights="balanced", n_epochs=1)
    trainer.train(run)
    split = pd.read_csv(run.folder / "split.csv")
    counts = split.loc[split["part"] == "train", "label"].value_counts()
    predictions = pd.read_csv(run.folder / "predictions.csv")
    weight = predictions["label"].map(1 / counts)
    right = np.array([row["p_" + row["label"]] for _, row in predictions.iterrows()])
    expected = (weight * -np.log(right)).sum() / weight.sum()
    assert run.epochs()[0]["validation_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_a_network_from_random_weights_keeps_its_norms(small_dataset):
    """Fresh norms hold mean 0 and variance 1, as folded ones do; recalibrating them would shrink every gradient."""
    run = tiny_run(small_dataset, n_epochs=1, learning_rate=1e-7)
    trainer.train(run)
    scales = [value for name, value in final_weights(run).items() if name.startswith("model.") and "bn1.weight" in name]
    assert scales
    for scale in scales:
        torch.testing.assert_close(scale, torch.ones_like(scale), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_mixed_precision_learns_with_weights_in_single(small_dataset):
    made = [tiny_run(small_dataset, precision, precision=precision, n_epochs=4) for precision in ("fp32", "bf16")]
    for run in made:
        trainer.train(run)
        assert run.epochs()[-1]["train_loss"] < run.epochs()[0]["train_loss"]
    single, mixed = (run.epochs()[0]["train_loss"] for run in made)
    assert single != mixed
    assert mixed == pytest.approx(single, rel=0.02)
    kinds = {value.dtype for name, value in final_weights(made[1]).items() if name.startswith("model.")}
    assert kinds == {torch.float32, torch.int64}


def test_learning_rate_of_one_cycle_agrees_with_torch():
    config = recipes.config_from_recipe("travel", data="x", learning_rate=0.01)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.01)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=101, final_div_factor=400)
    for step in range(100):
        # torch places the peak at 0.3 * total - 1 and counts one step less: compare shapes, not offsets
        ours = optimization.learning_rate_at(step, 100, config)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], abs=0.0006)
        optimizer.step()
        reference.step()
    assert optimization.learning_rate_at(50, 100, replace(config, schedule="constant")) == 0.01


def test_train__error_leaves_the_reason_in_the_state(tmp_path):
    run = tiny_run(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="There is no folder"):
        trainer.train(run)
    assert run.state()["state"] == "failed"
    assert "There is no folder" in run.state()["message"]


def test_train__error_data_changed_since_the_run_began(small_dataset):
    run = tiny_run(small_dataset)
    trainer.train(run, should_stop=(run.folder / "split.csv").exists)
    os.remove(small_dataset / "Cyst" / "Cyst- (1).png")  # noqa: PTH107
    with pytest.raises(RunError, match="changed since the run"):
        trainer.train(run)


def test_train__error_loss_that_explodes(small_dataset):
    run = tiny_run(small_dataset, optimizer="sgd", learning_rate=10.0, n_epochs=30)
    with pytest.raises(RunError, match="loss became .* Lower the learning rate"):
        trainer.train(run)


def test_train__error_damaged_checkpoint(small_dataset):
    run = tiny_run(small_dataset)
    (run.folder / "last.safetensors").write_bytes(b"half a file")
    with pytest.raises(RunError, match="is damaged .* Start a new run"):
        trainer.train(run)


@pytest.mark.slow
def test_command_line_trains_and_prints_its_figure(small_dataset):
    arguments = [
        "--data",
        str(small_dataset),
        "--architecture",
        "test_resnet",
        "--init",
        "scratch",
        "--trainable",
        "all",
    ]
    arguments += ["--image-size", "32", "--epochs", "1", "--split", "grouped", "--name", "cli"]
    done = subprocess.run([sys.executable, "train.py", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "epoch 1: loss" in done.stdout
    assert "test, scan-level split (unseen scans): accuracy" in done.stdout


@pytest.mark.slow
def test_command_line__error_is_one_sentence():
    done = subprocess.run(
        [sys.executable, "train.py", "--data", "/nowhere", "--init", "scratch", "--trainable", "all"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: There is no folder “/nowhere”")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_training_imports_nothing_of_the_pages():
    """The GPU machines of the house have neither Streamlit nor grad-cam."""
    code = "import sys, train; from kidney_core.training import trainer; print([m for m in sys.modules if m in {'streamlit', 'pytorch_grad_cam', 'pydicom'}])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
