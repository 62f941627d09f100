"""Which parameters are the head and the last block, for 25 architectures of different families."""

import pytest
import torch

from kidney_core.common.errors import ModelError
from kidney_core.networks import explanation, feature_maps, layer_groups, models

# architecture: (side of the image, how the parameters of the last block and what follows it begin, can it be explained?)
ARCHITECTURES = {
    "resnet18": (32, ("layer4.", "fc."), True),
    "mobilenetv2_100": (32, ("blocks.6.", "conv_head.", "bn2.", "classifier."), True),
    "efficientnet_b0": (32, ("blocks.6.", "conv_head.", "bn2.", "classifier."), True),
    "regnetx_002": (32, ("s4.", "head.fc."), True),
    "inception_v3": (96, ("Mixed_7c.", "fc."), True),
    "vgg11": (32, ("features.18.", "pre_logits.", "head.fc."), True),
    "dpn68": (32, ("features.conv5_", "classifier."), True),
    "selecsls42": (64, ("head.", "fc."), True),
    "hrnet_w18_small": (
        32,
        ("stage4.", "incre_modules.", "downsamp_modules.", "final_layer.", "classifier."),
        True,
    ),
    "dla34": (32, ("level5.", "fc."), True),
    "densenet121": (64, ("features.denseblock4.", "features.norm5.", "classifier."), True),
    "mobilenetv3_small_050": (32, ("blocks.5.", "conv_head.", "classifier."), True),
    "ghostnet_050": (32, ("blocks.9.", "conv_head.", "classifier."), True),
    "rexnet_100": (32, ("features.16.", "head.fc."), True),
    "repvgg_a0": (32, ("stages.3.", "head.fc."), True),
    "ese_vovnet19b_dw": (32, ("stages.3.", "head.fc."), True),
    "convnext_atto": (32, ("stages.3.", "head.norm.", "head.fc."), True),
    "mambaout_femto": (32, ("stages.3.", "head."), True),
    "test_nfnet": (32, ("stages.3.", "final_conv.", "head.fc."), True),
    "poolformer_s12": (32, ("stages.3.", "head."), True),  # not grouped by timm
    "mobilevit_xxs": (32, ("stages.4.", "final_conv.", "head.fc."), True),
    "pvt_v2_b0": (32, ("stages.3.", "head."), True),
    "twins_svt_small": (32, ("patch_embeds.3.", "blocks.3.", "pos_block.3.", "norm.", "head."), False),
    "levit_128s": (64, ("stages.2.", "head.", "head_dist."), False),
    "vit_tiny_patch16_224": (32, ("blocks.11.", "norm.", "head."), False),
}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def network(request):
    """A network as it is before training, and what is expected of it; built once for both tests."""
    torch.manual_seed(0)
    size_px, prefixes, has_map = ARCHITECTURES[request.param]
    return models.build_model(request.param, 4, image_size_px=size_px), size_px, prefixes, has_map


def probe(size_px, n=2):
    return torch.randn(n, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))


def changes(model):
    """How often each tensor was changed in place: PyTorch counts it."""
    return {name: tensor._version for name, tensor in model.state_dict(keep_vars=True).items()}


@pytest.mark.slow
def test_the_last_block_and_the_head_learn_and_nothing_before_them(network, request):
    model, size_px, prefixes, _ = network
    models.set_trainable(model, "last-block")
    learns = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    names = [name for name, _ in model.named_parameters()]
    assert learns == {name for name in names if name.startswith(prefixes)}
    assert all(any(name.startswith(prefix) for name in learns) for prefix in prefixes)
    assert layer_groups.head(model) < learns < set(names)
    print(f"{request.node.name}: {len(learns)} of {len(names)} tensors learn: {', '.join(prefixes)}")

    models.train_mode(model)
    before = changes(model)
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.01)
    logits = model(probe(size_px))
    assert logits.shape == (2, 4)
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    optimizer.step()
    changed = {name for name, n_changes in changes(model).items() if n_changes > before[name]}
    assert changed
    assert all(name.startswith(prefixes) for name in changed)  # parameters, and statistics of batch norms


@pytest.mark.slow
def test_each_is_explained_or_says_in_a_sentence_why_not(network):
    model, size_px, _, has_map = network
    model.eval().requires_grad_(False)
    image = probe(size_px, 1)
    if not has_map:
        with pytest.raises(ModelError, match=r"no heatmap can be drawn of it\. Choose a convolutional network"):
            explanation.explain(model, image, 1, method="Grad-CAM")
        return
    maps = feature_maps.last_maps(model, image)
    torch.testing.assert_close(feature_maps.logits_of_last_maps(model, maps), model(image))
    for method in ("Grad-CAM", "Layer-CAM"):
        drawn = explanation.explain(model, image, 1, method=method)
        assert drawn.evidence.ndim == 2
        assert max(drawn.evidence.shape) <= size_px
        assert drawn.logits == pytest.approx(model(image)[0].tolist(), rel=1e-3, abs=1e-5)


# Runs of version 0.5 resume only if the same parameters learn: every name as it was then.
LEARNED_IN_0_5 = {
    "resnet18": [
        *(f"layer4.{block}.{layer}" for block in (0, 1) for layer in ("conv1.weight", "bn1.weight", "bn1.bias")),
        *(f"layer4.{block}.{layer}" for block in (0, 1) for layer in ("conv2.weight", "bn2.weight", "bn2.bias")),
        *(f"layer4.0.downsample.{layer}" for layer in ("0.weight", "1.weight", "1.bias")),
        *("fc.weight", "fc.bias"),
    ],
    "mobilenetv2_100": [
        *(f"blocks.6.0.{layer}" for layer in ("conv_pw.weight", "bn1.weight", "bn1.bias")),
        *(f"blocks.6.0.{layer}" for layer in ("conv_dw.weight", "bn2.weight", "bn2.bias")),
        *(f"blocks.6.0.{layer}" for layer in ("conv_pwl.weight", "bn3.weight", "bn3.bias")),
        *("conv_head.weight", "bn2.weight", "bn2.bias", "classifier.weight", "classifier.bias"),
    ],
    "efficientnet_b0": [
        *(f"blocks.6.0.{layer}" for layer in ("conv_pw.weight", "bn1.weight", "bn1.bias")),
        *(f"blocks.6.0.{layer}" for layer in ("conv_dw.weight", "bn2.weight", "bn2.bias")),
        *(f"blocks.6.0.se.conv_{layer}.{kind}" for layer in ("reduce", "expand") for kind in ("weight", "bias")),
        *(f"blocks.6.0.{layer}" for layer in ("conv_pwl.weight", "bn3.weight", "bn3.bias")),
        *("conv_head.weight", "bn2.weight", "bn2.bias", "classifier.weight", "classifier.bias"),
    ],
}


@pytest.mark.parametrize("architecture", LEARNED_IN_0_5)
def test_the_papers_networks_learn_what_they_learned_in_0_5(architecture):
    model = models.build_model(architecture, 4)
    models.set_trainable(model, "last-block")
    learns = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert sorted(learns) == sorted(LEARNED_IN_0_5[architecture])


@pytest.mark.parametrize("architecture", LEARNED_IN_0_5)
def test_head_freezes_all_but_the_classifier(architecture):
    model = models.build_model(architecture, 4)
    models.set_trainable(model, "head")
    (head,) = layer_groups.head_prefixes(model)
    learns = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert learns == [head + "weight", head + "bias"]


def test_both_heads_of_a_distilled_network_are_its_head():
    model = models.build_model("levit_128s", 4)
    models.set_trainable(model, "head")
    learns = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learns == {f"{head}.linear.{kind}" for head in ("head", "head_dist") for kind in ("weight", "bias")}


def test_last_block__error_for_a_network_without_blocks():
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.fc = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 2)
            self.pretrained_cfg = {"classifier": "fc"}

    with pytest.raises(ModelError, match="Plain is not divided into blocks.* Choose trainable “head” or “all”"):
        models.set_trainable(Plain(), "last-block")


def test_every_parameter_learns_under_all():
    model = models.build_model("resnet18", 4).requires_grad_(False)
    models.set_trainable(model, "all")
    assert all(parameter.requires_grad for parameter in model.parameters())
