"""Heat maps: right against pytorch-grad-cam, and right when many explain at once with one model."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from kidney_core import explanation, models, perturbation
from kidney_core.framing import View


def images(n, size_px=96):
    return torch.randn(n, 3, size_px, size_px, generator=torch.Generator().manual_seed(7))


def network(architecture):
    torch.manual_seed(3)
    return models.build_model(architecture, 4).eval().requires_grad_(False)


LAST_LAYERS = {
    "resnet18": lambda model: model.layer4,
    "mobilenetv2_100": lambda model: model.bn2,
    "efficientnet_b0": lambda model: model.bn2,
}
REFERENCES = {"Grad-CAM": "GradCAM", "Grad-CAM++": "GradCAMPlusPlus", "HiResCAM": "HiResCAM"}


def library_map(name, model, layer, image, target):
    """What pytorch-grad-cam draws: (S, S), scaled to 0..1."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model.requires_grad_(True)
    with getattr(pytorch_grad_cam, name)(model, [layer]) as reference:
        cam = reference(image.clone(), targets=[ClassifierOutputTarget(target)])[0]
    model.requires_grad_(False)
    return cam


def assert_alike(ours, cam, size_px=96):
    """The library scales each map to 0..1 and to the input's size; the same is done to ours."""
    low, high = ours.evidence.min(), ours.evidence.max()
    scaled = ((ours.evidence - low) / (high - low)).astype(np.float32)
    scaled = View(size_px).see(np.zeros((size_px, size_px), np.uint8)).over(scaled)
    assert np.corrcoef(scaled.ravel(), cam.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("method", REFERENCES)
@pytest.mark.parametrize("architecture", LAST_LAYERS)
def test_maps_of_the_last_layer_agree_with_pytorch_grad_cam(architecture, method):
    model, image = network(architecture), images(1)
    compared = 0
    for target in range(4):
        ours = explanation.explain(model, image, target, method=method)
        if not ours.is_empty:
            assert_alike(ours, library_map(REFERENCES[method], model, LAST_LAYERS[architecture](model), image, target))
            compared += 1
    assert compared


def test_layer_cam_agrees_with_pytorch_grad_cam_at_a_quarter_and_an_eighth_of_the_size():
    model, image = network("resnet18"), images(1)
    for method, layer, cells in (("Layer-CAM", model.layer1, 24), ("Layer-CAM, coarser", model.layer2, 12)):
        ours = explanation.explain(model, image, 2, method=method)
        assert ours.evidence.shape == (cells, cells)
        assert_alike(ours, library_map("LayerCAM", model, layer, image, 2))


def test_eigen_cam_is_the_librarys_up_to_its_sign_and_the_same_for_every_label():
    model, image = network("resnet18"), images(1)
    maps = [explanation.explain(model, image, target, method="Eigen-CAM").evidence for target in range(4)]
    assert all(np.array_equal(maps[0], each) for each in maps)
    with torch.no_grad():
        activations = model.forward_features(image)[0].numpy()
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    theirs = get_2d_projection(activations[None])[0]
    assert np.allclose(maps[0], np.maximum(theirs, 0), atol=1e-4) or np.allclose(
        maps[0], np.maximum(-theirs, 0), atol=1e-4
    )
    assert np.corrcoef(maps[0].ravel(), np.linalg.norm(activations, axis=0).ravel())[0, 1] > 0


def test_score_cam_of_all_channels_agrees_with_pytorch_grad_cam():
    model, image = network("test_resnet"), images(1, 64)
    direction = torch.eye(4)[1]
    with torch.no_grad():
        n_channels = model.forward_features(image).shape[1]
    ours = perturbation.score_cam(model, image, direction, n_channels=n_channels).relu().numpy()
    cam = library_map("ScoreCAM", model, model.layer4, image, 1)
    assert_alike(explanation.Heatmap(ours, np.zeros(4), 1), cam, 64)


def test_occlusion_finds_the_only_place_that_matters():
    """A network whose score is the mean of one corner: hiding that corner takes the score away."""

    class Corner(torch.nn.Module):
        def forward(self, batch):
            return batch[:, 0, :16, :16].mean(dim=(1, 2))[:, None] * torch.tensor([[1.0, 0.0]])

    image = torch.zeros(1, 3, 64, 64)
    image[..., 4:12, 4:12] = 1.0
    fall = perturbation.occlusion(Corner(), image, torch.tensor([1.0, 0.0]))
    top, left = np.unravel_index(int(fall.argmax()), fall.shape)
    assert top < 16
    assert left < 16
    assert fall[32:, 32:].abs().max() < 1e-6


def test_the_contrast_of_two_labels_is_antisymmetric_before_it_is_cut_at_zero():
    model, image = network("mobilenetv2_100"), images(1)
    one = explanation.explain(model, image, 0, against=2, method="HiResCAM").evidence
    other = explanation.explain(model, image, 2, against=0, method="HiResCAM").evidence
    assert (one * other == 0).all()  # a place speaks for the one or for the other
    assert one.max() > 0 or other.max() > 0


@pytest.mark.parametrize("method", explanation.METHODS)
def test_every_method_draws_a_finite_map_with_the_networks_own_logits(method):
    model, image = network("test_resnet"), images(1, 64)
    drawn = explanation.explain(model, image, 1, method=method)
    assert np.isfinite(drawn.evidence).all()
    assert drawn.evidence.min() >= 0
    np.testing.assert_allclose(drawn.logits, model(image)[0], rtol=1e-4, atol=1e-6)


def test_grad_cam_of_a_linear_head_by_hand():
    """With average pooling and a linear head, the map is the weighted sum of the activations over h*w."""
    model, image = network("resnet18"), images(1)
    with torch.no_grad():
        features = model.forward_features(image)
        weights = model.fc.weight[2] / features.shape[2] / features.shape[3]
        expected = (weights.view(1, -1, 1, 1) * features).sum(1).relu()[0]
    np.testing.assert_allclose(
        explanation.explain(model, image, 2, method="Grad-CAM").evidence, expected, rtol=1e-4, atol=1e-6
    )


def test_grad_cam_explains_the_prediction_by_default():
    model, image = network("mobilenetv2_100"), images(1)
    found = explanation.explain(model, image)
    assert found.target == int(model(image).argmax()) == int(found.logits.argmax())


def test_logits_are_those_of_the_plain_network():
    model, image = network("efficientnet_b0"), images(1)
    np.testing.assert_allclose(explanation.explain(model, image, 0).logits, model(image)[0], rtol=1e-5)


def test_4_threads_x_50_maps_equal_the_serial_ones():
    model, inputs = network("mobilenetv2_100"), images(50)
    jobs = [(i, i % 4) for i in range(50)]

    def explain(job):
        position, target = job
        return explanation.explain(model, inputs[position : position + 1], target)

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
    found = explanation.explain(network("convnext_atto"), images(1), 1, method="Grad-CAM")
    assert found.evidence.shape == (3, 3)


def test_an_empty_map_stays_empty_instead_of_being_stretched():
    empty = explanation.Heatmap(np.zeros((3, 3), np.float32), np.zeros(4), 0)
    assert empty.is_empty
    assert (empty.scaled() == 0).all()
