"""Uploaded files become stacks in anatomical order; zips are unpacked safely; unusable files are reported."""

import io
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pydicom
import pytest
from PIL import Image

from kidney_core.common.errors import EncryptedArchive, KidneyError, OversizedArchive, UnreadableArchive
from kidney_core.imaging import archive, dicom_geometry, stack
from tests.ct_files import ct_dataset, saved

AXIAL, CORONAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1]


def ct_file(value=0, *, n_frames=1, size_px=16, **tags) -> bytes:
    """A CT file whose frames are of HU `value`, `value` + 1, …; None leaves a tag out."""
    frames = np.stack([np.full((size_px, size_px), value + i, np.int16) for i in range(n_frames)])
    return saved(ct_dataset(frames if n_frames > 1 else frames[0], **{"SeriesInstanceUID": "1.2.3", **tags}))


def at(z, value=0, **tags) -> bytes:
    return ct_file(value, ImagePositionPatient=[-100, -100, z], **tags)


def png(value=0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(files, compression=zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive_file:
        for name, content in files:
            archive_file.writestr(name, content)
    return buffer.getvalue()


def names(opened):
    return [item.name for item in opened.items]


def values(opened):
    """The grey or HU value of each slice, in the order of the stack."""
    return [float(stack.open_item(item).pixels[0, 0]) for item in opened.items]


def test_slices_are_ordered_by_their_position_whatever_their_names_and_numbers():
    heights = np.random.default_rng(0).permutation(12)
    files = [(f"{i}", at(2.5 * z, int(z), InstanceNumber=int(20 - i))) for i, z in enumerate(heights)]
    (opened,) = stack.open_stacks(files).stacks
    assert values(opened) == list(range(12))
    assert [item.position_mm for item in opened.items] == [2.5 * z for z in range(12)]
    assert opened.ordered_by == "position"
    assert opened.title == "DICOM series 1 (axial, 12 slices, 2.5 mm apart)"


def test_position_is_taken_along_the_normal_of_the_slice():
    """PS3.3 C.7.6.2.1.1: the normal of a coronal stack (row × column) is parallel to y."""
    files = [
        (f"{y}", ct_file(y, ImageOrientationPatient=CORONAL, ImagePositionPatient=[0, y, 300 - y])) for y in (3, 1, 2)
    ]
    (opened,) = stack.open_stacks(files).stacks
    normal = np.cross(CORONAL[:3], CORONAL[3:])
    assert [item.position_mm for item in opened.items] == sorted(float(normal[1] * y) for y in (1, 2, 3))
    assert "coronal" in opened.title


def test_a_damaged_tag_causes_no_warning(recwarn):
    """pydicom would quote the value in its warning, and the value may be the patient's."""
    content = ct_file(SeriesInstanceUID="1.2.3.4.5.6.7.8.9.10").replace(
        b"1.2.3.4.5.6.7.8.9.10", b"DOE.JANE 19500101 .."
    )
    assert len(stack.open_stacks([("a", content)]).stacks) == 1
    assert not recwarn.list


def test_two_series_are_separated_and_the_longer_comes_first():
    files = [(f"a{z}", at(z, z)) for z in range(3)] + [
        (f"b{z}", at(z, 10 + z, SeriesInstanceUID="1.2.4")) for z in range(5)
    ]
    mixed = [files[i] for i in np.random.default_rng(1).permutation(len(files))]
    stacks = stack.open_stacks(mixed).stacks
    assert [values(each) for each in stacks] == [[10, 11, 12, 13, 14], [0, 1, 2]]


def test_a_localizer_and_another_orientation_become_separate_stacks():
    files = [(f"a{z}", at(z, z)) for z in range(4)]
    files.append(("scout", at(0, 50, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])))
    files.append(("coronal", ct_file(60, ImageOrientationPatient=CORONAL, ImagePositionPatient=[0, 0, 0])))
    stacks = stack.open_stacks(files).stacks
    assert [values(each) for each in stacks] == [[0, 1, 2, 3], [50], [60]]
    assert [each.title for each in stacks] == [
        "DICOM series 1.1 (axial, 4 slices, 1 mm apart)",
        "DICOM series 1.2 (localizer, axial, 1 slice)",
        "DICOM series 1.3 (coronal, 1 slice)",
    ]


def test_an_orientation_that_differs_by_rounding_is_the_same():
    files = [(f"{z}", at(z, z, ImageOrientationPatient=[1, 0, 0, 0, 1, 1e-5 * z])) for z in range(3)]
    assert len(stack.open_stacks(files).stacks) == 1


@pytest.mark.parametrize(
    ("tags", "ordered_by", "has_mm"),
    [
        (lambda i: {"SliceLocation": 9 - i, "InstanceNumber": i + 1}, "slice location", True),
        (lambda i: {"InstanceNumber": 9 - i}, "instance number", False),
        (lambda i: {}, "file name", False),
        # All at the same position, which orders nothing.
        (lambda i: {"ImagePositionPatient": [0, 0, 0], "InstanceNumber": 9 - i}, "instance number", False),
    ],
)
def test_without_positions_the_next_best_measure_orders(tags, ordered_by, has_mm):
    files = [(f"IM ({i})", ct_file(i, **tags(i))) for i in (10, 2, 1)]
    (opened,) = stack.open_stacks(files).stacks
    assert opened.ordered_by == ordered_by
    assert values(opened) == ([1, 2, 10] if ordered_by == "file name" else [10, 2, 1])
    assert all((item.position_mm is not None) == has_mm for item in opened.items)


def test_one_slice_without_a_position_makes_the_whole_series_fall_back():
    files = [("a", at(5, 0, InstanceNumber=1)), ("b", ct_file(1, InstanceNumber=2)), ("c", at(1, 2, InstanceNumber=3))]
    (opened,) = stack.open_stacks(files).stacks
    assert opened.ordered_by == "instance number"
    assert values(opened) == [0, 1, 2]


def test_a_classic_multi_frame_file_becomes_its_frames_and_its_bytes_are_held_once():
    (opened,) = stack.open_stacks([("cine", ct_file(7, n_frames=5, ImagePositionPatient=[0, 0, 0]))]).stacks
    assert values(opened) == [7, 8, 9, 10, 11]
    assert opened.ordered_by == "frame number"
    assert names(opened)[:2] == ["cine, frame 1", "cine, frame 2"]
    assert len({id(item.content) for item in opened.items}) == 1


def test_an_enhanced_file_is_ordered_by_the_positions_of_its_frames():
    """PS3.3 C.7.6.16.2.3 and 4: position per frame, orientation shared."""

    def item(**tags):
        made = pydicom.Dataset()
        for keyword, value in tags.items():
            setattr(made, keyword, value)
        return made

    orientation = item(PlaneOrientationSequence=[item(ImageOrientationPatient=AXIAL)])
    frames = [item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, z])]) for z in (30, 10, 20)]
    content = ct_file(
        0,
        n_frames=3,
        ImageOrientationPatient=None,
        SharedFunctionalGroupsSequence=[orientation],
        PerFrameFunctionalGroupsSequence=frames,
    )
    (opened,) = stack.open_stacks([("enhanced", content)]).stacks
    assert values(opened) == [1, 2, 0]
    assert [each.position_mm for each in opened.items] == [10, 20, 30]


def test_reading_a_position_decodes_no_pixel(monkeypatch):
    monkeypatch.setattr(pydicom.pixels, "pixel_array", None)
    assert dicom_geometry.positions_of(at(12.5), name="a")[0].position_mm == 12.5
    (position,) = dicom_geometry.read_positions(at(12.5)[:-300], name="cut within its pixels")
    assert position.position_mm == 12.5


def test_a_stack_contains_no_patient_data():
    contents = stack.open_stacks([("a", at(1))])
    assert "canary" not in repr(contents).lower()
    assert "1.2.3" not in repr(contents)


def test_images_form_one_stack_in_the_natural_order_of_their_names():
    files = [(f"Stone- ({i}).png", png(i)) for i in (10, 2, 1)]
    (opened,) = stack.open_stacks(files).stacks
    assert names(opened) == ["Stone- (1).png", "Stone- (2).png", "Stone- (10).png"]
    assert values(opened) == [1, 2, 10]
    assert (opened.title, opened.ordered_by) == ("Images (3 slices)", "file name")


def test_a_name_with_superscript_digits_is_ordered_too():
    assert names(stack.open_stacks([("1²3.png", png(1)), ("1.png", png(2))]).stacks[0]) == ["1.png", "1²3.png"]


def test_the_pages_of_a_tiff_are_slices():
    buffer = io.BytesIO()
    pages = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (3, 4, 5)]
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    (opened,) = stack.open_stacks([("pages.tif", buffer.getvalue())]).stacks
    assert values(opened) == [3, 4, 5]
    assert names(opened)[2] == "pages.tif, page 3"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (ct_file(PixelData=None, Rows=None), "cut off or damaged"),
        (ct_file(PixelData=None, Rows=None, Modality=None), "without an image"),
        (ct_file(Modality="SR"), "is a report"),
        (ct_file(Modality="MR"), "is a magnetic resonance image"),
        (ct_file(NumberOfFrames=2_000_000), "2,000,000 frames; the limit is 3,000"),
        (b"some text", "is not a PNG, JPEG, BMP, TIFF, GIF, WebP, JPEG 2000 or DICOM image"),
        (b"", "is empty"),
    ],
)
def test_an_unusable_file_is_reported_and_the_others_stay(content, sentence):
    contents = stack.open_stacks([("a", at(1)), ("bad", content)])
    assert len(contents.stacks[0].items) == 1
    (problem,) = contents.problems
    assert problem.startswith("“bad”")
    assert sentence in problem


def test_the_same_file_twice_counts_once():
    content = at(1)
    contents = stack.open_stacks([("a", content), ("copy of a", content)])
    assert len(contents.stacks[0].items) == 1
    assert contents.problems == ("“copy of a” is the same file as “a” and is counted once.",)


def test_a_zip_is_recognised_by_its_content_and_its_folders_are_walked():
    files = [(f"CT/S{z % 2}/IM{z}", at(z, z)) for z in (2, 0, 1)]
    skipped = [
        "__MACOSX/CT/._IM1",
        "CT/.DS_Store",
        "DICOMDIR",
        "CT/dicomdir",
        "@eaDir/IM1@SynoEAStream",
        "CT/Thumbs.db",
    ]
    content = zipped(files + [(name, b"not an image") for name in skipped] + [("CT/empty/", b"")])
    contents = stack.open_stacks([("series.bin", content), ("top", at(9, 9))])
    assert values(contents.stacks[0]) == [0, 1, 2, 9]
    assert contents.problems == ()


def test_only_one_file_of_a_zip_is_held_unpacked():
    files = {f"{i}.dcm": at(i, i, size_px=256) for i in range(8)}
    packed = zipped(files.items())
    tracemalloc.start()
    (opened,) = stack.open_stacks([("series.zip", packed)]).stacks
    assert [item.content for item in opened.items] == list(files.values())
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 2 * len(files["0.dcm"])  # the last file, and the directory


def test_names_in_a_zip_are_never_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = zipped([("../../evil", at(0)), ("/etc/evil", at(1)), ("..\\evil", at(2)), ("9" * 6000, at(3))])
    (opened,) = stack.open_stacks([("a.zip", content)]).stacks
    assert names(opened) == ["evil", "etc/evil", "evil", "9" * 200]
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_in_a_zip_is_reported_and_the_others_stay():
    content = bytearray(zipped([("good", at(0)), ("bad", at(1))], zipfile.ZIP_STORED))
    content[content.index(b"bad") + 1000] ^= 255
    contents = stack.open_stacks([("a.zip", bytes(content))])
    assert names(contents.stacks[0]) == ["good"]
    assert contents.problems == ("“bad” is damaged in the zip (BadZipFile). Zip it again.",)


def test_a_zip_within_a_zip_is_reported():
    contents = stack.open_stacks([("a.zip", zipped([("inner.zip", zipped([("a", at(0))]))]))])
    assert contents.stacks == ()
    assert contents.problems == ("“inner.zip” is a zip within “a.zip”. Unpack it and upload it separately.",)


def test_a_compression_that_cannot_be_unpacked_piece_by_piece_is_reported():
    """For bzip2, one read of zipfile may return any number of bytes."""
    contents = stack.open_stacks([("a.zip", zipped([("a", at(0))], zipfile.ZIP_BZIP2))])
    assert contents.problems == ("“a” is compressed with method 12. Zip it with Deflate.",)


def test_open_stacks__error_encrypted_zip():
    content = bytearray(zipped([("a", at(0))], zipfile.ZIP_STORED))
    content[6] |= 1  # APPNOTE 4.4.4: bit 0 of the flags, in the local header and in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(EncryptedArchive, match="“a.zip” is locked with a password"):
        stack.open_stacks([("a.zip", bytes(content))])


@pytest.mark.parametrize("kept", [0.2, 0.9, 0.999])
def test_open_stacks__error_truncated_zip(kept):
    content = zipped([(f"{z}", at(z)) for z in range(3)])
    with pytest.raises(UnreadableArchive, match="“a.zip” is a truncated or damaged zip"):
        stack.open_stacks([("a.zip", content[: int(kept * len(content))])])


def test_open_stacks__error_too_many_files(monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILES", 3)
    skipped = [(f".{i}", b"") for i in range(5)]
    assert len(stack.open_stacks([("a.zip", zipped([(f"{z}", at(z)) for z in range(3)] + skipped))]).stacks) == 1
    with pytest.raises(OversizedArchive, match="contains more than 3 files"):
        stack.open_stacks([("a.zip", zipped([(f"{z}", at(z)) for z in range(4)]))])


def test_open_stacks__error_endless_directory(monkeypatch):
    monkeypatch.setattr(archive, "_MAX_ENTRIES", 10)
    monkeypatch.setattr(zipfile, "ZipFile", None)  # it is not even called
    with pytest.raises(OversizedArchive, match="contains more than"):
        stack.open_stacks([("a.zip", b"PK\x03\x04" + b"PK\x01\x02" * 11)])


def test_open_stacks__error_bomb(monkeypatch):
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 5_000_000)
    bomb = zipped([(f"{i}", bytes(2_000_000)) for i in range(3)])
    assert len(bomb) < 10_000
    with pytest.raises(OversizedArchive, match="unpacks to more than .* GiB"):
        stack.open_stacks([("a.zip", bomb)])


def test_the_bytes_of_damaged_files_count_towards_the_limit(monkeypatch):
    """Otherwise 3,000 files with a wrong checksum at their end would be unpacked for hours."""
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 5_000_000)
    content = bytearray(zipped([(f"{i}", bytes(3_000_000)) for i in range(3)]))
    position = -1
    while (position := content.find(b"PK\x01\x02", position + 1)) >= 0:
        content[position + 16] ^= 1  # the checksum, APPNOTE 4.3.12
    with pytest.raises(OversizedArchive, match="unpacks to more than"):
        stack.open_stacks([("a.zip", bytes(content))])


def test_a_file_over_the_limit_is_reported_and_its_rest_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(archive, "MAX_BYTES", 1_000_000)
    contents = stack.open_stacks([("a.zip", zipped([("big", bytes(50_000_000)), ("good", at(0))]))])
    assert names(contents.stacks[0]) == ["good"]
    assert contents.problems == ("“big” has more than 0 MB. Remove it from the zip.",)


def test_a_header_with_a_wrong_size_does_not_bypass_the_limits(monkeypatch):
    """The directory states 10 bytes; the bytes actually unpacked count, and the file then fails its checksum."""
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 1_000_000)
    payload = bytes(3_000_000)
    content = bytearray(zipped([("lie", payload)]))
    start = content.index(b"PK\x01\x02")
    content[start + 24 : start + 28] = struct.pack("<I", 10)
    contents = stack.open_stacks([("a.zip", bytes(content))])
    assert "“lie” is damaged in the zip" in contents.problems[0]
    content[start + 24 : start + 28] = struct.pack("<I", 2**32 - 2)
    content[start + 16 : start + 20] = struct.pack("<I", zlib.crc32(payload))
    with pytest.raises(OversizedArchive, match="unpacks to more than"):
        stack.open_stacks([("a.zip", bytes(content))])


def test_any_corrupted_zip_gives_stacks_or_an_error_message():
    content, rng = zipped([(f"{z}", at(z)) for z in range(3)]), np.random.default_rng(0)
    n_reported = 0
    for _ in range(300):
        corrupted = bytearray(content)
        for position in rng.integers(4, len(content), size=4):
            corrupted[position] = rng.integers(256)
        for position in rng.integers(content.index(b"PK\x01\x02"), len(content), size=2):
            corrupted[position] = rng.integers(256)
        try:
            n_reported += bool(stack.open_stacks([("a.zip", bytes(corrupted))]).problems)
        except KidneyError:
            n_reported += 1
    assert n_reported > 50
