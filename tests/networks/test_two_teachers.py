"""Two teachers: the network's own logits are the mean of what both learn, and each kidney is seen once."""

import pytest
import timm
import torch
from torch import nn

from kidney_core.common.errors import ModelError
from kidney_core.networks import two_teachers
from kidney_core.networks.two_teachers import TwoTeachers

LABELS = ("Cyst", "Normal", "Stone", "Tumor")


@pytest.fixture
def learner():
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=4)
    both = TwoTeachers(network, two_teachers.offset_for(network, 4), LABELS)
    nn.init.normal_(both.offset.weight)
    return both.eval()


@torch.no_grad()
def test_the_logits_are_the_mean_of_what_the_teachers_see(learner):
    images = torch.randn(3, 2, 3, 64, 64)
    kidneys = images[:, 0]  # alone, so that the same kidney carries both answers
    alone = torch.stack([kidneys, torch.zeros_like(kidneys)], dim=1)
    of_slices, of_kidneys = learner(alone, kidneys)
    torch.testing.assert_close((of_slices + of_kidneys) / 2, learner(alone), rtol=1e-4, atol=1e-4)
    assert (of_slices - of_kidneys).abs().max() > 0.1


@torch.no_grad()
def test_a_kidney_that_is_not_shown_changes_no_batch_norm(learner):
    kidneys, images = torch.randn(4, 3, 64, 64), torch.randn(4, 2, 3, 64, 64)
    images[1, 0] = images[2, 1] = 0
    norm = learner.slices.network.bn1
    norm.momentum = 1.0
    learner.train()
    learner(images, kidneys)
    shown = torch.cat([images[[0, 0, 1, 2, 3, 3], [0, 1, 1, 0, 0, 1]], kidneys])
    expected = learner.slices.network.conv1(shown).mean(dim=(0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected, rtol=1e-4, atol=1e-5)


def test_offset_for__error_without_linear_layer():
    network = timm.create_model("resnet10t", num_classes=0)
    with pytest.raises(ModelError, match="ends in a linear layer"):
        two_teachers.offset_for(network, 4)
