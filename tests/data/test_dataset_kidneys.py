"""Slices without a visible kidney are counted by class and plane, cached, and left out on request."""

import numpy as np
import pytest
from PIL import Image

from kidney_core.common.errors import DatasetError
from kidney_core.data import dataset_kidneys
from kidney_core.data.dataset import read_dataset
from kidney_core.kidneys import finder as finders
from kidney_core.simulation import phantom
from tests.phantom_files import write_scan


@pytest.fixture(scope="module")
def finder():
    return finders.open_installed()


@pytest.fixture
def mixed(tmp_path):
    """Two classes of four slices; one of each shows the body without kidneys."""
    for label, seed in (("Cyst", 3), ("Normal", 5)):
        folder = tmp_path / "mixed" / label
        write_scan(folder, label, seed, n_slices=3)
        drawn = phantom.draw_series(label, seed, n_slices=3)[-1]
        grey = drawn.as_slice("a").network_grey8().copy()
        grey[drawn.right | drawn.left] = 20
        grey[grey > 40] = 110
        Image.fromarray(grey).save(folder / "9.png")
    return read_dataset(tmp_path / "mixed")


def test_slices_are_counted_and_the_count_is_cached(mixed, finder, monkeypatch):
    titles = []
    counts = dataset_kidneys.visible_kidneys(mixed, finder, progress_of=lambda title: titles.append(title))
    assert titles == ["Finding kidneys"]
    shows = mixed.table["path"].str.contains("9.png")
    assert (counts[~shows] >= 1).all()
    summary = dataset_kidneys.summarize(mixed, counts)
    assert summary["slices"].sum() == len(mixed)
    assert summary["without"].sum() == (counts == 0).sum()
    monkeypatch.setattr(type(finder), "find", lambda self, greys: pytest.fail("looked again"))
    np.testing.assert_array_equal(dataset_kidneys.visible_kidneys(mixed, finder), counts)


def test_slices_without_a_kidney_are_left_out(mixed, finder, monkeypatch):
    n = len(mixed)
    monkeypatch.setattr(dataset_kidneys, "visible_kidneys", lambda *_, **__: np.arange(n) % 2)
    kept = dataset_kidneys.only_with_kidneys(mixed, finder)
    assert kept.table["path"].tolist() == mixed.table["path"].tolist()[1::2]
    assert kept.thumbnails.shape[0] == len(kept)
    assert kept.fingerprint != mixed.fingerprint
    monkeypatch.setattr(dataset_kidneys, "visible_kidneys", lambda *_, **__: np.zeros(n))
    with pytest.raises(DatasetError, match="No slice of “.*” shows a kidney"):
        dataset_kidneys.only_with_kidneys(mixed, finder)
