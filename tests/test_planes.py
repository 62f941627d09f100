"""Axial or coronal, on simulated scans of known plane, on the public images, and where it cannot be told."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kidney_core import dataset, phantom, planes
from kidney_core.labels import LABELS
from kidney_core.series import group_series


def thumbnail(grey):
    return np.asarray(Image.fromarray(grey).resize((32, 32), Image.Resampling.BOX))


def test_the_plane_of_simulated_scans_is_told_and_never_wrong():
    drawn = [phantom.draw_series(label, seed, n_slices=1)[0] for label in LABELS for seed in range(15)]
    found = planes.guess_planes(np.stack([thumbnail(each.as_slice("").grey8()) for each in drawn]))
    assert {each.plane for each in drawn} == {planes.AXIAL, planes.CORONAL}
    told = found != planes.UNKNOWN  # a simulated body may be nearly as wide as high
    assert told.mean() >= 0.9
    assert found[told].tolist() == [each.plane for each, known in zip(drawn, told, strict=True) if known]


def test_a_picture_cropped_to_the_body_or_empty_has_an_unknown_plane():
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    body = np.where((x / 1.2) ** 2 + (y / 1.1) ** 2 < 1, 120, 0).astype(np.uint8)  # touches all four edges
    assert planes.guess_planes(np.stack([body, np.zeros((32, 32), np.uint8)])).tolist() == [planes.UNKNOWN] * 2


def test_a_series_file_knows_better(small_dataset):
    found = dataset.read_dataset(small_dataset)
    lines = [f"{path},{i},{['sagittal', ''][i % 2]}" for i, path in enumerate(found.table["path"])]
    (small_dataset / "series.csv").write_text("path,series,plane\n" + "\n".join(lines))
    assert planes.slice_planes(found).tolist() == ["sagittal", planes.UNKNOWN] * (len(found) // 2)


@pytest.mark.data
@pytest.mark.parametrize("name", ["ct-kidney-plain", "ct-kidney-clahe"])
def test_every_series_of_the_public_dataset_has_one_plane(shared_data, name):
    found = dataset.read_dataset(shared_data / name)
    table = pd.DataFrame({"series": group_series(found), "plane": planes.guess_planes(found.thumbnails)})
    print(table["plane"].value_counts().to_dict())
    assert set(table["plane"]) == {planes.AXIAL, planes.CORONAL}
    assert (table.groupby("series")["plane"].nunique() == 1).all()
