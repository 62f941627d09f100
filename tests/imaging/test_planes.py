"""The plane of a slice: on simulated scans, on the public images, and where it cannot be known."""

import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageDraw

from kidney_core.common.labels import LABELS
from kidney_core.data import dataset
from kidney_core.data.series import scan_table
from kidney_core.imaging import planes
from kidney_core.simulation import phantom
from tests import public_data


def thumbnail(grey):
    return np.asarray(Image.fromarray(grey).resize((32, 32), Image.Resampling.BOX))


@pytest.mark.slow
def test_the_guessed_plane_of_simulated_scans_is_never_wrong():
    drawn = [phantom.draw_series(label, seed, n_slices=1)[0] for label in LABELS for seed in range(15)]
    guesses = np.array([planes.guess_plane(thumbnail(each.as_slice("").grey8())) for each in drawn])
    true_planes = np.array([each.plane for each in drawn])
    assert set(true_planes) == {planes.AXIAL, planes.CORONAL}
    is_guessed = guesses != planes.UNKNOWN  # a simulated body may be nearly as wide as high
    assert is_guessed.mean() >= 0.9
    assert guesses[is_guessed].tolist() == true_planes[is_guessed].tolist()


def test_an_image_cropped_to_the_body_or_empty_has_an_unknown_plane():
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    body = np.where((x / 1.2) ** 2 + (y / 1.1) ** 2 < 1, 120, 0).astype(np.uint8)  # touches all four edges
    assert planes.guess_plane(body) == planes.UNKNOWN
    assert planes.guess_plane(np.zeros((32, 32), np.uint8)) == planes.UNKNOWN


@pytest.mark.parametrize(
    ("size", "body", "plane"),
    [((1280, 720), (800, 600), planes.AXIAL), ((400, 640), (330, 480), planes.CORONAL)],
)
def test_the_aspect_ratio_of_the_image_counts_not_that_of_its_thumbnail(tmp_path, size, body, plane):
    picture = Image.new("L", size)
    left, top = (size[0] - body[0]) // 2, (size[1] - body[1]) // 2
    ImageDraw.Draw(picture).ellipse((left, top, left + body[0], top + body[1]), fill=120)
    for name in ("Cyst", "Stone"):
        (tmp_path / name).mkdir()
        picture.save(tmp_path / name / "1.png")
    assert scan_table(dataset.read_dataset(tmp_path))["plane"].tolist() == [plane] * 2


def test_the_plane_in_the_tags_of_a_file_comes_first():
    drawn = phantom.draw_series("Cyst", 0, n_slices=1)[0].as_slice("")
    sagittal = dataclasses.replace(drawn, facts={**drawn.facts, "Plane": "Sagittal"})
    assert planes.plane_of(sagittal, thumbnail(drawn.grey8())) == "sagittal"


def test_the_planes_in_a_series_file_come_first(small_dataset):
    folder = dataset.read_dataset(small_dataset)
    lines = [f"{path},{i},{['Sagittal ', '', '2', 'NA'][i % 4]}" for i, path in enumerate(folder.table["path"])]
    (small_dataset / "series.csv").write_text("path,series,plane\n" + "\n".join(lines), encoding="utf-8")
    assert scan_table(folder)["plane"].tolist() == ["sagittal", planes.UNKNOWN, "2", "na"] * (len(folder) // 4)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", ["ct-kidney-plain", "ct-kidney-clahe"])
def test_every_series_of_the_public_dataset_has_one_plane(shared_data, name):
    folder = public_data.read_once(shared_data / name)
    table = scan_table(folder)
    print(table["plane"].value_counts().to_dict())
    assert set(table["plane"]) == {planes.AXIAL, planes.CORONAL}
    assert (table.groupby("series")["plane"].nunique() == 1).all()
