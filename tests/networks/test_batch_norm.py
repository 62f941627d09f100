"""Batch norms that are folded away, or given statistics again: the network computes the same."""

import pytest
import torch

from kidney_core.networks import batch_norm, models


def probe(size_px=64, n=2):
    return torch.randn(n, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))


def test_recalibration_keeps_the_function_and_makes_training_mode_agree(shared_weights):
    model = models.build_model("mobilenetv2_100", 4, init=str(shared_weights))
    assert batch_norm.has_folded_batch_norm(model)
    images = probe(96, n=48)
    model.eval()
    with torch.no_grad():
        before = model(images)
        batch_norm.recalibrate_batch_norm(model, images)
        after = model(images)
        model.train()
        trained = model(images)
    assert not batch_norm.has_folded_batch_norm(model)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)
    assert (trained - before).abs().max() < 0.05 * before.abs().max() + 1e-3


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
    folded = batch_norm.fold_batch_norms(model, 64)
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
    assert batch_norm.fold_batch_norms(model, 64) is model


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
    assert batch_norm.fold_batch_norms(model, 16) is model
