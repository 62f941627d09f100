"""A network that reads each kidney: the one that is least likely normal carries the answer, and it alone learns."""

import numpy as np
import pytest
import torch
from torch import nn

from kidney_core.networks import preprocessing, strongest_kidney
from kidney_core.networks.strongest_kidney import StrongestKidney

LABELS = ("Cyst", "Normal", "Stone", "Tumor")


class ByBrightness(nn.Module):
    """Dark images are Normal, bright ones are a Tumor."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images):
        mean = images.mean(dim=(1, 2, 3)) * self.scale
        return torch.stack([torch.zeros_like(mean), -mean, torch.zeros_like(mean), mean], dim=1)


@pytest.fixture
def model():
    return StrongestKidney(ByBrightness(), LABELS)


def pair(left, right):
    """(2, 8, 8) uint8 with some texture; an absent kidney is all black."""
    grain = np.arange(64, dtype=np.uint8).reshape(8, 8) % 3
    return np.stack([np.zeros((8, 8), np.uint8) if each is None else each + grain for each in (left, right)])


def test_the_kidney_that_is_least_likely_normal_carries_the_answer(model):
    pixels = np.stack([pair(40, 200), pair(210, 30), pair(None, 20), pair(20, None)]).astype(np.uint8)
    images = preprocessing.to_input(torch.from_numpy(pixels))
    assert images.shape == (4, 2, 3, 8, 8)
    single = model.network(images.flatten(0, 1)).unflatten(0, (4, 2))
    expected = torch.stack([single[0, 1], single[1, 0], single[2, 1], single[3, 0]])
    torch.testing.assert_close(model(images), expected)
    chosen = strongest_kidney.strongest_squares(model, pixels)
    np.testing.assert_array_equal(chosen, np.stack([pixels[0, 1], pixels[1, 0], pixels[2, 1], pixels[3, 0]]))


def test_a_kidney_that_is_not_shown_never_carries_the_answer(model):
    with torch.no_grad():
        model.network.scale.fill_(-1)  # now black is what is least likely normal
    pixels = np.stack([pair(None, 200), pair(200, None)]).astype(np.uint8)
    images = preprocessing.to_input(torch.from_numpy(pixels))
    assert strongest_kidney.is_shown(images).tolist() == [[False, True], [True, False]]
    single = model.network(images.flatten(0, 1)).unflatten(0, (2, 2))
    torch.testing.assert_close(model(images), torch.stack([single[0, 1], single[1, 0]]))
    np.testing.assert_array_equal(
        strongest_kidney.strongest_squares(model, pixels), np.stack([pixels[0, 1], pixels[1, 0]])
    )


def test_the_other_kidney_does_not_learn(model):
    images = preprocessing.to_input(torch.from_numpy(np.stack([pair(40, 200)]).astype(np.uint8))).requires_grad_(True)
    model(images)[0, 3].backward()
    assert images.grad[0, 1].abs().sum() > 0
    assert images.grad[0, 0].abs().sum() == 0


def test_one_image_passes_as_it_is(model):
    images = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(model(images), model.network(images))
    assert strongest_kidney.of_one_image(model) is model.network
    assert strongest_kidney.of_one_image(model.network) is model.network


def test_without_a_normal_label_the_most_certain_kidney_answers():
    model = StrongestKidney(ByBrightness(), ("a", "b", "c", "d"))
    logits = torch.tensor([[[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0]]])
    assert model.strongest(logits, torch.tensor([[True, True]])).tolist() == [1]
    assert model.strongest(logits, torch.tensor([[True, False]])).tolist() == [0]


@pytest.mark.parametrize("kind", preprocessing.AUGMENTATIONS)
def test_both_kidneys_are_augmented_alike_and_an_absent_one_stays_black(kind):
    pixels = torch.from_numpy(np.stack([pair(90, None), pair(90, 90)]).astype(np.uint8))
    numbers = torch.from_numpy(preprocessing.random_numbers(2, seed=0, epoch=0))
    changed = preprocessing.augment(pixels, numbers, kind)
    assert changed.shape == pixels.shape
    assert not changed[0, 1].any()
    torch.testing.assert_close(changed[1, 0], changed[1, 1])
