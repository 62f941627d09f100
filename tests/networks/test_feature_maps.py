"""The feature maps that are explained, and networks as a chain of layers."""

import pytest
import torch

from kidney_core.common.errors import ModelError
from kidney_core.networks import feature_maps, models

ARCHITECTURES = ("resnet18", "mobilenetv2_100", "efficientnet_b0")


def probe(size_px=64, n=2):
    return torch.randn(n, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_explained_layer_is_a_map_at_one_thirty_second_of_the_input(architecture):
    model = models.build_model(architecture, 4).eval()
    features = feature_maps.last_maps(model, probe(96))
    assert features.shape[2:] == (3, 3)
    torch.testing.assert_close(model.forward_head(features), model(probe(96)))


def test_feature_maps__error_for_a_vision_transformer():
    with pytest.raises(ModelError, match="no heatmap can be drawn of it"):
        feature_maps.last_maps(models.build_model("test_vit", 4).eval(), probe(160))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sequential_stages_compute_what_the_network_computes(architecture):
    model = models.build_model(architecture, 4).eval()
    stages = feature_maps.sequential_stages(model, probe())
    with torch.no_grad():
        assert torch.equal(torch.nn.Sequential(*stages)(probe()), model.forward_features(probe()))


def test_sequential_stages_says_where_a_network_is_no_chain():
    assert feature_maps.sequential_stages(models.build_model("test_vit", 4), probe(160)) is None
