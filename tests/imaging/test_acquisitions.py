"""Phases, kernels, overlapping passes, sub-volumes and other patients are separate stacks; holes and repeats are told."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import EnhancedCTImageStorage

from kidney_core.imaging import acquisitions, stack
from tests.ct_files import ct_dataset, saved


def at(z, value=0, size_px=16, **tags) -> bytes:
    pixels = np.full((size_px, size_px), value, np.int16)
    given = {"SeriesInstanceUID": "1.2.3", "ImagePositionPatient": [-100, -100, z], "PixelSpacing": [0.8, 0.8], **tags}
    return saved(ct_dataset(pixels, **given))


def opened(files):
    """The stacks of files in a random order: (title, values of the slices)."""
    order = np.random.default_rng(0).permutation(len(files))
    contents = stack.open_stacks([(f"{i}.dcm", files[i]) for i in order])
    assert contents.problems == ()
    return {each.title: [float(stack.open_item(item).pixels[0, 0]) for item in each.items] for each in contents.stacks}


def two_groups(one, other, *, shift=0.0, n=4):
    """Two times n slices at the same places, the second group with values from 100."""
    return [at(5 * z, z, InstanceNumber=z + 1, **one) for z in range(n)] + [
        at(5 * z + shift, 100 + z, InstanceNumber=100 + z, **other) for z in range(n)
    ]


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, ("acquisition 1", "acquisition 2")),
        (
            {"TemporalPositionIdentifier": 1},
            {"TemporalPositionIdentifier": 2},
            ("temporal position 1", "temporal position 2"),
        ),
        ({"ConvolutionKernel": "B30f"}, {"ConvolutionKernel": "B60f"}, ("kernel B30f", "kernel B60f")),
        ({"SliceThickness": 5}, {"SliceThickness": 2}, ("thickness 5 mm", "thickness 2 mm")),
        ({"KVP": 80}, {"KVP": 140}, ("tube voltage 80 kV", "tube voltage 140 kV")),
        ({"PixelSpacing": [0.5, 0.5]}, {"PixelSpacing": [0.8, 0.8]}, ("pixel spacing 0.5 mm", "pixel spacing 0.8 mm")),
        ({"size_px": 16}, {"size_px": 24}, ("matrix 16 × 16", "matrix 24 × 24")),
        ({}, {}, ("pass 1", "pass 2")),
    ],
)
def test_what_differs_at_the_same_places_is_taken_apart_and_named(one, other, told):
    found = opened(two_groups(one, other))
    assert found == {
        f"DICOM series 1.{number + 1} (axial, {trait}, 4 slices, 5 mm apart)": [100 * number + z for z in range(4)]
        for number, trait in enumerate(told)
    }


@pytest.mark.parametrize("tag", ["StudyInstanceUID", "PatientID", "FrameOfReferenceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("series", ["1.2.3", ""])
def test_two_patients_with_the_same_or_no_series_are_two_series(tag, series):
    base = {"SeriesInstanceUID": series, "InstanceNumber": None}
    found = opened(
        [at(5 * z, z, **{**base, tag: "1.7"}) for z in range(4)]
        + [at(5 * z, 100 + z, **{**base, tag: "1.8"}) for z in range(4)]
    )
    assert sorted(found.values()) == [[0, 1, 2, 3], [100, 101, 102, 103]]
    assert not any("1.7" in title or "CANARY" in title for title in found)


def test_phases_whose_places_are_shifted_are_taken_apart():
    found = opened(two_groups({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, shift=1.0))
    assert sorted(found.values()) == [[0, 1, 2, 3], [100, 101, 102, 103]]


def test_overlapping_passes_are_taken_apart_and_passes_one_after_the_other_are_not():
    first = [at(5 * z, z, AcquisitionNumber=1) for z in range(6)]
    overlapping = [at(5 * z - 10, 100 + z, AcquisitionNumber=2) for z in range(5, 10)]
    assert sorted(map(len, opened(first + overlapping).values())) == [5, 6]
    following = [at(5 * z, z, AcquisitionNumber=2) for z in range(6, 12)]
    assert list(opened(first + following).values()) == [list(range(12))]


def test_a_sequential_scan_with_a_number_for_each_step_is_one_stack():
    assert list(opened([at(5 * z, z, AcquisitionNumber=z + 1) for z in range(12)]).values()) == [list(range(12))]


def test_slices_that_differ_in_thickness_or_type_side_by_side_are_one_stack():
    files = [at(5 * z, z, SliceThickness=5 if z < 3 else 3, KVP=100 + z % 2) for z in range(6)]
    assert list(opened(files).values()) == [list(range(6))]


def test_rounding_of_the_pixel_spacing_is_no_difference():
    files = [at(5 * z, z, PixelSpacing=[0.7815 + 1e-4 * z] * 2) for z in range(6)]
    assert list(opened(files).values()) == [list(range(6))]


def test_a_kernel_that_may_hold_a_name_is_not_shown():
    found = opened(two_groups({"ConvolutionKernel": "B30f"}, {"ConvolutionKernel": "Müller, Anna"}))
    assert len(found) == 2
    assert not any("Anna" in title for title in found)


def enhanced(n, *, phases=2, pointers=(0x00209056, 0x00209057, 0x00209128), temporal=True) -> bytes:
    """An enhanced multi-frame file: n places in some phases, frame by frame through the phases."""
    frames = np.stack([np.full((16, 16), 100 * phase + z, np.int16) for z in range(n) for phase in range(phases)])
    dataset = ct_dataset(frames, SeriesInstanceUID="1.2.3", ImageOrientationPatient=None)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.DimensionIndexSequence = [pydicom.Dataset() for _ in pointers]
    for item, pointer in zip(dataset.DimensionIndexSequence, pointers, strict=True):
        item.DimensionIndexPointer = pointer
    groups = []
    for z in range(n):
        for phase in range(phases):
            content, position, orientation = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
            content.DimensionIndexValues = [1, z + 1, phase + 1][: len(pointers)]
            content.StackID, content.InStackPositionNumber = "1", z + 1
            if temporal:
                content.TemporalPositionIndex = phase + 1
            position.ImagePositionPatient, orientation.ImageOrientationPatient = [0, 0, 5 * z], [1, 0, 0, 0, 1, 0]
            frame = pydicom.Dataset()
            frame.FrameContentSequence, frame.PlanePositionSequence = [content], [position]
            frame.PlaneOrientationSequence = [orientation]
            groups.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = groups
    return saved(dataset)


@pytest.mark.parametrize(("temporal", "told"), [(True, "temporal position 2"), (False, "dimension 1 2")])
def test_the_phases_of_an_enhanced_file_are_separate_stacks(temporal, told):
    found = opened([enhanced(5, temporal=temporal)])
    assert sorted(found.values()) == [[0, 1, 2, 3, 4], [100, 101, 102, 103, 104]]
    assert any(told in title for title in found)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"SeriesNumber": 2}, {"SeriesNumber": 3}),
        ({"PatientName": "Canary^A"}, {"PatientName": "Canary^B"}),
        ({"PatientBirthDate": "19500101"}, {"PatientBirthDate": "19600101"}),
    ],
)
def test_what_anonymised_files_keep_tells_series_apart(one, other):
    found = opened(two_groups(one, other, shift=2.0))
    assert sorted(found) == [f"DICOM series {number} (axial, 4 slices, 5 mm apart)" for number in (1, 2)]
    assert sorted(found.values()) == [[0, 1, 2, 3], [100, 101, 102, 103]]


def test_numbers_that_run_between_the_same_places_again_are_another_pass():
    assert opened(two_groups({}, {}, shift=2.5, n=7)) == {
        f"DICOM series 1.{number + 1} (axial, pass {number + 1}, 7 slices, 5 mm apart)": [
            100 * number + z for z in range(7)
        ]
        for number in range(2)
    }


def test_numbers_without_an_order_are_no_passes():
    (title,) = opened([at(5 * z, z, InstanceNumber=z * 9 % 20) for z in range(20)])
    assert "20 slices" in title


def test_numbers_that_are_given_twice_and_missing_ones_are_told():
    mixed = [at(5 * z + shift, InstanceNumber=z) for z in range(8) for shift in (0, 2)]
    (only,) = stack.open_stacks([(f"{i}", file) for i, file in enumerate(mixed)]).stacks
    assert only.notes == (
        "8 of 16 slices have the instance number of another one: two acquisitions or copies may be mixed. Upload one acquisition.",
    )
    unplaced = [at(0, value, InstanceNumber=value, ImagePositionPatient=None) for value in (1, 2, 3, 4, 8, 9)]
    (only,) = stack.open_stacks([(f"{i}", file) for i, file in enumerate(unplaced)]).stacks
    assert (only.ordered_by, only.notes) == ("instance number", ("Slices are missing: between numbers 4 and 8.",))


@pytest.mark.parametrize("orientation", [[0, 0, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0]])
def test_directions_that_are_none_are_unknown(orientation):
    (only,) = stack.open_stacks([("a", at(0, ImageOrientationPatient=orientation))]).stacks
    assert only.title == "DICOM series 1 (1 slice)"
    assert stack.open_item(only.items[0]).letters == {}


def test_a_hole_and_slices_at_the_same_place_are_told():
    assert acquisitions.notes_of([0, 5, 15, 20, 25]) == ("Slices are missing: 5 mm between slices 2 and 3.",)
    assert acquisitions.notes_of([0, 2.5, 5, 5, 7.5]) == (
        "1 of 5 slices lie at the same position as another one: two acquisitions or copies may be mixed. Upload one acquisition.",
    )
    assert acquisitions.notes_of([0, 5, 10.4, 15, 19.8]) == ()
    assert acquisitions.notes_of([0, None, 50]) == ()
    many = acquisitions.notes_of([0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 14, 15, 16, 19, 20, 21, 22, 25, 26, 27, 28])
    assert many[0].endswith(", and in 1 more places.")


def test_copies_at_the_same_place_stay_one_stack_that_says_so():
    files = [
        at(5 * z, z, InstanceNumber=z + 1, SOPInstanceUID=f"1.2.{z}.{copy}") for z in range(4) for copy in range(2)
    ]
    contents = stack.open_stacks([(f"{i}", file) for i, file in enumerate(files)])
    (only,) = contents.stacks
    assert "4 of 8 slices lie at the same position" in only.notes[0]


def test_a_series_of_which_a_file_is_damaged_says_so():
    files = [(f"{z}", at(5 * z, z)) for z in range(6)]
    files[5] = ("5", files[5][1][:550])
    contents = stack.open_stacks(files)
    assert contents.stacks[0].notes == ("One file of this upload could not be used: slices may be missing.",)
    with_text = stack.open_stacks([*files[:5], ("readme.txt", b"about this scan")])
    assert with_text.stacks[0].notes == ()
