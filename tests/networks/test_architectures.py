"""The search in timm's architectures: names, sizes, pretrained weights."""

import pytest

from kidney_core.common.errors import ModelError
from kidney_core.networks import architectures, models


def test_every_word_must_be_in_the_name_and_short_names_come_first():
    found = architectures.search("ConvNeXt tiny")
    assert found[0] == "convnext_tiny"
    assert len(found) > 1
    assert all("convnext" in name and "tiny" in name for name in found)
    assert architectures.search("  ") == []
    assert architectures.search("no-such-network") == []


def test_the_size_is_that_of_the_network_that_is_trained():
    described = architectures.describe("resnet18")
    built = models.build_model("resnet18", 4)
    assert described.n_parameters == sum(parameter.numel() for parameter in built.parameters())
    assert described.has_weights


def test_an_architecture_without_pretrained_weights_says_so():

    without = next(name for name in architectures.search("vit_tiny") if not models.timm.list_pretrained(name))
    assert not architectures.describe(without).has_weights


def test_describe__error_unknown():
    with pytest.raises(ModelError, match="timm has no architecture “resnet1”"):
        architectures.describe("resnet1")
