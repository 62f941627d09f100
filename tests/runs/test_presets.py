"""Presets: each is a configuration that can be trained."""

from dataclasses import replace

import pytest

from kidney_core.runs import presets, recipes
from kidney_core.runs.presets import PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_can_be_trained_once_it_has_a_folder(name):
    preset = PRESETS[name]
    for protocol in preset.protocols:
        assert replace(preset.config, data="folder", protocol=protocol).validated().recipe == preset.recipe


def test_a_preset_is_its_recipe_with_its_changes():
    paper, quick = PRESETS["paper"].config, PRESETS["quick"].config
    assert replace(paper, data="x") == recipes.config_from_recipe("paper", data="x", protocol="grouped")
    assert (quick.image_size_px, quick.n_epochs) == (96, 2)
    assert replace(quick, image_size_px=224, n_epochs=10) == paper
    assert presets.DEFAULT in PRESETS
