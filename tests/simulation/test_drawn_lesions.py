"""Drawn lesions: darker cysts, bright stones, masses, where the kidney is; nothing else changes."""

import numpy as np
import pytest
from scipy import ndimage

from kidney_core.simulation import drawn_lesions


def kidney_image():
    """A kidney of grey 120 in fat of grey 40."""
    y, x = np.ogrid[:112, :112]
    kidney = ((y - 56) / 36) ** 2 + ((x - 56) / 22) ** 2 < 1
    grey = np.random.default_rng(0).normal(np.where(kidney, 120, 40), 4).clip(0, 255).astype(np.uint8)
    return grey, kidney


@pytest.mark.parametrize("label", drawn_lesions.LESIONS)
def test_a_lesion_changes_a_spot_at_the_kidney_alone(label):
    grey, kidney = kidney_image()
    sizes, differences = [], []
    for seed in range(40):
        drawn, lesion = drawn_lesions.draw(grey, kidney, label, np.random.default_rng(seed))
        changed = np.abs(drawn.astype(int) - grey) > 6
        far = ndimage.distance_transform_edt(~kidney) > (4 if label == "Stone" else 60)
        assert not (changed & far).any()
        assert not (changed & ~ndimage.binary_dilation(lesion, iterations=10)).any()
        sizes.append(changed.sum())
        inside = changed & kidney
        if inside.any():
            differences.append(drawn[inside].mean() - grey[inside].mean())
    assert len(sizes) > 30
    assert max(sizes) > 3 * min(sizes)
    if label == "Cyst":
        assert max(differences) < 0
    if label == "Stone":
        assert min(differences) > 10
        assert max(sizes) < 900
    if label == "Tumor":
        assert min(differences) < 0 < max(differences)


def test_differences_are_drawn_into_as_grey_values_and_the_same_numbers_draw_the_same():
    grey, kidney = kidney_image()
    plain, of_differences, again = (
        drawn_lesions.draw(image, kidney, "Cyst", np.random.default_rng(7))[0] for image in (grey, grey - 120.0, grey)
    )
    np.testing.assert_allclose(of_differences + 120, plain, atol=1e-3)
    np.testing.assert_array_equal(again, plain)


@pytest.mark.parametrize("label", drawn_lesions.LESIONS)
def test_lesions_can_be_seen(label):
    grey, kidney = kidney_image()
    seen = [
        (np.abs(drawn_lesions.draw(grey, kidney, label, np.random.default_rng(seed))[0] - grey) > 9).sum()
        for seed in range(60)
    ]
    assert np.mean(np.array(seen) >= 7) > 0.95


def test_a_small_end_of_a_kidney_holds_no_lesion():
    _, kidney = kidney_image()
    assert drawn_lesions.can_hold_lesion(kidney)
    end = np.zeros_like(kidney)
    end[50:60, 50:60] = True
    assert not drawn_lesions.can_hold_lesion(end)
