"""Copies of one slice are one scan, whatever an export did to them; slices of different scans stay apart."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks import copies as benchmark
from benchmarks.copies import CHANGES
from kidney_core.data import copies, dataset, series
from kidney_core.simulation import phantom
from tests.conftest import SHARED

PLAIN = SHARED / "data" / "ct-kidney-plain"


def recompressed(grey):
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file))


def rotated(grey, angle_deg, scale=1.0):
    middle = (grey.shape[1] - 1) / 2, (grey.shape[0] - 1) / 2
    return cv2.warpAffine(grey, cv2.getRotationMatrix2D(middle, angle_deg, scale), grey.shape[::-1])


FIXED = {
    "flipped": lambda grey: grey[:, ::-1],
    "upside down": lambda grey: grey[::-1],
    "turned": lambda grey: np.rot90(grey),
    "turned the other way": lambda grey: np.rot90(grey, 3),
    "turned and flipped": lambda grey: np.rot90(grey[:, ::-1]),
    "equalised": lambda grey: cv2.createCLAHE(4.0, (8, 8)).apply(grey),
    "equalised as a whole": cv2.equalizeHist,
    "recompressed": recompressed,
    "rotated by 13": lambda grey: rotated(grey, 13),
    "rotated by -8 and flipped": lambda grey: rotated(grey, -8)[:, ::-1],
    "scaled": lambda grey: rotated(grey, 0, 1.08),
    "rotated and scaled": lambda grey: rotated(grey, 6, 0.9),
}


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


@pytest.mark.parametrize("level", [90, 255])
def test_bright_bars_do_not_make_pictures_alike(tmp_path, originals, level):
    for number, grey in enumerate(originals[:4]):
        write(tmp_path / "Cyst", f"slice-{number}", grey)
        write(tmp_path / "Normal", f"other-{number}", np.pad(grey, 20, constant_values=level))
    groups = groups_of(tmp_path)
    for number in range(4):
        assert groups[f"Normal/other-{number}.png"] == groups[f"Cyst/slice-{number}.png"]
    assert len(set(groups.values())) == 4


@pytest.mark.parametrize("change", FIXED)
def test_a_copy_is_of_the_scan_of_its_original(tmp_path, originals, change):
    for number, grey in enumerate(originals):
        write(tmp_path / "Cyst", f"slice-{number}", grey)
    apart = len(set(groups_of(tmp_path).values()))
    for number, grey in enumerate(originals[:4]):
        write(tmp_path / "Normal", f"other-{number}", FIXED[change](grey))
    groups = groups_of(tmp_path)
    for number in range(4):
        assert groups[f"Normal/other-{number}.png"] == groups[f"Cyst/slice-{number}.png"]
    assert len(set(groups.values())) == apart


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
def test_copies_of_real_slices_are_found_and_no_other_scans_are_joined(tmp_path):
    """600 slices, 120 of them with a copy: rotated, scaled or flipped at random."""
    rng = np.random.default_rng(0)
    paths = sorted(PLAIN.glob("[CNST]*/*.jpg"))
    chosen = [paths[i] for i in rng.choice(len(paths), 600, replace=False)]
    for path in chosen:
        write(tmp_path / path.parent.name, path.stem, np.asarray(Image.open(path).convert("L")))
    apart = len(set(groups_of(tmp_path).values()))
    for number, path in enumerate(chosen[:120]):
        grey = np.asarray(Image.open(path).convert("L"))
        changed = rotated(grey, rng.uniform(-15, 15), rng.uniform(0.88, 1.13))
        write(tmp_path / path.parent.name, f"other-{number}", recompressed(changed[:, ::-1] if number % 2 else changed))
    groups = groups_of(tmp_path)
    found = [
        groups[f"{path.parent.name}/other-{number}.png"] == groups[f"{path.parent.name}/{path.stem}.png"]
        for number, path in enumerate(chosen[:120])
    ]
    assert np.mean(found) >= 0.93
    assert len(set(groups.values())) <= apart + found.count(False)
