"""Configurations as commands and as files, and what they refuse."""

import json

import pytest

from kidney_core.common.errors import RunError
from kidney_core.engines.train_command import parse_arguments
from kidney_core.runs import recipes, run_folder


def test_a_command_asks_for_the_very_configuration():
    config = recipes.config_from_recipe(
        "travel", data="/a folder/x", reported_epoch="best", best_by="recall:Stone", patience=3, n_epochs=20, seed=4
    )
    command = recipes.command_line(config)
    assert command == (
        "kidney-ct train --recipe travel --data '/a folder/x' --n-epochs 20 --reported-epoch best "
        "--best-by recall:Stone --patience 3 --seed 4"
    )
    import shlex

    given = vars(parse_arguments(shlex.split(command)[2:]))
    assert recipes.config_from_recipe(given.pop("recipe"), **given) == config


def test_options_have_short_names():
    given = vars(
        parse_arguments(
            ["--data", "x", "--lr", "0.5", "--epochs", "3", "--image-size", "64", "--folds", "2", "--split", "grouped"]
        )
    )
    assert (given["learning_rate"], given["n_epochs"], given["image_size_px"]) == (0.5, 3, 64)
    assert (given["n_folds"], given["protocol"]) == (2, "grouped")


def test_an_architecture_by_its_name_in_the_paper_is_stored_by_its_timm_name():
    assert recipes.config_from_recipe("paper", data="x", architecture="ResNet18").architecture == "resnet18"
    assert recipes.config_from_recipe("paper", data="x", architecture="vgg11").architecture == "vgg11"


def test_a_file_gives_the_configuration_back():
    config = recipes.config_from_recipe("paper", data="x", learning_rate=0.5)
    assert recipes.from_file(recipes.to_file(config)) == config


def test_files_of_the_retired_recipe_are_read_as_what_they_ask_for(tmp_path):
    asked = recipes.config_from_recipe("paper", data="x", trainable="all", image_size_px=160, protocol="grouped")
    older = recipes.to_file(asked).replace(b'"recipe": "paper"', b'"recipe": "augmented"')
    assert b"augmented" in older
    assert recipes.from_file(older) == asked
    (tmp_path / "config.json").write_bytes(older)
    assert run_folder.Run(tmp_path).config() == asked
    assert recipes.command_line(asked) == (
        "kidney-ct train --recipe paper --data x --trainable all --image-size-px 160 --protocol grouped"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no json", "This is not a configuration"),
        (b"[]", "This is not a configuration"),
        (json.dumps({"recipe": "paper", "data": "x", "shell": "rm"}).encode(), "option “shell”, which this version"),
        (json.dumps({"recipe": "paper", "data": "x", "n_epochs": "ten"}).encode(), "n_epochs must be of type int"),
        (json.dumps({"recipe": "paper", "data": "x", "n_epochs": 0}).encode(), "n_epochs must be between"),
        (json.dumps({"recipe": "none", "data": "x"}).encode(), "There is no recipe “none”"),
    ],
)
def test_from_file__errors(content, message):
    with pytest.raises(RunError, match=message):
        recipes.from_file(content)


def test_best_by_and_patience_are_checked():
    with pytest.raises(RunError, match="best_by must be one of loss, accuracy, balanced_accuracy, or recall:LABEL"):
        recipes.config_from_recipe("travel", data="x", best_by="luck")
    with pytest.raises(RunError, match="patience stops at the best epoch"):
        recipes.config_from_recipe("paper", data="x", patience=2)


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"recipe": "paper", "data": "\\ud800"}', b'{"recipe": "paper", "data": [1]}']
)
def test_from_file__error_hostile_json(content):
    with pytest.raises(RunError):
        recipes.from_file(content)
