"""Networks: initial weights, and what training mode leaves alone."""

import math

import pytest
import torch
from safetensors.torch import save_file

from kidney_core.common.errors import ModelError
from kidney_core.networks import models


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


def test_train_mode_keeps_the_statistics_of_frozen_batch_norms():
    model = models.build_model("resnet18", 4)
    models.set_trainable(model, "last-block")
    before = model.bn1.running_mean.clone(), model.layer4[1].bn2.running_mean.clone()
    models.train_mode(model)
    model(probe())
    assert torch.equal(model.bn1.running_mean, before[0])
    assert not torch.equal(model.layer4[1].bn2.running_mean, before[1])


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
    with pytest.raises(
        ModelError, match="“timm/resnet10t.*are not in “.*” and could not be downloaded .*safetensors file .*scratch"
    ):
        models.build_model("resnet10t", 4, init="imagenet")


def test_build_model__error_no_pretrained_weights_exist():
    with pytest.raises(ModelError, match="no pretrained weights for mobilenetv2_075: give a safetensors file"):
        models.build_model("mobilenetv2_075", 4, init="imagenet")


def test_timm_name_knows_the_papers_names_and_suggests():
    assert models.timm_name("EfficientNet-B0") == "efficientnet_b0"
    with pytest.raises(ModelError, match="no architecture “resnet1”. Did you mean"):
        models.timm_name("resnet1")


def test_pick_device__error_absent():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ModelError, match="The device “cuda” is not available"):
        models.pick_device("cuda")
