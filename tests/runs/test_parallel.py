"""Several processes compute what one computes, where no norm looks across images; started by torchrun, for real."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kidney_core.networks import models
from kidney_core.runs import parallel
from kidney_core.training import optimization, trainer
from tests.conftest import ROOT, tiny_run

_EVERY_STEP = """
import sys, train
from kidney_core.training import training_log
training_log.STEPS_BETWEEN_MEASUREMENTS = 1
training_log.round = lambda value, digits=None: value if digits else round(value)
sys.exit(train.main(sys.argv[1:]))
"""


@pytest.fixture
def every_step(tmp_path):
    """A script that is the command line, with a measurement at every step."""
    path = tmp_path / "every_step.py"
    path.write_text(_EVERY_STEP, encoding="utf-8")
    return path


def torchrun(script, run, n_processes):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n_processes}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, str(script), "--resume", str(run.folder)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def alone(script, run):
    command = [sys.executable, str(script), "--resume", str(run.folder)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


def losses(run):
    return [row["train_loss"] for row in run.read_metrics()[0] if row["kind"] == "step"]


def weights(folder):
    """A file of starting weights, for a network of which only the head learns."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = folder / "weights.safetensors"
    save_file(models.build_model("test_resnet", 4).state_dict(), path)
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize("norms", ["layer norm", "frozen batch norm"])
def test_two_processes_with_half_the_batch_each_equal_one(small_dataset, tmp_path, every_step, norms):
    """48 slices in batches of 10: the last batch, of 8, is shared as well; classes weigh differently."""
    for image in sorted((small_dataset / "Stone").glob("*.png"))[9:]:
        image.unlink()
    changes = {"architecture": "test_convnext", "augmentation": "strong"}
    if norms == "frozen batch norm":
        changes = {"trainable": "head", "init": weights(tmp_path), "learning_rate": 0.05}
    changes |= {"batch_size": 10, "n_epochs": 3, "class_weights": "balanced", "label_smoothing": 0.1}
    one, two = (tiny_run(small_dataset, name, **changes) for name in ("one", "two"))
    alone(every_step, one)
    torchrun(every_step, two, 2)
    difference = np.abs(np.array(losses(one)) - np.array(losses(two)))
    print(f"{norms}: {len(difference)} steps, largest difference of the loss {difference.max():.1e}")
    assert len(difference) == len(losses(two)) >= 12
    assert difference[:6].max() <= 1e-6
    for mine, theirs in zip(one.epochs(), two.epochs(), strict=True):
        assert mine["train_accuracy"] == theirs["train_accuracy"]
        assert mine["validation_loss"] == pytest.approx(theirs["validation_loss"], abs=1e-4)
    assert two.state()["state"] == "finished"
    assert two.report()["figures"]["n"] == one.report()["figures"]["n"]


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(small_dataset, every_step):
    """One process, then three, of which the last batch leaves one without an image; then one again."""
    changes = {"architecture": "test_convnext", "batch_size": 23, "n_epochs": 6}  # 48 = 23 + 23 + 2
    whole, parts = (tiny_run(small_dataset, name, **changes) for name in ("whole", "parts"))
    trainer.train(whole)
    asked = iter([False] * 6 + [True] * 100)
    assert trainer.train(parts, should_stop=lambda: next(asked)) == "stopped"
    assert 0 < parts.state()["step"] < 6
    torchrun(every_step, parts, 3)
    assert [row["epoch"] for row in parts.epochs()] == [1, 2, 3, 4, 5, 6]
    for mine, theirs in zip(whole.epochs(), parts.epochs(), strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], abs=2e-4)


@pytest.mark.slow
def test_two_processes_resume_to_the_bit(small_dataset, tmp_path):
    """Stopped by a cancel file between two steps, both at the same one; batch norms learn."""
    whole, parts = (tiny_run(small_dataset, name, n_epochs=8) for name in ("whole", "parts"))
    script = tmp_path / "stopping.py"
    script.write_text(_STOPS_AT_STEP, encoding="utf-8")
    torchrun(ROOT / "train.py", whole, 2)
    torchrun(script, parts, 2)
    assert parts.state()["state"] == "stopped"
    assert parts.state()["step"] == 13
    torchrun(ROOT / "train.py", parts, 2)
    one, other = (load_file(run.folder / "last.safetensors") for run in (whole, parts))
    assert max(float((one[name].double() - other[name].double()).abs().max()) for name in one) == 0.0


@pytest.mark.slow
def test_what_fails_in_the_second_process_is_said_in_words(small_dataset, tmp_path):
    run = tiny_run(small_dataset)
    script = tmp_path / "failing.py"
    script.write_text(_FAILS_IN_THE_SECOND, encoding="utf-8")
    with pytest.raises(AssertionError, match="The second process cannot go on"):
        torchrun(script, run, 2)
    assert run.state()["state"] == "failed"
    assert run.state()["message"] == "The second process cannot go on."


_FAILS_IN_THE_SECOND = """
import os, sys, train
from kidney_core.common.errors import RunError
from kidney_core.training import trainer
train_step = trainer.train_step
def failing(task, learner, batch, step, **options):
    if os.environ["RANK"] == "1" and step == 2:
        raise RunError("The second process cannot go on.")
    return train_step(task, learner, batch, step, **options)
trainer.train_step = failing
sys.exit(train.main(sys.argv[1:]))
"""

# Only the second process is asked to stop, at its 13th step; the first, which writes the folder, is not.
_STOPS_AT_STEP = """
import os, sys, train
from kidney_core.training import trainer
train_step = trainer.train_step
def stopping(task, learner, batch, step, *, stop_asked):
    stop_asked = stop_asked or (os.environ["RANK"] == "1" and step == 12)
    return train_step(task, learner, batch, step, stop_asked=stop_asked)
trainer.train_step = stopping
sys.exit(train.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_frozen_layers_are_computed_together(small_dataset, tmp_path, every_step):
    changes = {"trainable": "last-block", "init": weights(tmp_path), "n_epochs": 1}
    one, two = (tiny_run(small_dataset, name, **changes) for name in ("one", "two"))
    alone(every_step, one)
    torchrun(every_step, two, 2)
    assert losses(one)[0] == pytest.approx(losses(two)[0], abs=5e-2)  # the norms of the last block learn
    assert two.state()["state"] == "finished"


@torch.no_grad()
def test_norms_that_share_their_statistics_are_the_same_network_under_the_same_names():
    """What SyncBatchNorm computes in training needs GPUs; that nothing else changes does not."""
    model = models.build_model("test_resnet", 4).eval()
    names, images = list(model.state_dict()), torch.rand(3, 3, 32, 32)
    expected = model(images)
    alone = parallel.synchronize_norms(model, parallel.Group(), torch.device("cuda"))
    assert not any(isinstance(module, torch.nn.SyncBatchNorm) for module in alone.modules())
    found = parallel.synchronize_norms(model, parallel.Group(0, 2), torch.device("cuda"))
    assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in found.modules())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in found.modules())
    assert list(found.state_dict()) == names
    torch.testing.assert_close(found.eval()(images), expected)


def test_the_parts_of_a_loss_add_up_to_torchs_mean():
    torch.manual_seed(0)
    logits, y, weights = torch.randn(7, 4), torch.tensor([0, 3, 2, 1, 1, 3, 0]), torch.tensor([0.5, 1.0, 2.0, 3.0])
    for of_class in (None, weights):
        parts = [
            optimization.part_of_mean_loss(logits[part], y[part], y, of_class, label_smoothing=0.1)
            for part in (slice(0, 3), slice(3, 7), slice(7, 7))
        ]
        expected = torch.nn.functional.cross_entropy(logits, y, of_class, label_smoothing=0.1)
        torch.testing.assert_close(sum(parts), expected)


def test_the_parts_of_a_batch_are_the_batch():
    drawn = np.arange(100, 107)
    parts = [parallel.Group(rank, 3).part(drawn) for rank in range(3)]
    counted = [part[:n] for part, n in parts]
    assert sorted(np.concatenate(counted)) == list(drawn)
    assert max(len(part) for part in counted) - min(len(part) for part in counted) <= 1


def test_a_process_without_an_image_computes_two_that_do_not_count():
    part, n_own = parallel.Group(3, 4).part(np.array([5, 6]))
    assert n_own == 0
    assert part.tolist() == [5, 6]


def test_one_process_is_alone_for_free():
    group = parallel.Group()
    assert group.leads
    assert group.sum(1.5, 2) == (1.5, 2)
    assert group.part(np.arange(3))[1] == 3
