"""NIfTI volumes are stacks in Hounsfield units, cut in three planes by their affine."""

import gzip
import io
import re

import nibabel
import numpy as np
import pytest

from kidney_core.common.errors import SliceError
from kidney_core.imaging import stack, volume_file
from kidney_core.imaging.slices import read_slice
from kidney_core.simulation import phantom

SPACING = (1.0, 1.5, 2.5)


@pytest.fixture(scope="module")
def axial():
    """(Z, H, W) HU of a simulated scan, each slice in radiological view, from the feet to the head."""
    drawn = phantom.draw_series("Normal", 31, n_slices=5)
    return np.stack([np.rint(each.hu).astype(np.int16)[::2, ::2] for each in drawn])


def canonical(axial):
    """The same as (x to the right, y to the front, z to the head)."""
    return axial[:, ::-1, ::-1].transpose(2, 1, 0)


def nifti(axial, *, axes="RAS", dtype=np.int16, packed=True, kind=nibabel.Nifti1Image, slope=None) -> bytes:
    """A file whose axes run as `axes` says, such as "LPS" or "PIR"."""
    image = nibabel.Nifti1Image(canonical(axial).astype(dtype), np.diag([*SPACING, 1.0]))
    turned = image.as_reoriented(
        nibabel.orientations.ornt_transform(
            nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(axes)
        )
    )
    made = kind(np.asarray(turned.dataobj), turned.affine)
    if slope:
        made.header.set_slope_inter(*slope)
    content = made.to_bytes()
    return gzip.compress(content, 1) if packed else content


def opened(content, name="ct.nii.gz"):
    contents = stack.open_stacks([(name, content)])
    assert contents.problems == ()
    return contents.stacks


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "PIR", "SLP", "ILA"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_volume_is_cut_axially_by_its_affine_whatever_its_axes(axial, axes, packed):
    content = nifti(axial, axes=axes, packed=packed)
    assert volume_file.is_volume(content)
    first, *others = opened(content)
    assert first.title == "ct.nii.gz (axial, 5 slices, 2.5 mm apart)"
    assert {each.title.split("(")[1].split(",")[0] for each in others} == {"coronal", "sagittal"}
    for z, item in enumerate(first.items):
        image = stack.open_item(item)
        assert (image.unit, image.spacing_mm) == ("HU", (1.5, 1.0))
        np.testing.assert_array_equal(image.pixels, axial[z])
        assert image.letters == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    assert [item.position_mm for item in first.items] == [0, 2.5, 5, 7.5, 10]


def test_the_other_planes_show_the_head_at_the_top(axial):
    by_plane = {each.title.split("(")[1].split(",")[0]: each for each in opened(nifti(axial))}
    height, width = axial.shape[1:]
    coronal = stack.open_item(by_plane["coronal"].items[height // 2])
    row = height - 1 - height // 2  # frames run from the back to the front
    np.testing.assert_array_equal(coronal.pixels, axial[::-1, row, :])
    assert (coronal.letters["top"], coronal.letters["left"], coronal.spacing_mm) == ("H", "R", (2.5, 1.0))
    sagittal = stack.open_item(by_plane["sagittal"].items[width // 4])
    column = width - 1 - width // 4  # frames run from the patient's left to the right
    np.testing.assert_array_equal(sagittal.pixels, axial[::-1, :, column])
    assert (sagittal.letters["top"], sagittal.letters["left"]) == ("H", "A")
    assert coronal.network_grey8().shape == (round(5 * 2.5), width)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize(("dtype", "slope"), [(np.float32, None), (np.int16, (2.0, 3.0)), (np.float64, None)])
def test_numbers_are_scaled_as_the_header_says(axial, kind, dtype, slope):
    content = nifti(axial, kind=kind, dtype=dtype, slope=slope)
    image = stack.open_item(opened(content)[0].items[2])
    expected = nibabel.Nifti1Image if kind is nibabel.Nifti1Image else nibabel.Nifti2Image
    whole = expected.from_bytes(gzip.decompress(content)).get_fdata()
    np.testing.assert_allclose(np.sort(image.pixels.ravel()), np.sort(whole[:, :, 2].ravel()), atol=0.51)


def test_a_slice_without_air_is_in_the_units_of_its_volume(axial):
    filled = axial.copy()
    filled[2] = filled[2].clip(-100, 200)
    assert stack.open_item(opened(nifti(filled))[0].items[2]).unit == "HU"


def of_phases(axial) -> bytes:
    both = np.stack([canonical(axial)] * 2, axis=-1)
    return nibabel.Nifti1Image(both, np.eye(4)).to_bytes()


def test_errors_are_sentences(axial):
    whole = nifti(axial, packed=False)
    for content, sentence in (
        (of_phases(axial), "holds 2 volumes, such as phases"),
        (whole[: len(whole) // 2], "damaged or truncated NIfTI file"),
        (gzip.compress(whole)[:4000], "damaged or truncated NIfTI file"),
        (whole[:70] + b"\xff\x7f" + whole[72:], "damaged or truncated|colours or complex"),
        (nibabel.Nifti1Image(np.zeros((4, 4, 4), np.complex64), np.eye(4)).to_bytes(), "colours or complex numbers"),
    ):
        problems = stack.open_stacks([("a.nii", content)]).problems
        assert len(problems) == 1
        assert re.search(sentence, problems[0]), problems
    with pytest.raises(SliceError, match="there is no slice"):
        read_slice(whole, name="a.nii", frame=10_000)


def test_a_bomb_is_stopped_before_it_fills_the_memory():
    header = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)).to_bytes()
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb") as packed:
        packed.write(header)
        for _ in range(600):
            packed.write(bytes(1024**2))
    (problem,) = stack.open_stacks([("a.nii.gz", file.getvalue())]).problems
    assert "unpacks to more than 400 MB" in problem


def test_gzip_of_several_members_is_one_volume(axial):
    content = nifti(axial, packed=False)
    at = len(content) // 3
    packed = gzip.compress(content[:at]) + gzip.compress(content[at:]) + b"\0" * 512  # as bgzip and tapes write it
    assert [len(each.items) for each in opened(packed)] == [len(each.items) for each in opened(content, "ct.nii")]
    np.testing.assert_array_equal(read_slice(packed, frame=2).pixels, read_slice(content, frame=2).pixels)


def test_a_volume_without_axes_says_so_and_names_no_sides(axial):
    image = nibabel.Nifti1Image(canonical(axial), np.diag([*SPACING, 1.0]))
    placed = read_slice(image.to_bytes(), frame=2)
    assert placed.letters
    assert not any("axes" in note for note in placed.notes)
    image.header["qform_code"] = image.header["sform_code"] = 0
    image = nibabel.Nifti1Image(canonical(axial), None, image.header)
    read = read_slice(image.to_bytes(), frame=2)
    assert not read.letters
    assert any("does not say how its axes lie" in note for note in read.notes)


@pytest.mark.parametrize("n_labels", [2, 6])
def test_a_segmentation_is_no_ct(axial, n_labels):
    drawn = np.clip(axial // 40, 0, n_labels - 1).astype(np.int16)
    contents = stack.open_stacks([("kidneys.nii.gz", nifti(drawn))])
    assert contents.stacks == ()
    assert f"“kidneys.nii.gz” holds {n_labels} labels, as a segmentation does" in str(contents.problems[0])
