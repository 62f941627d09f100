"""Grad-CAM: right against pytorch-grad-cam, and right when many explain at once with one model."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from kidney_core import explanation, models


def images(n, size_px=96):
    return torch.randn(n, 3, size_px, size_px, generator=torch.Generator().manual_seed(7))


def network(architecture):
    torch.manual_seed(3)
    return models.build_model(architecture, 4).eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("architecture", "layer"),
    [
        ("resnet18", lambda model: model.layer4),
        ("mobilenetv2_100", lambda model: model.bn2),
        ("efficientnet_b0", lambda model: model.bn2),
    ],
)
def test_grad_cam_agrees_with_pytorch_grad_cam(architecture, layer):
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, image = network(architecture), images(1)
    for target in range(4):
        ours = explanation.grad_cam(model, image, target)
        model.requires_grad_(True)
        with GradCAM(model, [layer(model)]) as reference:
            cam = reference(image.clone(), targets=[ClassifierOutputTarget(target)])[0]
        model.requires_grad_(False)
        if ours.is_empty:
            continue
        # The library scales each map to 0..1 and to the input's size; the same is done to ours.
        low, high = ours.evidence.min(), ours.evidence.max()
        scaled = explanation.over_slice(((ours.evidence - low) / (high - low)).astype(np.float32), 96, 96, size_px=96)
        assert np.corrcoef(scaled.ravel(), cam.ravel())[0, 1] > 0.99


def test_grad_cam_of_a_linear_head_by_hand():
    """With average pooling and a linear head, the map is the weighted sum of the activations over h*w."""
    model, image = network("resnet18"), images(1)
    with torch.no_grad():
        features = model.forward_features(image)
        weights = model.fc.weight[2] / features.shape[2] / features.shape[3]
        expected = (weights.view(1, -1, 1, 1) * features).sum(1).relu()[0]
    np.testing.assert_allclose(explanation.grad_cam(model, image, 2).evidence, expected, rtol=1e-4, atol=1e-6)


def test_grad_cam_explains_the_prediction_by_default():
    model, image = network("mobilenetv2_100"), images(1)
    found = explanation.grad_cam(model, image)
    assert found.target == int(model(image).argmax()) == int(found.logits.argmax())


def test_logits_are_those_of_the_plain_network():
    model, image = network("efficientnet_b0"), images(1)
    np.testing.assert_allclose(explanation.grad_cam(model, image, 0).logits, model(image)[0], rtol=1e-5)


def test_4_threads_x_50_maps_equal_the_serial_ones():
    model, inputs = network("mobilenetv2_100"), images(50)
    jobs = [(i, i % 4) for i in range(50)]

    def explain(job):
        position, target = job
        return explanation.grad_cam(model, inputs[position : position + 1], target)

    serial = [explain(job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(explain, jobs * 4))
    wrong = sum(
        not (
            np.array_equal(found.evidence, serial[i % 50].evidence)
            and np.array_equal(found.logits, serial[i % 50].logits)
        )
        for i, found in enumerate(parallel)
    )
    print(f"maps={len(parallel)} wrong={wrong}")
    assert wrong == 0


def test_grad_cam_reads_channels_last_feature_maps():
    found = explanation.grad_cam(network("convnext_atto"), images(1), 1)
    assert found.evidence.shape == (3, 3)


def test_an_empty_map_stays_empty_instead_of_being_stretched():
    empty = explanation.Heatmap(np.zeros((3, 3), np.float32), np.zeros(4), 0)
    assert empty.is_empty
    assert (empty.scaled() == 0).all()


def test_over_slice_cuts_the_padding_off():
    square = np.zeros((8, 8), np.float32)
    square[3:5] = 1.0  # the middle band of a wide image
    laid = explanation.over_slice(square, 40, 80, size_px=8)
    assert laid.shape == (40, 80)
    assert laid[20].min() > 0.9
    assert laid[0].max() < 0.2
