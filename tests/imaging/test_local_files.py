"""Files of this machine are sorted by their headers, and read whole only when a slice is needed."""

import gzip
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kidney_core.common.errors import EncryptedArchive, OversizedArchive, PathError, SliceError, UnreadableSlice
from kidney_core.imaging import archive, local_files, stack
from kidney_core.imaging.file_content import HEAD_BYTES
from tests.imaging.test_nifti import axial, nifti  # noqa: F401 - a fixture
from tests.imaging.test_stack import at, names, png, values, zipped

LARGE_PX = 256  # 128 KB, of which the first 64 KB hold the header


def opened(path, roots=None):
    return stack.open_files(local_files.members(Path(path), roots))


@pytest.fixture
def series(tmp_path):
    """A folder with two series in folders of their own, six slices in all."""
    for z in range(4):
        write(tmp_path / "S1" / f"IM{z}", at(z, z, size_px=LARGE_PX))
    for z in range(2):
        write(tmp_path / "S2" / f"IM{z}", at(z, 10 + z, size_px=LARGE_PX, SeriesInstanceUID="1.2.4"))
    return tmp_path


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def whole_reads(monkeypatch):
    """The names of the files that are read whole, as they are."""
    names, load = [], local_files._load

    def noted(path, *others):
        names.append(path.name)
        return load(path, *others)

    monkeypatch.setattr(local_files, "_load", noted)
    return names


def test_a_folder_is_sorted_by_the_headers_of_its_files_and_slices_are_read_when_they_are_shown(series, whole_reads):
    contents = opened(series)
    assert [names(each) for each in contents.stacks] == [[f"S1/IM{z}" for z in range(4)], ["S2/IM0", "S2/IM1"]]
    assert contents.problems == ()
    assert len({each.fingerprint for each in contents.stacks}) == 2
    assert whole_reads == []
    assert float(stack.open_item(contents.stacks[0].items[2]).pixels[0, 0]) == 2
    assert whole_reads == ["IM2"]


def test_the_digest_of_a_scan_is_that_of_its_upload(series, whole_reads):
    files = [(path.name, path.read_bytes()) for path in sorted((series / "S1").iterdir())]
    (uploaded,) = stack.open_stacks(files).stacks
    (local,) = opened(series / "S1").stacks
    values(local)
    n_read = len(whole_reads)
    assert local.sha256 == uploaded.sha256 == uploaded.fingerprint
    assert len(whole_reads) == n_read  # known since the slices were shown
    assert opened(series / "S1").stacks[0].sha256 == uploaded.sha256


@pytest.mark.parametrize("kind", ["deflated", "long header"])
def test_a_file_whose_header_is_longer_is_read_whole_at_once(tmp_path, whole_reads, kind):
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    from tests.ct_files import ct_dataset, saved

    noise = np.random.default_rng(0).integers(0, 2000, (LARGE_PX, LARGE_PX)).astype(np.int16)
    dataset = ct_dataset(noise)
    if kind == "deflated":
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    else:
        dataset.add_new(0x00091001, "OB", bytes(2 * HEAD_BYTES))
    write(tmp_path / "a", saved(dataset))
    (only,) = opened(tmp_path).stacks
    assert whole_reads == ["a"]
    np.testing.assert_array_equal(stack.open_item(only.items[0]).pixels, noise)


def test_pictures_are_counted_by_their_headers_and_the_pages_of_a_tiff_in_the_whole_file(tmp_path, whole_reads):
    noise = np.random.default_rng(0).integers(0, 255, (400, 400), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    Image.fromarray(noise).save(tmp_path / "b.jpg")
    pages = [Image.fromarray(noise + i) for i in range(3)]
    pages[0].save(tmp_path / "c.tif", save_all=True, append_images=pages[1:])
    (only,) = opened(tmp_path).stacks
    assert names(only) == ["a.png", "b.jpg", "c.tif, page 1", "c.tif, page 2", "c.tif, page 3"]
    assert whole_reads == ["c.tif"]
    np.testing.assert_array_equal(stack.open_item(only.items[4]).pixels, noise + 2)


@pytest.mark.parametrize("packed", [True, False])
def test_a_volume_is_counted_by_its_header(tmp_path, axial, packed, whole_reads):  # noqa: F811
    # Noise, so that it is longer than its head when it is packed.
    large = np.random.default_rng(0).integers(-100, 200, axial.shape).astype(np.int16)
    content = nifti(large, packed=packed)
    assert len(content) > HEAD_BYTES
    write(tmp_path / "ct.nii", content)
    local = opened(tmp_path / "ct.nii").stacks
    assert whole_reads == []
    (*uploaded,) = stack.open_stacks([("ct.nii", content)]).stacks
    assert [each.title for each in local] == [each.title for each in uploaded]
    found = [stack.open_item(each.items[3]).pixels for each in local]
    assert whole_reads == ["ct.nii"]  # a decoder keeps it for its other slices
    for pixels, other in zip(found, uploaded, strict=True):
        np.testing.assert_array_equal(pixels, stack.open_item(other.items[3]).pixels)


def test_a_truncated_volume_is_told_by_its_header_and_its_size(tmp_path, axial):  # noqa: F811
    content = nifti(axial, packed=False)
    write(tmp_path / "ct.nii", content[:-1000])
    (problem,) = opened(tmp_path).problems
    assert problem.startswith("“ct.nii” is a damaged or truncated NIfTI file")
    write(tmp_path / "ct.nii", gzip.compress(nifti(axial, packed=False))[:-1000])
    for each in opened(tmp_path).stacks[0].items:
        with pytest.raises(UnreadableSlice, match="“ct.nii, axial .” is a damaged or truncated NIfTI file"):
            stack.open_item(each)


def test_a_zip_is_read_where_it_lies_and_stays_open(tmp_path, monkeypatch):
    files = [(f"CT/IM{z}", at(z, z, size_px=LARGE_PX)) for z in range(4)]
    write(tmp_path / "scan.zip", zipped(files))
    unpacked, unpack = [], archive._unpack
    monkeypatch.setattr(archive, "_unpack", lambda *each: unpacked.append(each[2]) or unpack(*each))
    (only,) = opened(tmp_path).stacks
    assert unpacked == []
    assert values(only) == [0, 1, 2, 3]
    assert len(unpacked) == 4
    assert only.sha256 == stack.open_stacks(files).stacks[0].sha256


def test_a_damaged_file_in_a_zip_is_told_when_it_is_shown(tmp_path):
    content = bytearray(zipped([("bad", at(1, size_px=LARGE_PX))], zipfile.ZIP_STORED))
    content[-5000] ^= 255
    write(tmp_path / "scan.zip", bytes(content))
    (only,) = opened(tmp_path).stacks
    with pytest.raises(UnreadableSlice, match="“bad” is damaged in the zip"):
        stack.open_item(only.items[0])


def test_a_zip__error_endless_directory_and_password(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_MAX_ENTRIES", 10)
    write(tmp_path / "a.zip", zipped([(f"{z}", b"") for z in range(11)]))
    with pytest.raises(OversizedArchive, match="contains more than"):
        opened(tmp_path)
    content = bytearray(zipped([("a", at(0))], zipfile.ZIP_STORED))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    write(tmp_path / "a.zip", bytes(content))
    with pytest.raises(EncryptedArchive):
        opened(tmp_path)


def test_what_systems_leave_behind_is_skipped_and_what_cannot_be_used_is_told(tmp_path):
    for name in ("CT/.DS_Store", ".hidden/IM1", "DICOMDIR", "__MACOSX/IM1"):
        write(tmp_path / name, b"not an image")
    write(tmp_path / "CT" / "IM1", content := at(1))
    write(tmp_path / "CT" / "copy", content)
    write(tmp_path / "CT" / "notes.txt", b"some text")
    (tmp_path / "CT" / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "CT" / "pipe")
    contents = opened(tmp_path)
    assert sum(len(each.items) for each in contents.stacks) == 1
    problems = sorted(contents.problems)
    assert [each.split("”")[0] for each in problems] == ["“CT/IM1", "“CT/dangling", "“CT/notes.txt", "“CT/pipe"]
    assert problems[0].endswith("is the same file as “CT/copy” and is counted once.")
    assert "is not a file but a pipe" in problems[3]


def test_a_folder_that_may_not_be_listed_is_told(series, monkeypatch):
    scan = os.scandir

    def refused(path):
        if str(path).endswith("S2"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    contents = opened(series)
    assert [len(each.items) for each in contents.stacks] == [4]
    assert contents.problems == ("“S2” cannot be opened (Permission denied). Check that the app may read it.",)


def test_linked_folders_are_read_once(tmp_path):
    write(tmp_path / "CT" / "IM1", at(1))
    (tmp_path / "CT" / "again").symlink_to(tmp_path / "CT")
    contents = opened(tmp_path)
    assert names(contents.stacks[0]) == ["CT/IM1"]
    assert contents.problems == ()


def test_a_file_that_changed_or_went_away_is_not_shown_as_another(series):
    items = opened(series).stacks[0].items
    write(series / "S1" / "IM0", at(0, 99, size_px=LARGE_PX) + b"\0\0")
    (series / "S1" / "IM1").unlink()
    with pytest.raises(UnreadableSlice, match="“S1/IM0” has changed since it was opened. Enter the path again"):
        stack.open_item(items[0])
    with pytest.raises(UnreadableSlice, match="“S1/IM1” cannot be opened"):
        stack.open_item(items[1])
    assert float(stack.open_item(items[2]).pixels[0, 0]) == 2


def test_a_link_that_is_turned_out_of_the_roots_later_is_not_followed(series, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "IM0"
    outside.write_bytes((series / "S1" / "IM0").read_bytes())
    items = opened(series, [series]).stacks[0].items
    (series / "S1" / "IM0").unlink()
    (series / "S1" / "IM0").symlink_to(outside)
    with pytest.raises(UnreadableSlice, match="leads out of the allowed folders"):
        stack.open_item(items[0])
    assert "leads out" in opened(series, [series]).problems[0]


def test_members__error_nothing_there_and_too_many_files(series, monkeypatch):
    with pytest.raises(PathError, match="There is no folder or file"):
        opened(series / "nowhere")
    monkeypatch.setattr(local_files, "MAX_FILES", 5)
    with pytest.raises(PathError, match="holds more than 5 files"):
        opened(series)


def test_a_single_file_is_named_by_its_name(tmp_path):
    write(tmp_path / "a.png", png(3))
    assert names(opened(tmp_path / "a.png").stacks[0]) == ["a.png"]
    write(tmp_path / "empty", b"")
    assert opened(tmp_path / "empty").problems == ("“empty” is empty (0 bytes). Export or copy the file again.",)


def test_any_file_cut_short_gives_a_slice_or_a_sentence(tmp_path):
    content = at(1, size_px=LARGE_PX)
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (400, 400), np.uint8)).save(buffer, "PNG")
    for whole in (content, buffer.getvalue()):
        for kept in (140, 300, 1000, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 1, len(whole) - 1):
            write(tmp_path / "a", whole[:kept])
            contents = opened(tmp_path / "a")
            if contents.stacks:
                with pytest.raises(SliceError, match="“a”"):
                    stack.open_item(contents.stacks[0].items[0])
            else:
                assert contents.problems[0].startswith("“a”")
