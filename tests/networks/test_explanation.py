"""Heatmaps: the formulas against slow plain ones, the whole against pytorch-grad-cam, and many threads with one model."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from kidney_core.common.errors import ModelError
from kidney_core.imaging.framing import View
from kidney_core.networks import batch_norm, class_activation, explanation, hooked_cams, models, perturbation


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
REFERENCES = {
    "Grad-CAM": "GradCAM",
    "Grad-CAM++": "GradCAMPlusPlus",
    "HiResCAM": "HiResCAM",
    "XGrad-CAM": "XGradCAM",
}


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
    scaled = View(size_px).frame(np.zeros((size_px, size_px), np.uint8)).to_image(scaled)
    assert np.corrcoef(scaled.ravel(), cam.ravel())[0, 1] > 0.99


@pytest.mark.slow
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


@pytest.mark.slow
def test_layer_cam_agrees_with_pytorch_grad_cam_at_a_quarter_and_an_eighth_of_the_size():
    model, image = network("resnet18"), images(1)
    for method, layer, cells in (("Layer-CAM", model.layer1, 24), ("Layer-CAM, coarser", model.layer2, 12)):
        ours = explanation.explain(model, image, 2, method=method)
        assert ours.evidence.shape == (cells, cells)
        assert_alike(ours, library_map("LayerCAM", model, layer, image, 2))


def recorded(negatives):
    """Activations and gradients of 5 channels of 3 x 4 places, (1, 5, 3, 4)."""
    rng = np.random.default_rng(5)
    activations, gradients = rng.normal(size=(2, 1, 5, 3, 4)).astype(np.float32)
    return (activations if negatives else np.abs(activations)), gradients


def plain_map(method, activations, gradients):
    """The formulas place by place: (3, 4)."""
    channels, height, width = activations[0].shape
    evidence = np.zeros((height, width))
    for k in range(channels):
        a, g = activations[0, k].astype(float), gradients[0, k].astype(float)
        weights = {
            "Grad-CAM": np.full_like(a, g.mean()),
            "HiResCAM": g,
            "Layer-CAM": np.maximum(g, 0),
            "XGrad-CAM": np.full_like(a, sum(g[i, j] * a[i, j] / a.sum() for i in range(height) for j in range(width))),
            "Grad-CAM++": np.full_like(
                a,
                sum(
                    g[i, j] ** 2 / (2 * g[i, j] ** 2 + a.sum() * g[i, j] ** 3) * max(g[i, j], 0)
                    for i in range(height)
                    for j in range(width)
                ),
            ),
        }
        evidence += weights[method] * a
    return evidence


@pytest.mark.parametrize("negatives", [False, True])
@pytest.mark.parametrize("method", ["Grad-CAM", "HiResCAM", "Layer-CAM", "XGrad-CAM", "Grad-CAM++"])
def test_the_formulas_equal_slow_plain_ones_and_are_not_scaled(method, negatives):
    activations, gradients = recorded(negatives)
    if method == "Grad-CAM++":
        activations = np.abs(activations)  # with negatives its denominator comes near 0
    evidence = explanation.METHODS[method].formula(activations, gradients)
    np.testing.assert_allclose(evidence, plain_map(method, activations, gradients), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("turned", [1, -1])
def test_eigen_maps_point_to_where_the_activations_or_the_evidence_are_large(turned):
    """The principal pattern by the covariance of the channels, with the sign that the axis does not have."""
    activations, gradients = recorded(negatives=False)
    for formula, values, reference in (
        (class_activation.eigen_cam, activations, np.linalg.norm(activations[0], axis=0)),
        (
            class_activation.eigen_grad_cam,
            activations * gradients * turned,
            (activations * gradients * turned)[0].sum(0),
        ),
    ):
        rows = values[0].reshape(5, -1).T.astype(float)
        rows = rows - rows.mean(axis=0)
        axis = np.linalg.eigh(rows.T @ rows)[1][:, -1]
        pattern = (rows @ axis).reshape(3, 4)
        pattern *= np.sign((pattern * reference).sum())
        np.testing.assert_allclose(formula(activations, gradients * turned), pattern, rtol=1e-3, atol=1e-4)


def test_eigen_cam_is_the_same_for_every_label():
    model, image = network("resnet18"), images(1)
    maps = [explanation.explain(model, image, target, method="Eigen-CAM").evidence for target in range(4)]
    assert all(np.array_equal(maps[0], each) for each in maps)
    assert not explanation.METHODS["Eigen-CAM"].depends_on_label


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["resnet18", "efficientnet_b0"])
def test_ablation_takes_the_fall_of_the_score_also_where_the_logit_is_negative(architecture, capfd):
    model, image = network(architecture), images(1)
    with torch.no_grad():
        torch.nn.init.normal_(model.get_classifier().weight, std=0.1)
        maps = model.forward_features(image)
        logits = model(image)[0]
        assert logits.min() < 0
        for direction in (torch.eye(4)[int(logits.argmin())], torch.eye(4)[int(logits.argmax())]):
            weights = []
            for channel in range(maps.shape[1]):
                without = maps.clone()
                without[0, channel] = 0
                weights.append((logits - model.forward_head(without)[0]) @ direction)
            expected = (torch.stack(weights).view(-1, 1, 1) * maps[0]).sum(dim=0)
            evidence = hooked_cams.ablation(model, image, direction)
            torch.testing.assert_close(evidence, expected, rtol=1e-2, atol=1e-3 * float(expected.abs().max()))
    assert "".join(capfd.readouterr()) == ""  # the library draws a progress bar


@pytest.mark.slow
def test_ablation_of_a_positive_logit_agrees_with_pytorch_grad_cam():
    model, image = network("test_resnet"), images(1, 64)
    model.get_classifier().bias.fill_(5.0)
    drawn = explanation.explain(model, image, 1, method="Ablation-CAM")
    assert_alike(drawn, library_map("AblationCAM", model, model.layer4, image, 1), 64)


def test_the_contributions_of_full_gradient_add_up_to_the_logit():
    """Source: Srinivas and Fleuret 2019, equation 4: of a network of ReLUs they do, with the bias of its head."""
    model, image = network("resnet18"), images(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.bias, -0.5, 0.5)
                torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
        model.fc.bias.fill_(0.25)
        torch.nn.init.normal_(model.fc.weight, std=0.1)
    for network_ in (model, batch_norm.fold_batch_norms(model, 96)):
        cam = hooked_cams._FullGrad(network_.requires_grad_(False), [])
        cam.forward(image, [lambda logits: logits[2]])
        cam.activations_and_grads.release()
        total = sum(float(part.sum()) for part in cam.contributions) + 0.25
        assert total == pytest.approx(float(model(image)[0, 2].detach()), rel=1e-3)


def test_full_gradient__error_where_the_library_would_leave_out_biases():
    for architecture, kind in (("convnext_atto", "LayerNorm"), ("mobilenetv2_100", "BatchNormAct2d")):
        with pytest.raises(ModelError, match=f"FullGrad cannot read the biases of {kind}.*Choose another method"):
            explanation.explain(network(architecture), images(1, 64), 1, method="FullGrad")
    folded = batch_norm.fold_batch_norms(network("mobilenetv2_100"), 64).requires_grad_(False)
    assert explanation.explain(folded, images(1, 64), 1, method="FullGrad").evidence.shape == (64, 64)


def test_a_private_copy_shares_the_weights_and_leaves_no_hook_on_the_network():
    model, image = network("test_resnet"), images(1, 64)
    for method in ("FullGrad", "Ablation-CAM"):
        before = explanation.explain(model, image, 1, method=method).evidence
        with torch.no_grad():
            model.fc.weight.mul_(2)
        after = explanation.explain(model, image, 1, method=method).evidence
        np.testing.assert_allclose(after, 2 * before, rtol=1e-3, atol=1e-5)
    private = hooked_cams._private_copy(model)
    assert private is hooked_cams._private_copy(model)
    assert private.network.fc.weight is model.fc.weight
    assert private.network.fc is not model.fc
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.slow
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


@pytest.mark.slow
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
    heatmap = explanation.explain(model, image)
    assert heatmap.target == int(model(image).argmax()) == int(heatmap.logits.argmax())


def test_logits_are_those_of_the_plain_network():
    model, image = network("efficientnet_b0"), images(1)
    np.testing.assert_allclose(explanation.explain(model, image, 0).logits, model(image)[0], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "method", "size_px"),
    [
        ("mobilenetv2_100", "Layer-CAM", 96),
        ("mobilenetv2_100", "Grad-CAM", 96),
        ("test_resnet", "FullGrad", 64),
        ("test_resnet", "Ablation-CAM", 64),
    ],
)
def test_4_threads_x_50_maps_equal_the_serial_ones(architecture, method, size_px):
    model, inputs = network(architecture), images(50, size_px)
    jobs = [(i, i % 4) for i in range(50)]

    def explain(job):
        position, target = job
        return explanation.explain(model, inputs[position : position + 1], target, method=method)

    serial = [explain(job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(explain, jobs * 4))
    wrong = sum(
        not (
            np.array_equal(heatmap.evidence, serial[i % 50].evidence)
            and np.array_equal(heatmap.logits, serial[i % 50].logits)
        )
        for i, heatmap in enumerate(parallel)
    )
    print(f"{method}: maps={len(parallel)} wrong={wrong}")
    assert wrong == 0


def test_grad_cam_reads_channels_last_feature_maps():
    for architecture in ("convnext_atto", "mambaout_femto"):
        heatmap = explanation.explain(network(architecture), images(1), 1, method="Grad-CAM")
        assert heatmap.evidence.shape == (3, 3)


def test_an_empty_map_stays_empty_instead_of_being_stretched():
    empty = explanation.Heatmap(np.zeros((3, 3), np.float32), np.zeros(4), 0)
    assert empty.is_empty
    assert (empty.scaled() == 0).all()
