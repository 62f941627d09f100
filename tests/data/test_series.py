"""Neighbouring slices of one scan are grouped, on synthetic and on real images."""

import numpy as np
import pytest

from kidney_core.common.errors import DatasetError
from kidney_core.data import copies, dataset, series
from tests import public_data


def slow_components(thumbnails, correlation):
    """The slow reference: numpy.corrcoef and repeated merging."""
    is_linked = np.corrcoef(thumbnails.reshape(len(thumbnails), -1)) > correlation
    components = np.arange(len(thumbnails))
    for _ in range(len(thumbnails)):
        components = np.array([components[row].min() for row in is_linked])
    return components


def test_group_series_finds_the_runs_of_neighbours(small_dataset):
    numbers = series.group_series(dataset.read_dataset(small_dataset))
    np.testing.assert_array_equal(numbers, np.repeat(np.arange(12), 5))


def test_link_near_duplicates_agrees_with_a_slow_reference(monkeypatch):
    monkeypatch.setattr(copies, "_BLOCK", 7)  # several blocks
    rng = np.random.default_rng(3)
    bases = rng.integers(0, 255, (6, 32, 32))
    drawn = bases[rng.integers(0, 6, 40)] + rng.normal(0, 18, (40, 32, 32))
    thumbnails = np.clip(drawn, 0, 255).astype(np.uint8)
    fast = series.link_near_duplicates(thumbnails)
    slow = slow_components(thumbnails, series.LINK_CORRELATION)
    same_fast, same_slow = fast[:, None] == fast, slow[:, None] == slow
    np.testing.assert_array_equal(same_fast, same_slow)


def test_constant_images_are_not_linked():
    assert len(set(series.link_near_duplicates(np.zeros((3, 32, 32), np.uint8)))) == 3


def test_group_series_uses_a_series_file(small_dataset):
    small = dataset.read_dataset(small_dataset)
    lines = [f"{path},patient-{i % 4}" for i, path in enumerate(small.table["path"])]
    (small_dataset / "series.csv").write_text("path,series\n" + "\n".join(lines), encoding="utf-8")
    np.testing.assert_array_equal(series.group_series(small), np.arange(60) % 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,group\na,b\n", "needs the columns path and series"),
        ("path,series\n", "has no series for Cyst/"),
        ("", "is not a table with the columns path and series"),
        ("path,series\na,b,c\nd,e,f,g\n", "is not a table with the columns path and series"),
    ],
)
def test_group_series__error_bad_series_file(small_dataset, content, message):
    (small_dataset / "series.csv").write_text(content, encoding="utf-8")
    with pytest.raises(DatasetError, match=message):
        series.group_series(dataset.read_dataset(small_dataset))


@pytest.mark.slow
@pytest.mark.data
def test_the_public_dataset_has_series_of_single_classes(shared_data):
    """facts.md: 204 groups in all 12,446 images. Measured in this part: 127 groups, one of them with two classes."""
    plain = public_data.read_once(shared_data / "ct-kidney-plain")
    assert plain.counts() == {"Cyst": 1803, "Normal": 2640, "Stone": 1115, "Tumor": 1373}
    assert not plain.unreadable
    labels_of = plain.table.assign(series=series.group_series(plain)).groupby("series")["label"]
    assert 120 <= labels_of.ngroups <= 134
    assert (labels_of.nunique() > 1).sum() <= 1
