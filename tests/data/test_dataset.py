"""A folder becomes a table; its problems are reported, and no readable image is lost."""

import contextlib
import errno
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from kidney_core.common import cache
from kidney_core.common.errors import DatasetError
from kidney_core.data import dataset, pixel_cache
from kidney_core.imaging.framing import View


def test_read_dataset_lists_slices_in_file_order(small_dataset):
    read = dataset.read_dataset(small_dataset)
    assert read.labels == ("Cyst", "Normal", "Stone", "Tumor")
    assert read.counts() == {"Cyst": 15, "Normal": 15, "Stone": 15, "Tumor": 15}
    assert read.table["path"].tolist()[:3] == ["Cyst/Cyst- (1).png", "Cyst/Cyst- (2).png", "Cyst/Cyst- (3).png"]
    assert read.table["path"].tolist()[9] == "Cyst/Cyst- (10).png"
    assert read.thumbnails.shape == (60, 32, 32)


def test_read_dataset_maps_folder_names_and_keeps_other_classes(tmp_path):
    for name in ("tumours", "CYST", "Abscess"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / name / "a.png")
    assert dataset.read_dataset(tmp_path).labels == ("Cyst", "Tumor", "Abscess")


def test_read_dataset_lists_unreadable_files_and_goes_on(small_dataset):
    (small_dataset / "Cyst" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (small_dataset / "Stone" / "empty.jpg").touch()
    read = dataset.read_dataset(small_dataset)
    assert len(read) == 60
    assert dict(read.unreadable).keys() == {"Cyst/broken.png", "Stone/empty.jpg"}
    assert "is empty" in dict(read.unreadable)["Stone/empty.jpg"]


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


def test_read_dataset_reports_its_progress(small_dataset):
    reports = []
    dataset.read_dataset(small_dataset, progress=lambda done, total: reports.append((done, total)))
    assert reports[-1] == (60, 60)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "There is no folder .*Expected one folder per class"),
        (lambda root: root.mkdir(), "No images were found .*no folders.*Expected one folder per class"),
        (lambda root: (root / "Cyst").mkdir(parents=True), "No images were found .*“Cyst”"),
    ],
)
def test_read_dataset__error_describes_the_expected_layout(tmp_path, make, message):
    root = tmp_path / "data"
    make(root)
    with pytest.raises(DatasetError, match=message):
        dataset.read_dataset(root)


def test_a_folder_of_one_class_is_read_but_cannot_train_a_classifier(tmp_path):
    (tmp_path / "Cyst").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "Cyst" / "a.png")
    (tmp_path / "Stone").mkdir()
    (tmp_path / "Stone" / "a.png").write_bytes(b"damaged")
    read = dataset.read_dataset(tmp_path)
    assert read.labels == ("Cyst",)
    with pytest.raises(DatasetError, match=r"readable images of one class only \(Cyst\)"):
        dataset.require_classes(read)


def test_read_dataset_gives_every_image_the_label_of_the_caller(tmp_path):
    (tmp_path / "images" / "deep").mkdir(parents=True)
    for path in ("images/a.png", "images/deep/b.png", "c.png"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / path)
    read = dataset.read_dataset(tmp_path, label="Stone")
    assert read.counts() == {"Stone": 3}
    assert sorted(read.table["path"]) == ["c.png", "images/a.png", "images/deep/b.png"]


def test_read_dataset_recognises_images_by_content_and_ignores_no_file(small_dataset):
    (small_dataset / "Cyst" / "Cyst- (1).png").rename(small_dataset / "Cyst" / "1.2.840.113.5")
    (small_dataset / "Cyst" / "notes.txt").write_text("not an image", encoding="utf-8")
    read = dataset.read_dataset(small_dataset)
    assert len(read) == 60
    assert "Cyst/1.2.840.113.5" in read.table["path"].tolist()
    assert dict(read.unreadable).keys() == {"Cyst/notes.txt"}


def test_read_dataset_replaces_a_damaged_index(small_dataset):
    first = dataset.read_dataset(small_dataset)
    for keep in (0, 50, 3000):
        (index,) = cache.cache_folder().glob("index-*.npz")
        index.write_bytes(index.read_bytes()[:keep])
        assert dataset.read_dataset(small_dataset).fingerprint == first.fingerprint


def test_dataset_pixels_replaces_a_damaged_array(small_dataset):
    read = dataset.read_dataset(small_dataset)
    first = np.array(pixel_cache.dataset_pixels(read, View(40)))
    for damage in (b"", b"no array", None):
        (path,) = cache.cache_folder().glob("pixels-*.npy")
        path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
        assert np.array_equal(pixel_cache.dataset_pixels(read, View(40)), first)


def test_the_cache_stays_within_its_limit_and_keeps_what_was_used_last(small_dataset, monkeypatch):
    read = dataset.read_dataset(small_dataset)
    first = pixel_cache.dataset_pixels(read, View(40))
    copy = np.array(first)
    pixel_cache.dataset_pixels(read, View(41))
    for age, size in ((300, 41), (200, 40)):  # 41 was created later but used earlier
        (path,) = cache.cache_folder().glob(f"pixels-*-{size}.npy")
        os.utime(path, (time.time() - age,) * 2)
    size_bytes = sum(path.stat().st_size for path in cache.cache_folder().iterdir())
    monkeypatch.setenv("KIDNEY_CACHE_GB", str((size_bytes + 10_000) / 1e9))
    pixel_cache.dataset_pixels(read, View(42))
    sizes = {path.stem.rsplit("-", 1)[1] for path in cache.cache_folder().glob("pixels-*")}
    assert sizes == {"40", "42"}
    monkeypatch.setenv("KIDNEY_CACHE_GB", "0.000001")
    pixel_cache.dataset_pixels(read, View(43))  # larger than the limit: created all the same
    assert [path.stem.rsplit("-", 1)[1] for path in cache.cache_folder().iterdir()] == ["43"]
    assert np.array_equal(first, copy)  # a mapped array stays usable after its file is deleted


@pytest.mark.parametrize("setting", ["much", "0", "-3", "nan", "inf"])
def test_limit_bytes__error_not_a_positive_number(monkeypatch, setting):
    monkeypatch.setenv("KIDNEY_CACHE_GB", setting)
    with pytest.raises(DatasetError, match=f"KIDNEY_CACHE_GB is “{setting}”"):
        cache.limit_bytes()


def test_threads_read_the_same_folder_at_the_same_time(small_dataset):
    with ThreadPoolExecutor(4) as pool:
        datasets = list(pool.map(lambda _: dataset.read_dataset(small_dataset), range(8)))
        pixels = list(pool.map(lambda each: pixel_cache.dataset_pixels(each, View(40)).sum(), datasets))
    assert {each.fingerprint for each in datasets} == {datasets[0].fingerprint}
    assert len(set(pixels)) == 1
    assert not list(cache.cache_folder().glob(".*.tmp"))


@pytest.mark.parametrize("name", ["~nobody-of-that-name/x", "a" * 300, "a\0b"])
def test_read_dataset__error_impossible_path(name):
    with pytest.raises(DatasetError, match=r"The folder .* cannot be read|There is no folder"):
        dataset.read_dataset(name)


def test_read_dataset__error_cache_folder_that_cannot_be_made(small_dataset, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KIDNEY_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DatasetError, match="Set KIDNEY_CACHE to a writable folder"):
        dataset.read_dataset(small_dataset)


def test_read_dataset__error_nothing_readable(tmp_path):
    for name in ("Cyst", "Stone"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="None of the 2 files"):
        dataset.read_dataset(tmp_path)


def test_read_dataset__error_when_the_folder_vanishes_while_it_is_read(small_dataset, monkeypatch):
    """The files read so far would be another dataset, so they are neither used nor cached."""
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


def test_dataset_pixels__error_on_a_full_disk_is_a_sentence(small_dataset, monkeypatch):
    read = dataset.read_dataset(small_dataset)

    def refuse(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(DatasetError, match=r"The disk of “.*/cache/pixels-.*” is full. Free some space there"):
        pixel_cache.dataset_pixels(read, View(40))
    assert not list(cache.cache_folder().glob(".*.tmp"))
