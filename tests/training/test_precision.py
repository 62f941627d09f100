"""Precision: the faster one is chosen where the processor knows both, and a resumed run keeps to the choice."""

import time

import pytest
import torch
from safetensors.torch import save_file

from kidney_core.networks import models
from kidney_core.training import precision, trainer
from tests.conftest import tiny_run

CPU = torch.device("cpu")


@pytest.mark.parametrize(("slow", "expected"), [(True, precision.FP32), (False, precision.BF16)])
def test_the_faster_precision_is_chosen(slow, expected):
    def work():
        time.sleep(0.03 if torch.is_autocast_enabled("cpu") == slow else 0.001)

    chosen, reason = precision.faster(work, CPU)
    assert chosen == expected
    assert "ms in fp32" in reason


def test_a_pass_in_bfloat16_computes_in_it():
    kinds = []
    layer = torch.nn.Linear(4, 4)
    precision.faster(lambda: kinds.append(layer(torch.ones(2, 4)).dtype), CPU)
    assert set(kinds) == {torch.float32, torch.bfloat16}


@pytest.mark.slow
def test_choice_and_reason_are_in_the_run_and_kept_on_resume(small_dataset):
    run = tiny_run(small_dataset, precision="auto", n_epochs=1)
    trainer.train(run)
    stored = run.data()[precision.PRECISION][precision.LEARNING]
    if precision.has_bfloat16(CPU):
        assert "ms in bf16" in stored["reason"]
    else:
        assert stored == {"chosen": "fp32", "reason": "this processor does not compute in bfloat16"}

    def work():
        raise AssertionError("a resumed run times nothing")

    kept = precision.settle(run, precision.LEARNING, work, asked="auto", device=CPU)
    assert kept == (stored["chosen"] == "bf16")


@pytest.mark.slow
def test_frozen_layers_have_a_choice_of_their_own(small_dataset, tmp_path):
    weights = tmp_path / "weights.safetensors"
    save_file(models.build_model("test_resnet", 4).state_dict(), weights)
    run = tiny_run(
        small_dataset, precision="bf16", n_epochs=1, trainable="head", augmentation="none", init=str(weights)
    )
    trainer.train(run)
    assert run.data()[precision.PRECISION] == {
        precision.FROZEN: {"chosen": "bf16", "reason": "as asked"},
        precision.LEARNING: {"chosen": "bf16", "reason": "as asked"},
    }
