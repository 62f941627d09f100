"""Copies of one slice are one scan, whatever an export did to them; slices of different scans stay apart."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import copies as benchmark
from benchmarks.copies import CHANGES
from kidney_core.data import copies, dataset, series
from kidney_core.simulation import phantom
from tests.conftest import SHARED

PLAIN = SHARED / "data" / "ct-kidney-plain"


# What a change does not lose is found in every copy; what lies outside the picture or is equalised away, in most.
SURE = (
    "recompressed",
    "equalised",
    "flipped or turned",
    "rotated by up to 15°",
    "padded with white",
    "rotated and turned",
)


def write(folder, name, grey):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(grey)).save(folder / f"{name}.png")


def groups_of(root):
    read = dataset.read_dataset(root, use_cache=False)
    return dict(zip(read.table["path"], series.group_series(read), strict=True))


@pytest.fixture(scope="module")
def originals():
    """One slice of each of twelve simulated patients."""
    drawn = [
        phantom.draw_series(label, seed, n_slices=1)[0] for label in ("Cyst", "Normal", "Tumor") for seed in range(4)
    ]
    return [each.as_slice("a").network_grey8() for each in drawn]


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_of_the_scan_of_their_original_and_join_no_others(originals, change):
    found, n_joined = benchmark.found(originals, benchmark.linked(originals), 12, CHANGES[change])
    assert n_joined == 0
    assert found == 1 if change in SURE else found > 0.5


@pytest.mark.parametrize("change", ["flipped or turned", "padded with white"])
def test_a_copy_in_a_folder_is_of_the_scan_of_its_original(tmp_path, originals, change):
    rng = np.random.default_rng(0)
    for number, grey in enumerate(originals[:4]):
        write(tmp_path / "Cyst", f"slice-{number}", grey)
        write(tmp_path / "Normal", f"other-{number}", CHANGES[change](grey, rng))
    groups = groups_of(tmp_path)
    for number in range(4):
        assert groups[f"Normal/other-{number}.png"] == groups[f"Cyst/slice-{number}.png"]
    assert len(set(groups.values())) == 4


@pytest.mark.parametrize(
    ("original", "copy"),
    [
        ("Cyst-12_jpg.rf.0a1b2c3d4e5f60718293a4b5c6d7e8f9", "Cyst-12_jpg.rf.ffffffff4e5f60718293a4b5c6d7e8f9"),
        ("Cyst-12", "Cyst-12_png.rf.ffffffff4e5f60718293a4b5c6d7e8f9"),
        ("Cyst-12", "Cyst-12_flip"),
        ("Cyst-12", "Cyst-12-aug-3"),
        ("Cyst-12", "Cyst-12 (copy)"),
        ("Cyst-12", "Cyst-12_rot_90_hflip"),
    ],
)
def test_names_tell_copies(original, copy):
    paths = [f"Cyst/{original}.png", "Cyst/Cyst-13.png", f"train/Cyst/{copy}.png"]
    groups = copies.components(3, [copies.by_name(paths)])
    assert groups[0] == groups[2] != groups[1]


def test_names_of_other_slices_tell_nothing():
    paths = [
        "Cyst/Cyst- (1).jpg",
        "Cyst/Cyst- (11).jpg",
        "Stone/scan-2.png",
        "Stone/scan-3.png",
        "Stone/flip.png",
        "a/zoom_2.png",
    ]
    assert len(set(copies.components(6, [copies.by_name(paths)]))) == 6


def test_links_are_found_once_and_then_cached(tmp_path, originals, monkeypatch):
    for number, grey in enumerate(originals[:3]):
        write(tmp_path / "Cyst", str(number), grey)
    steps = []
    read = dataset.read_dataset(tmp_path)
    first = series.group_series(read, progress=lambda *done: steps.append(done))
    assert steps[-1][0] == steps[-1][1]
    monkeypatch.setattr(series, "link_scans", None)
    np.testing.assert_array_equal(series.group_series(read), first)


@pytest.mark.slow
@pytest.mark.skipif(not PLAIN.is_dir(), reason="needs the slices of shared/data")
def test_copies_of_real_slices_are_found_and_no_other_scans_are_joined():
    """600 slices, 100 of them with a copy that was rotated and scaled."""
    paths = sorted(PLAIN.glob("[CNST]*/*.jpg"))
    chosen = [paths[number] for number in np.random.default_rng(0).choice(len(paths), 600, replace=False)]
    greys = [np.asarray(Image.open(path).convert("L")) for path in chosen]
    classes = np.array([path.parent.name for path in chosen])
    change = CHANGES["rotated by up to 15° and scaled by 0.87 to 1.15"]
    found, n_with_other_classes = benchmark.found(greys, classes, 100, change)
    assert found >= 0.93
    assert n_with_other_classes <= 1  # the dataset has one such scan
