"""What the network sees, and that augmentation is a function of seed, epoch and image."""

import numpy as np
import pytest
import torch

from kidney_core.networks import preprocessing


def test_to_input_normalises_like_torchvision():
    from torchvision.transforms.v2.functional import normalize

    grey = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    reference = normalize((grey / 255).expand(3, 16, 16).unsqueeze(0), preprocessing.MEAN, preprocessing.STD)
    torch.testing.assert_close(preprocessing.to_input(grey), reference)


def images(n=6):
    return torch.from_numpy(np.random.default_rng(1).integers(0, 255, (n, 24, 24), np.uint8))


@pytest.mark.parametrize("kind", preprocessing.AUGMENTATIONS)
def test_augment_does_not_depend_on_the_batch(kind):
    grey = images()
    numbers = torch.from_numpy(preprocessing.random_numbers(6, seed=3, epoch=2))
    together = preprocessing.augment(grey, numbers, kind)
    alone = torch.cat([preprocessing.augment(grey[i : i + 1], numbers[i : i + 1], kind) for i in range(6)])
    torch.testing.assert_close(together, alone)


def test_augment_flips_about_half_of_the_images():
    grey = images(400)
    numbers = torch.from_numpy(preprocessing.random_numbers(400, seed=0, epoch=0))
    flipped = preprocessing.augment(grey, numbers, "flip")
    changed = (flipped != grey).flatten(1).any(1)
    assert 0.4 < changed.float().mean() < 0.6
    assert torch.equal(flipped[changed], grey[changed].flip(2))


def test_strong_augmentation_stays_in_range_and_changes_every_image():
    grey = images(20)
    numbers = torch.from_numpy(preprocessing.random_numbers(20, seed=0, epoch=0))
    changed = preprocessing.augment(grey, numbers, "strong")
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert ((changed - grey).abs().flatten(1).mean(1) > 1).all()


def test_random_numbers_depend_on_seed_and_epoch_alone():
    first = preprocessing.random_numbers(10, seed=1, epoch=2)
    np.testing.assert_array_equal(first, preprocessing.random_numbers(10, seed=1, epoch=2))
    assert (first != preprocessing.random_numbers(10, seed=1, epoch=3)).all()


def test_augment__error_unknown_kind():
    with pytest.raises(ValueError, match="augmentation must be one of"):
        preprocessing.augment(images(), torch.zeros(6, 8), "wild")
