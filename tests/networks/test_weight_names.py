"""Weights of torchvision and of training scripts become timm's: the same answers to the same images."""

import pytest
import torch
import torchvision
from torch import nn

from kidney_core.common.errors import ModelError
from kidney_core.networks import models, weight_names

NETWORKS = {"resnet18": "resnet18", "mobilenet_v2": "mobilenetv2_100", "efficientnet_b0": "efficientnet_b0"}


def trained(name, n_labels=4):
    """A network of torchvision whose norms are as after a training: random ones, away from 0 and 1."""
    torch.manual_seed(1)
    model = torchvision.models.get_model(name, num_classes=n_labels)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return model.eval()


@torch.inference_mode()
def answers(stored, architecture, images):
    model = models.build_model(architecture, 4)
    model.load_state_dict(weight_names.all_weights(stored, model, architecture, source="w.pth"), strict=False)
    return model.eval()(images)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_torchvision_answer_alike_under_timms_names(name):
    theirs, images = trained(name), torch.randn(2, 3, 96, 96)
    ours = answers(theirs.state_dict(), NETWORKS[name], images)
    with torch.inference_mode():
        assert torch.allclose(ours, theirs(images), atol=1e-5)
        assert ours.abs().max() > 0.01


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "backbone.", "module.model.", "_orig_mod.net.", "resnet.", "module.my_cnn."]
)
def test_wrappers_and_what_only_training_needs_go(name, prefix):
    theirs, images = trained(name), torch.randn(1, 3, 64, 64)
    stored = {prefix + each: tensor for each, tensor in theirs.state_dict().items()}
    stored["criterion.weight"] = torch.ones(4)
    with torch.inference_mode():
        assert torch.allclose(answers(stored, NETWORKS[name], images), theirs(images), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "head"), [("resnet18", "fc"), ("mobilenet_v2", "classifier.1"), ("efficientnet_b0", "classifier.1")]
)
def test_a_head_of_another_name_is_found_by_its_shape(name, head):
    theirs, images = trained(name), torch.randn(1, 3, 64, 64)
    stored = {
        f"head.1{each.removeprefix(head)}" if each.startswith(head) else f"backbone.{each}": tensor
        for each, tensor in theirs.state_dict().items()
    }
    with torch.inference_mode():
        assert torch.allclose(answers(stored, NETWORKS[name], images), theirs(images), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_starts_from_them_whatever_their_head_is(tmp_path, name):
    theirs = trained(name, n_labels=1000)
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "w.pth")
    model = models.build_model(NETWORKS[name], 4, init=str(tmp_path / "w.pth"))
    first = next(iter(theirs.state_dict().values()))
    assert torch.equal(next(iter(model.state_dict().values())), first)
    theirs.fc, theirs.classifier = nn.Identity(), nn.Identity()
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        features = model.eval().forward_head(model.forward_features(images), pre_logits=True)
        assert torch.allclose(features, theirs(images), atol=1e-4)


def without(stored, name):
    return {each: tensor for each, tensor in stored.items() if each != name}


def test_the_first_parameter_that_does_not_fit_is_named(tmp_path):
    model, stored = models.build_model("resnet18", 4), trained("resnet18").state_dict()
    grey = {**stored, "conv1.weight": stored["conv1.weight"][:, :1], "layer4.1.bn2.bias": torch.zeros(3)}
    for changed, message in (
        (
            grey,
            "parameter conv1.weight does not match: it has the shape 64 × 1 × 7 × 7, and the network 64 × 3 × 7 × 7",
        ),
        (without(stored, "layer2.0.bn1.weight"), "parameter layer2.0.bn1.weight does not match, for it is missing"),
        (
            trained("resnet34").state_dict(),
            "parameter layer1.2.conv1.weight does not match, for the network has none of that name",
        ),
        (
            trained("resnet18", 5).state_dict(),
            "parameter fc.weight does not match: it has the shape 5 × 512, and the network 4 × 512",
        ),
    ):
        with pytest.raises(ModelError, match=f"“w.pth” are not those of resnet18: {message}"):
            weight_names.all_weights(changed, model, "resnet18", source="w.pth")
    renamed = {**trained("mobilenet_v2").state_dict(), "features.2.conv.1.0.weight": torch.zeros(1)}
    with pytest.raises(ModelError, match="parameter features.2.conv.1.0.weight does not match: it has the shape 1,"):
        weight_names.all_weights(renamed, models.build_model("mobilenetv2_100", 4), "mobilenetv2_100", source="w.pth")


def test_a_larger_network_does_not_pass_for_a_smaller_one():
    model = models.build_model("resnet18", 4)
    with pytest.raises(ModelError, match="layer1.2.conv1.weight"):
        weight_names.body_weights(trained("resnet34").state_dict(), model, "resnet18", source="w.pth")
