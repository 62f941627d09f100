"""Neighbouring slices of one scan are found, on made and on real images."""

import numpy as np
import pytest

from kidney_core import dataset, series
from kidney_core.errors import DatasetError


def slow_components(thumbnails, correlation):
    """The same by definition: numpy.corrcoef and repeated merging."""
    related = np.corrcoef(thumbnails.reshape(len(thumbnails), -1)) > correlation
    found = np.arange(len(thumbnails))
    for _ in range(len(thumbnails)):
        found = np.array([found[row].min() for row in related])
    return found


def test_group_series_finds_the_runs_of_neighbours(small_dataset):
    found = series.group_series(dataset.read_dataset(small_dataset))
    np.testing.assert_array_equal(found, np.repeat(np.arange(12), 5))


def test_link_near_duplicates_agrees_with_a_slow_plain_version(monkeypatch):
    monkeypatch.setattr(series, "_BLOCK", 7)  # several blocks
    rng = np.random.default_rng(3)
    bases = rng.integers(0, 255, (6, 32, 32))
    drawn = bases[rng.integers(0, 6, 40)] + rng.normal(0, 18, (40, 32, 32))
    thumbnails = np.clip(drawn, 0, 255).astype(np.uint8)
    fast = series.link_near_duplicates(thumbnails)
    slow = slow_components(thumbnails, series.LINK_CORRELATION)
    same_fast, same_slow = fast[:, None] == fast, slow[:, None] == slow
    np.testing.assert_array_equal(same_fast, same_slow)


def test_constant_images_are_linked_to_nothing():
    assert len(set(series.link_near_duplicates(np.zeros((3, 32, 32), np.uint8)))) == 3


def test_group_series_obeys_a_series_file(small_dataset):
    found = dataset.read_dataset(small_dataset)
    lines = [f"{path},patient-{i % 4}" for i, path in enumerate(found.table["path"])]
    (small_dataset / "series.csv").write_text("path,series\n" + "\n".join(lines))
    np.testing.assert_array_equal(series.group_series(found), np.arange(60) % 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,group\na,b\n", "needs the columns path and series"),
        ("path,series\n", "names no series for Cyst/"),
        ("", "is no table of the columns path and series"),
        ("path,series\na,b,c\nd,e,f,g\n", "is no table of the columns path and series"),
    ],
)
def test_group_series__error_bad_series_file(small_dataset, content, message):
    (small_dataset / "series.csv").write_text(content)
    with pytest.raises(DatasetError, match=message):
        series.group_series(dataset.read_dataset(small_dataset))


@pytest.mark.data
def test_public_dataset_has_about_ninety_series_of_single_classes(shared_data):
    """facts.md: 204 groups in all 12,446 images, at most a group or two of mixed class in the part at hand."""
    found = dataset.read_dataset(shared_data / "ct-kidney-plain")
    grouped = found.table.assign(series=series.group_series(found)).groupby("series")["label"]
    assert 75 <= grouped.ngroups <= 100
    assert (grouped.nunique() > 1).sum() <= 2
