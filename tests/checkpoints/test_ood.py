"""How like its training a slice is: by hand, against a plain version, and on the real networks and images."""

import numpy as np
import pytest
import torch

from kidney_core.checkpoints import ood
from kidney_core.common.errors import CheckpointError
from kidney_core.common.labels import LABELS
from kidney_core.networks import models, preprocessing
from kidney_core.simulation import phantom


def made(seed=0, n_scans=20, per_scan=6, n_features=12):
    """Scans as tight heaps in a wide cloud: features (N, F), series (N,)."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 1, (n_scans, n_features))
    series = np.repeat(np.arange(n_scans), per_scan)
    return centres[series] + rng.normal(0, 0.03, (len(series), n_features)), series


def learned(features, new_scans, series, *, spread=0.03, is_extra=()):
    names = tuple("" if i in is_extra else f"{i}.png" for i in range(len(series)))
    same_scans = features + np.random.default_rng(9).normal(0, spread, features.shape)
    return ood.fit_reference(
        features,
        same_scans=same_scans,
        new_scans=new_scans,
        new_series=np.arange(len(new_scans)),
        paths=names,
        labels=("Cyst",) * len(series),
        series=series,
    )


def test_thresholds_tell_a_seen_scan_a_new_one_and_something_foreign():
    features, series = made()
    kept_out, _ = made(seed=1, n_scans=100, per_scan=1)
    reference = learned(features, kept_out, series)
    rng = np.random.default_rng(2)
    same_scan = reference.match(features[::7] + rng.normal(0, 0.03, features[::7].shape))
    new_scan = reference.match(made(seed=3, n_scans=200, per_scan=1)[0])
    foreign = reference.match(rng.normal(0, 6, (20, features.shape[1])))
    assert all(each.is_seen_scan and not each.is_out_of_distribution for each in same_scan)
    assert [each.nearest[0].path for each in same_scan] == [f"{i}.png" for i in range(0, len(series), 7)] or all(
        int(each.nearest[0].path.removesuffix(".png")) // 6 == i // 6
        for each, i in zip(same_scan, range(0, len(series), 7), strict=True)
    )
    assert np.mean([each.is_out_of_distribution for each in new_scan]) < 0.1
    assert not any(each.is_seen_scan for each in new_scan)
    assert all(each.is_out_of_distribution for each in foreign)


def test_where_seen_and_new_scans_overlap_as_many_are_taken_for_the_other_on_either_side():
    features, series = made()
    kept_out, _ = made(seed=1, n_scans=100, per_scan=1)
    reference = learned(features, kept_out, series, spread=0.7)
    rng = np.random.default_rng(2)
    again = np.repeat(features, 20, axis=0)
    missed = np.mean([not each.is_seen_scan for each in reference.match(again + rng.normal(0, 0.7, again.shape))])
    taken = np.mean([each.is_seen_scan for each in reference.match(made(seed=3, n_scans=2000, per_scan=1)[0])])
    assert 0.02 < missed < 0.4
    assert taken == pytest.approx(missed, abs=0.08)


def test_a_reference_without_thumbnails_is_asked_without_them():
    features, series = made()
    older = learned(features, made(seed=1, n_scans=100, per_scan=1)[0], series)
    asked = made(seed=5, n_scans=4, per_scan=1)[0]
    with_thumbnail = np.hstack([np.full((4, ood.THUMBNAIL_PX**2), 9.0), asked])
    for plain, other in zip(older.whiten(asked), older.whiten(with_thumbnail), strict=True):
        np.testing.assert_array_equal(plain, other)


def test_slice_features_are_a_thumbnail_and_the_means_of_the_feature_maps():
    model = models.build_model("resnet18", 4)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)
    found = ood.slice_features(model, pixels)
    n_own = ood.THUMBNAIL_PX**2
    blocks = pixels.reshape(3, 8, 8, 8, 8).mean(axis=(2, 4)) / 255
    np.testing.assert_allclose(found[:, :n_own], blocks.reshape(3, n_own), atol=1e-6)
    assert found.shape == (3, n_own + 64 + 128 + 256 + 512)
    logits = ood.features_and_logits(model, pixels)[1]
    with torch.inference_mode():
        expected = model(preprocessing.to_input(torch.from_numpy(pixels)))
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_distances_agree_with_a_slow_plain_version():
    features, series = made(n_scans=6)
    reference = learned(features, made(seed=1)[0], series)
    asked = made(seed=5, n_scans=4, per_scan=1)[0]
    standard = (asked - features.mean(0)) / (features.std(0) + 1e-6)
    for found, row in zip(reference.match(asked), standard, strict=True):
        embedded = np.array([row @ axis for axis in reference.axes.T]) / reference.deviation
        by_hand = min(np.sqrt(((embedded - other) ** 2).sum()) for other in reference.embedded.astype(float))
        assert found.distance == pytest.approx(by_hand, rel=1e-4)
        rest = row - sum((row @ axis) * axis for axis in reference.axes.T)
        assert found.residual == pytest.approx(np.sqrt((rest**2).mean()), abs=1e-6)


def test_the_nearest_are_of_different_scans_and_extra_data_are_seen_but_never_named():
    features, series = made()
    reference = learned(features, made(seed=1)[0], series, is_extra=range(18))
    (found,) = reference.match(features[:1])  # one of the extra data itself
    assert found.distance == pytest.approx(0, abs=1e-3)
    assert found.is_seen_scan
    assert found.closest.path == ""
    assert found.nearest[0].distance > 0.1
    # Where their scans are not known, as in references of 0.5, they are in distribution but not seen.
    older = learned(features, made(seed=1)[0], np.where(np.arange(len(series)) < 18, -1, series), is_extra=range(18))
    (found,) = older.match(features[:1])
    assert found.distance == pytest.approx(0, abs=1e-3)
    assert not found.is_seen_scan
    assert found.closest == found.nearest[0]
    assert len({int(each.path.removesuffix(".png")) // 6 for each in found.nearest}) == ood.N_SHOWN
    assert [each.distance for each in found.nearest] == sorted(each.distance for each in found.nearest)


def test_a_saved_reference_answers_alike(tmp_path):
    features, series = made()
    reference = learned(features, made(seed=1)[0], series)
    ood.save(reference, tmp_path / "reference.safetensors")
    again = ood.load(tmp_path / "reference.safetensors")
    asked = made(seed=4, n_scans=30, per_scan=1)[0]
    for one, two in zip(reference.match(asked), again.match(asked), strict=True):
        assert one.distance == pytest.approx(two.distance, rel=1e-2)
        assert (one.is_seen_scan, one.is_out_of_distribution) == (two.is_seen_scan, two.is_out_of_distribution)
    assert (again.paths, again.labels) == (reference.paths, reference.labels)


@pytest.mark.parametrize("cut", [0, 40, 5000])
def test_load__error_damaged_is_a_sentence(tmp_path, cut):
    features, series = made()
    path = tmp_path / "reference.safetensors"
    ood.save(learned(features, made(seed=1)[0], series), path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match="is damaged .* Copy the checkpoint's folder again"):
        ood.load(path)


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenetv2_100", "efficientnet_b0", "vit_tiny_patch16_224"])
def test_features_of_several_depths_do_not_depend_on_the_batch(architecture):
    model = models.build_model(architecture, 4, image_size_px=64).eval()
    drawn = [phantom.draw_series(label, 3, n_slices=1)[0].as_slice("").grey8()[::4, ::4] for label in LABELS]
    together = ood.slice_features(model, np.stack(drawn))
    alone = np.concatenate([ood.slice_features(model, each[None]) for each in drawn])
    assert together.ndim == 2
    assert len(together) == 4
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)
