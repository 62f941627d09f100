"""Networks: starting weights, what is frozen, folded batch norms, and the explained layer."""

import math

import pytest
import torch
from safetensors.torch import save_file

from kidney_core import models
from kidney_core.errors import ModelError

ARCHITECTURES = ("resnet18", "mobilenetv2_100", "efficientnet_b0")


def probe(size_px=64, n=2):
    return torch.randn(n, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("architecture", ["mobilenetv2_100", "efficientnet_b0", "resnet18", "vit_tiny_patch16_224"])
def test_a_new_head_begins_undecided(architecture):
    model = models.build_model(architecture, 4, image_size_px=64).train()
    loss = torch.nn.functional.cross_entropy(model(probe(64, 8)), torch.arange(8) % 4)
    assert float(loss.detach()) == pytest.approx(math.log(4), abs=0.3)


@pytest.mark.parametrize("architecture", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_a_network_made_for_one_size_is_built_for_the_size_it_will_see(architecture):
    model = models.build_model(architecture, 4, image_size_px=160)
    assert model(probe(160, 1)).shape == (1, 4)


@pytest.mark.parametrize(
    ("architecture", "trained", "frozen"),
    [
        ("resnet18", "layer4.0.conv1.weight", "layer3.1.bn2.weight"),
        ("mobilenetv2_100", "blocks.6.0.conv_pw.weight", "blocks.5.2.bn3.weight"),
        ("efficientnet_b0", "conv_head.weight", "blocks.5.3.conv_pwl.weight"),
        ("convnext_atto", "stages.3.downsample.1.weight", "stages.2.blocks.5.mlp.fc2.weight"),
    ],
)
def test_last_block_is_the_last_stage_and_what_follows(architecture, trained, frozen):
    model = models.build_model(architecture, 4)
    models.set_trainable(model, "last-block")
    learns = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert learns[trained]
    assert not learns[frozen]
    assert learns[models.classifier_prefix(model) + "weight"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_head_freezes_all_but_the_classifier(architecture):
    model = models.build_model(architecture, 4)
    models.set_trainable(model, "head")
    learned = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    head = models.classifier_prefix(model)
    assert learned == [head + "weight", head + "bias"]


def test_train_mode_keeps_the_statistics_of_frozen_batch_norms():
    model = models.build_model("resnet18", 4)
    models.set_trainable(model, "last-block")
    before = model.bn1.running_mean.clone(), model.layer4[1].bn2.running_mean.clone()
    models.train_mode(model)
    model(probe())
    assert torch.equal(model.bn1.running_mean, before[0])
    assert not torch.equal(model.layer4[1].bn2.running_mean, before[1])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_explained_layer_is_a_map_at_one_thirty_second_of_the_input(architecture):
    model = models.build_model(architecture, 4).eval()
    features = models.feature_maps(model, probe(96))
    assert features.shape[2:] == (3, 3)
    torch.testing.assert_close(model.forward_head(features), model(probe(96)))


def test_feature_maps__error_for_a_vision_transformer():
    with pytest.raises(ModelError, match="no heat map can be drawn of it"):
        models.feature_maps(models.build_model("test_vit", 4).eval(), probe(160))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sequential_stages_compute_what_the_network_computes(architecture):
    model = models.build_model(architecture, 4).eval()
    stages = models.sequential_stages(model, probe())
    with torch.no_grad():
        assert torch.equal(torch.nn.Sequential(*stages)(probe()), model.forward_features(probe()))


def test_sequential_stages_says_where_a_network_is_no_chain():
    assert models.sequential_stages(models.build_model("test_vit", 4), probe(160)) is None


def test_recalibration_keeps_the_function_and_makes_training_mode_agree(shared_weights):
    model = models.build_model("mobilenetv2_100", 4, init=str(shared_weights))
    assert models.has_folded_batch_norm(model)
    images = probe(96, n=48)
    model.eval()
    with torch.no_grad():
        before = model(images)
        models.recalibrate_batch_norm(model, images)
        after = model(images)
        model.train()
        trained = model(images)
    assert not models.has_folded_batch_norm(model)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)
    assert (trained - before).abs().max() < 0.05 * before.abs().max() + 1e-3


def test_build_model_starts_from_a_safetensors_file_with_another_head(tmp_path):
    source = models.build_model("resnet18", 1000)
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    model = models.build_model("resnet18", 4, init=str(tmp_path / "weights.safetensors"))
    assert torch.equal(model.layer3[0].conv1.weight, source.layer3[0].conv1.weight)
    assert model.fc.weight.shape == (4, 512)


def test_build_model__error_weights_of_another_network(tmp_path):
    save_file(models.build_model("resnet18", 4).state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match="are not those of mobilenetv2_100"):
        models.build_model("mobilenetv2_100", 4, init=str(tmp_path / "weights.safetensors"))


def test_build_model__error_not_safetensors(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"pickle?")
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        models.build_model("resnet18", 4, init=str(tmp_path / "weights.safetensors"))


def test_build_model__error_offline_names_the_alternatives(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="could not be downloaded .*safetensors file .*scratch"):
        models.build_model("resnet10t", 4, init="imagenet")


def test_timm_name_knows_the_papers_names_and_suggests():
    assert models.timm_name("EfficientNet-B0") == "efficientnet_b0"
    with pytest.raises(ModelError, match="no architecture “resnet1”. Did you mean"):
        models.timm_name("resnet1")


def test_pick_device__error_absent():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ModelError, match="The device “cuda” is not available"):
        models.pick_device("cuda")


def with_norms_that_learned(architecture):
    """A network whose batch norms do something, as after training."""
    model = models.build_model(architecture, 4).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_mean, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    torch.nn.init.normal_(model.get_classifier().weight, std=0.1)
    return model


@pytest.mark.parametrize(
    "architecture", ["resnet18", "mobilenetv2_100", "efficientnet_b0", "densenet121", "regnetx_002"]
)
def test_folded_norms_compute_the_same(architecture):
    torch.manual_seed(0)
    model = with_norms_that_learned(architecture)
    folded = models.fold_batch_norms(model, 64)
    count = {
        name: sum(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
        for name, network in (("before", model), ("after", folded))
    }
    images = torch.randn(4, 3, 64, 64)
    with torch.inference_mode():
        expected, found = model(images), folded(images)
    print(
        f"{architecture}: {count['before']} norms, {count['after']} left, max_diff={(expected - found).abs().max():.1e}"
    )
    assert count["after"] < 0.6 * count["before"]  # DenseNet normalises what several layers made
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_network_without_norms_to_fold_comes_back_as_it_was():
    model = models.build_model("vit_tiny_patch16_224", 4, image_size_px=64)
    assert models.fold_batch_norms(model, 64) is model


def test_a_convolution_used_elsewhere_too_is_not_folded():
    class Forked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
            torch.nn.init.constant_(self.norm.weight, 3.0)

        def forward(self, images):
            features = self.conv(images)
            return (self.norm(features) - features).mean(dim=(2, 3))

    model = Forked()
    assert models.fold_batch_norms(model, 16) is model
