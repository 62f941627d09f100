"""The learning-rate range test: known curves give known suggestions; a real network is tested and nothing is kept."""

import json
import subprocess
import sys

import numpy as np
import pytest

from kidney_core.common.errors import RunError
from kidney_core.runs import recipes, run_folder
from kidney_core.search import lr_range
from tests.conftest import ROOT, TINY


def config(dataset, **changes):
    return recipes.config_from_recipe("paper", data=str(dataset), **{**TINY, **changes})


def test_the_suggestion_is_where_the_loss_falls_fastest():
    """A fall by a logistic curve around 1e-3, then a rise: the steepest place is its middle."""
    rates = lr_range.rates(100, 1e-6, 1.0)
    x = np.log10(rates)
    curve = 2 - 1.5 / (1 + np.exp(-4 * (x + 3))) + np.where(x > -1, 10 * (x + 1), 0)
    assert lr_range.suggest(tuple(rates), curve.tolist()) == pytest.approx(1e-3, rel=0.2)


def test_a_loss_that_never_falls_suggests_nothing():
    rates = tuple(lr_range.rates(50, 1e-6, 1.0))
    assert lr_range.suggest(rates, np.linspace(1, 2, 50).tolist()) is None
    assert lr_range.suggest(rates[:15], np.linspace(2, 1, 15).tolist()) is None, "too few steps to tell"


def test_the_rate_rises_by_the_same_factor_each_step():
    rates = lr_range.rates(101, 1e-5, 1.0)
    assert rates[0] == pytest.approx(1e-5)
    assert rates[-1] == pytest.approx(1.0)
    assert rates[1:] / rates[:-1] == pytest.approx([10 ** (5 / 100)] * 100)


def test_a_smoothed_loss_of_four_times_its_lowest_has_diverged():
    assert not lr_range.has_diverged([1.0] * 30)
    assert not lr_range.has_diverged([1.0, 90.0]), "the first steps are too few"
    assert lr_range.has_diverged([1.0] * 20 + [60.0])


def test_a_real_network_is_tested_until_it_diverges_and_leaves_no_run(small_dataset):
    steps = []
    result = lr_range.measure(
        config(small_dataset),
        n_steps=40,
        lowest=1e-5,
        highest=1e4,
        on_step=lambda step, rate, loss: steps.append((step, rate, loss)),
    )
    assert result.diverged
    assert len(result.losses) < 40
    assert [rate for _, rate, _ in steps] == list(result.learning_rates)
    assert list(result.learning_rates) == pytest.approx(lr_range.rates(40, 1e-5, 1e4)[: len(result.losses)].tolist())
    assert 1e-5 < result.suggestion < result.learning_rates[int(np.argmin(result.smoothed_losses))] * 1.01
    assert run_folder.list_runs() == []


def test_measure__error_impossible_limits(small_dataset):
    with pytest.raises(RunError, match="needs rates from above 0 to a higher one, and 20 steps or more"):
        lr_range.measure(config(small_dataset), lowest=1.0, highest=0.1)


@pytest.mark.slow
def test_the_command_prints_its_curve_and_suggestion(small_dataset):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    command = [sys.executable, "-m", "kidney_core.app.command_line", "lr-range", "--data", str(small_dataset), *options]
    done = subprocess.run(
        [*command, "--steps", "30", "--lowest", "1e-4", "--json"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    steps = [each for each in told if "loss" in each]
    assert [each["step"] for each in steps] == list(range(1, len(steps) + 1))
    assert told[-1]["result"]["losses"] == [each["loss"] for each in steps]
    missing = subprocess.run([*command, "--data", "/nowhere"], cwd=ROOT, capture_output=True, text=True)
    assert missing.returncode == 1
    assert "/nowhere" in missing.stderr
