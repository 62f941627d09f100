"""Axial or coronal, on simulated scans of known plane, on the public images, and where it cannot be told."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from kidney_core import dataset, phantom, planes
from kidney_core.labels import LABELS
from kidney_core.series import group_series, slice_planes


def thumbnail(grey):
    return np.asarray(Image.fromarray(grey).resize((32, 32), Image.Resampling.BOX))


def test_the_plane_of_simulated_scans_is_told_and_never_wrong():
    drawn = [phantom.draw_series(label, seed, n_slices=1)[0] for label in LABELS for seed in range(15)]
    found = np.array([planes.guess_plane(thumbnail(each.as_slice("").grey8())) for each in drawn])
    assert {each.plane for each in drawn} == {planes.AXIAL, planes.CORONAL}
    told = found != planes.UNKNOWN  # a simulated body may be nearly as wide as high
    assert told.mean() >= 0.9
    assert found[told].tolist() == [each.plane for each, known in zip(drawn, told, strict=True) if known]


def test_a_picture_cropped_to_the_body_or_empty_has_an_unknown_plane():
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    body = np.where((x / 1.2) ** 2 + (y / 1.1) ** 2 < 1, 120, 0).astype(np.uint8)  # touches all four edges
    assert planes.guess_plane(body) == planes.UNKNOWN
    assert planes.guess_plane(np.zeros((32, 32), np.uint8)) == planes.UNKNOWN


@pytest.mark.parametrize(
    ("size", "body", "plane"),
    [((1280, 720), (800, 600), planes.AXIAL), ((400, 640), (330, 480), planes.CORONAL)],
)
def test_an_oblong_picture_is_not_taken_for_its_squeezed_thumbnail(tmp_path, size, body, plane):
    picture = Image.new("L", size)
    left, top = (size[0] - body[0]) // 2, (size[1] - body[1]) // 2
    ImageDraw.Draw(picture).ellipse((left, top, left + body[0], top + body[1]), fill=120)
    for name in ("Cyst", "Stone"):
        (tmp_path / name).mkdir()
        picture.save(tmp_path / name / "1.png")
    assert slice_planes(dataset.read_dataset(tmp_path)).tolist() == [plane] * 2


def test_what_a_file_says_of_its_plane_is_believed():
    drawn = phantom.draw_series("Cyst", 0, n_slices=1)[0].as_slice("")
    sagittal = dataclasses.replace(drawn, facts={**drawn.facts, "Plane": "Sagittal"})
    assert planes.plane_of(sagittal, thumbnail(drawn.grey8())) == "sagittal"


def test_a_series_file_knows_better(small_dataset):
    found = dataset.read_dataset(small_dataset)
    lines = [f"{path},{i},{['Sagittal ', '', '2', 'NA'][i % 4]}" for i, path in enumerate(found.table["path"])]
    (small_dataset / "series.csv").write_text("path,series,plane\n" + "\n".join(lines))
    assert slice_planes(found).tolist() == ["sagittal", planes.UNKNOWN, "2", "na"] * (len(found) // 4)


@pytest.mark.data
@pytest.mark.parametrize("name", ["ct-kidney-plain", "ct-kidney-clahe"])
def test_every_series_of_the_public_dataset_has_one_plane(shared_data, name):
    found = dataset.read_dataset(shared_data / name)
    table = pd.DataFrame({"series": group_series(found), "plane": slice_planes(found)})
    print(table["plane"].value_counts().to_dict())
    assert set(table["plane"]) == {planes.AXIAL, planes.CORONAL}
    assert (table.groupby("series")["plane"].nunique() == 1).all()
