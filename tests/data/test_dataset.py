"""A folder becomes a table; what is wrong with it is said, and nothing readable is lost."""

import contextlib
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from kidney_core import cache, dataset, pixel_cache
from kidney_core.errors import DatasetError
from kidney_core.framing import View


def test_read_dataset_lists_slices_in_file_order(small_dataset):
    found = dataset.read_dataset(small_dataset)
    assert found.labels == ("Cyst", "Normal", "Stone", "Tumor")
    assert found.counts() == {"Cyst": 15, "Normal": 15, "Stone": 15, "Tumor": 15}
    assert found.table["path"].tolist()[:3] == ["Cyst/Cyst- (1).png", "Cyst/Cyst- (2).png", "Cyst/Cyst- (3).png"]
    assert found.table["path"].tolist()[9] == "Cyst/Cyst- (10).png"
    assert found.thumbnails.shape == (60, 32, 32)


def test_read_dataset_maps_folder_names_and_keeps_other_classes(tmp_path):
    for name in ("tumours", "CYST", "Abscess"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / name / "a.png")
    assert dataset.read_dataset(tmp_path).labels == ("Cyst", "Tumor", "Abscess")


def test_read_dataset_lists_unreadable_files_and_goes_on(small_dataset):
    (small_dataset / "Cyst" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (small_dataset / "Stone" / "empty.jpg").touch()
    found = dataset.read_dataset(small_dataset)
    assert len(found) == 60
    assert dict(found.unreadable).keys() == {"Cyst/broken.png", "Stone/empty.jpg"}
    assert "is empty" in dict(found.unreadable)["Stone/empty.jpg"]


def test_read_dataset_leaves_masks_out(small_dataset):
    shutil.copytree(small_dataset / "Cyst", small_dataset / "masks" / "Cyst")
    assert len(dataset.read_dataset(small_dataset)) == 60


def test_read_dataset_reads_an_unchanged_folder_from_its_cache(small_dataset, monkeypatch):
    first = dataset.read_dataset(small_dataset)
    monkeypatch.setattr(dataset, "_read_files", None)  # a second decoding would fail
    second = dataset.read_dataset(small_dataset)
    assert second.fingerprint == first.fingerprint
    assert second.table.equals(first.table)
    np.testing.assert_array_equal(second.thumbnails, first.thumbnails)


def test_read_dataset_notices_a_changed_file(small_dataset):
    first = dataset.read_dataset(small_dataset)
    time.sleep(0.01)
    Image.fromarray(np.full((48, 48), 77, np.uint8)).save(small_dataset / "Cyst" / "Cyst- (1).png")
    assert dataset.read_dataset(small_dataset).fingerprint != first.fingerprint


def test_fingerprint_does_not_depend_on_where_the_folder_is(small_dataset, tmp_path):
    copy = shutil.copytree(small_dataset, tmp_path / "elsewhere")
    assert dataset.read_dataset(copy).fingerprint == dataset.read_dataset(small_dataset).fingerprint


def test_read_dataset_tells_its_progress(small_dataset):
    told = []
    dataset.read_dataset(small_dataset, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (60, 60)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "There is no folder .*Expected one folder per class"),
        (lambda root: root.mkdir(), "No images were found .*no folders.*Expected one folder per class"),
        (lambda root: (root / "Cyst").mkdir(parents=True), "No images were found .*“Cyst”"),
    ],
)
def test_read_dataset__error_says_what_was_expected(tmp_path, make, message):
    root = tmp_path / "data"
    make(root)
    with pytest.raises(DatasetError, match=message):
        dataset.read_dataset(root)


def test_a_folder_of_one_class_is_read_and_is_not_enough_to_learn_from(tmp_path):
    (tmp_path / "Cyst").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "Cyst" / "a.png")
    (tmp_path / "Stone").mkdir()
    (tmp_path / "Stone" / "a.png").write_bytes(b"damaged")
    found = dataset.read_dataset(tmp_path)
    assert found.labels == ("Cyst",)
    with pytest.raises(DatasetError, match=r"readable images of one class only \(Cyst\)"):
        dataset.require_classes(found)


def test_read_dataset_takes_a_given_label_for_every_image_below(tmp_path):
    (tmp_path / "images" / "deep").mkdir(parents=True)
    for path in ("images/a.png", "images/deep/b.png", "c.png"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / path)
    found = dataset.read_dataset(tmp_path, label="Stone")
    assert found.counts() == {"Stone": 3}
    assert sorted(found.table["path"]) == ["c.png", "images/a.png", "images/deep/b.png"]


def test_read_dataset_goes_by_content_and_loses_no_file_silently(small_dataset):
    (small_dataset / "Cyst" / "Cyst- (1).png").rename(small_dataset / "Cyst" / "1.2.840.113.5")
    (small_dataset / "Cyst" / "notes.txt").write_text("not an image")
    found = dataset.read_dataset(small_dataset)
    assert len(found) == 60
    assert "Cyst/1.2.840.113.5" in found.table["path"].tolist()
    assert dict(found.unreadable).keys() == {"Cyst/notes.txt"}


def test_read_dataset_mends_a_damaged_index(small_dataset):
    first = dataset.read_dataset(small_dataset)
    for keep in (0, 50, 3000):
        (index,) = cache.cache_folder().glob("index-*.npz")
        index.write_bytes(index.read_bytes()[:keep])
        assert dataset.read_dataset(small_dataset).fingerprint == first.fingerprint


def test_dataset_pixels_mends_a_damaged_array(small_dataset):
    found = dataset.read_dataset(small_dataset)
    first = np.array(pixel_cache.dataset_pixels(found, View(40)))
    for damage in (b"", b"no array", None):
        (path,) = cache.cache_folder().glob("pixels-*.npy")
        path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
        assert np.array_equal(pixel_cache.dataset_pixels(found, View(40)), first)


def test_the_cache_keeps_to_its_limit_and_what_was_used_last(small_dataset, monkeypatch):
    found = dataset.read_dataset(small_dataset)
    first = pixel_cache.dataset_pixels(found, View(40))
    kept = np.array(first)
    pixel_cache.dataset_pixels(found, View(41))
    for age, size in ((300, 41), (200, 40)):  # 41 was made later, and is used less
        (path,) = cache.cache_folder().glob(f"pixels-*-{size}.npy")
        os.utime(path, (time.time() - age,) * 2)
    holds = sum(path.stat().st_size for path in cache.cache_folder().iterdir())
    monkeypatch.setenv("KIDNEY_CACHE_GB", str((holds + 10_000) / 1e9))
    pixel_cache.dataset_pixels(found, View(42))
    sizes = {path.stem.rsplit("-", 1)[1] for path in cache.cache_folder().glob("pixels-*")}
    assert sizes == {"40", "42"}
    monkeypatch.setenv("KIDNEY_CACHE_GB", "0.000001")
    pixel_cache.dataset_pixels(found, View(43))  # larger than the limit: made all the same
    assert [path.stem.rsplit("-", 1)[1] for path in cache.cache_folder().iterdir()] == ["43"]
    assert np.array_equal(first, kept)  # whoever has it mapped keeps it


@pytest.mark.parametrize("asked", ["much", "0", "-3", "nan", "inf"])
def test_cache_limit__error_no_number_above_0(monkeypatch, asked):
    monkeypatch.setenv("KIDNEY_CACHE_GB", asked)
    with pytest.raises(DatasetError, match=f"KIDNEY_CACHE_GB is “{asked}”"):
        cache.limit_bytes()


def test_two_threads_read_one_folder_at_the_same_time(small_dataset):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: dataset.read_dataset(small_dataset), range(8)))
        pixels = list(pool.map(lambda each: pixel_cache.dataset_pixels(each, View(40)).sum(), found))
    assert {each.fingerprint for each in found} == {found[0].fingerprint}
    assert len(set(pixels)) == 1
    assert not list(cache.cache_folder().glob(".*.tmp"))


@pytest.mark.parametrize("name", ["~nobody-of-that-name/x", "a" * 300, "a\0b"])
def test_read_dataset__error_impossible_path(name):
    with pytest.raises(DatasetError, match=r"The folder .* cannot be read|There is no folder"):
        dataset.read_dataset(name)


def test_read_dataset__error_names_the_folder_below_that_was_meant(small_dataset):
    with pytest.raises(DatasetError, match=r"The class folders lie in “.*/dataset”, one floor below"):
        dataset.read_dataset(small_dataset.parent)


def test_read_dataset__error_cache_folder_that_cannot_be_made(small_dataset, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KIDNEY_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DatasetError, match="Set KIDNEY_CACHE to a folder that can"):
        dataset.read_dataset(small_dataset)


def test_read_dataset__error_nothing_readable(tmp_path):
    for name in ("Cyst", "Stone"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="None of the 2 files"):
        dataset.read_dataset(tmp_path)


def test_read_dataset__error_when_the_folder_vanishes_while_it_is_read(small_dataset, monkeypatch):
    """What was read so far is another dataset: it is neither trained on nor kept for the day the folder is back."""
    read, away = dataset.read_slices, small_dataset.with_name("away")

    def vanish(paths):
        with contextlib.suppress(FileNotFoundError):
            small_dataset.rename(away)
        return read(paths)

    with monkeypatch.context() as during:
        during.setattr(dataset, "read_slices", vanish)
        with pytest.raises(DatasetError, match="vanished while it was read. Mount it or move it back"):
            dataset.read_dataset(small_dataset)
    away.rename(small_dataset)
    assert len(dataset.read_dataset(small_dataset)) == 60
