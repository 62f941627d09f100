"""What a search may vary is read from text, and what cannot be varied is told before a trial starts."""

import optuna
import pytest

from kidney_core.common.errors import RunError
from kidney_core.runs.recipes import config_from_recipe
from kidney_core.search import space
from kidney_core.search.space import Range


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("learning_rate", "1e-5..1e-2", Range("learning_rate", low=1e-5, high=1e-2, log=True)),
        ("learning-rate", " 0.001 .. 0.002 ", Range("learning_rate", low=0.001, high=0.002, log=False)),
        ("weight_decay", "0..0.1", Range("weight_decay", low=0.0, high=0.1, log=False)),
        ("n_epochs", "1..30", Range("n_epochs", low=1, high=30, log=False)),
        ("image_size_px", "96, 128,96", Range("image_size_px", choices=(96, 128))),
        ("trainable", "head,all", Range("trainable", choices=("head", "all"))),
        ("architecture", "ResNet18", Range("architecture", choices=("resnet18",))),
    ],
)
def test_a_range_is_read_from_text(name, text, read):
    assert space.read_range(name, text) == read


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("colour", "1..2", "There is no option “colour” to vary"),
        ("test_fraction", "0..0.2", "“test_fraction” must be the same in all trials"),
        ("augmentation", "none..strong", "“augmentation” has no range. Give a list"),
        ("augmentation", "none,mirror", "“augmentation” has no value “mirror”. Choose from none, flip"),
        ("learning_rate", "1e-2..1e-5", "must begin with its lower end"),
        ("learning_rate", "small", "“small” is not a number"),
        ("n_epochs", "1.5..3", "“1.5” is not a whole number"),
        ("image_size_px", "8,96", "“image_size_px” must be between 32 and 1024; “8” is not"),
        ("weight_decay", " ", "No value is given for “weight_decay”. Give “1e-6..1e-1”"),
    ],
)
def test_read_range__error(name, text, told):
    with pytest.raises(RunError, match=told):
        space.read_range(name, text)


def test_a_search_needs_something_to_vary():
    with pytest.raises(RunError, match="needs something to vary"):
        space.read_space({})


def test_every_default_range_can_be_read_and_drawn_within_its_ends():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for each in space.read_space(space.DEFAULTS):
        values = [each.suggest(study.ask()) for _ in range(20)]
        if each.choices:
            assert set(values) <= set(each.choices)
        else:
            assert all(each.low <= value <= each.high for value in values)
            assert all(type(value) is type(space.OPTIONS[each.name].default) for value in values)


def test_extremes_are_every_end_once_and_name_what_cannot_be():
    config = config_from_recipe("paper", data="somewhere")
    ranges = space.read_space({"learning_rate": "1e-4..1e-2", "trainable": "head,all"})
    tried = [(each.learning_rate, each.trainable) for each in space.extremes(config, ranges)]
    assert tried == [(1e-2, "all"), (1e-4, "all"), (1e-2, "head")]
    scratch = config_from_recipe("paper", data="somewhere", init="scratch", trainable="all")
    with pytest.raises(RunError, match="would leave random layers frozen"):
        space.extremes(scratch, ranges)
