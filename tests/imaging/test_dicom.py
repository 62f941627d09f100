"""DICOM: Hounsfield units, windows, frames, compressed transfer syntaxes, and no patient data."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from kidney_core.common.errors import SliceError, UnreadableSlice, UnsupportedSlice
from kidney_core.imaging import slices
from tests import ct_files
from tests.ct_files import saved

STORED = np.arange(64 * 48, dtype=np.int16).reshape(64, 48) - 1024


def ct_dataset(stored: np.ndarray = STORED, **tags) -> pydicom.Dataset:
    """Steps of two Hounsfield units, from -24."""
    defaults = {"BodyPartExamined": "CANARY", "RescaleIntercept": -24, "RescaleSlope": 2}
    defaults |= {"PixelSpacing": [0.7, 0.8], "SliceThickness": 5}
    return ct_files.ct_dataset(stored, **{**defaults, **tags})


def test_read_dicom_gives_hounsfield_units_exactly():
    read = slices.read_slice(saved(ct_dataset()), name="ct")
    np.testing.assert_array_equal(read.pixels, STORED.astype(np.float32) * 2 - 24)
    assert read.unit == "HU"
    assert read.spacing_mm == (0.7, 0.8)
    assert read.facts["Plane"] == "axial"


def test_read_dicom_uses_soft_tissue_where_the_file_has_no_window():
    read = slices.read_slice(saved(ct_dataset()), name="ct")
    assert read.window == slices.SOFT_TISSUE
    assert "400/40" in read.facts["Window"]


def test_read_dicom_takes_the_first_window_of_the_file():
    read = slices.read_slice(saved(ct_dataset(WindowCenter=[60, 300], WindowWidth=[361, 1500])), name="ct")
    low, high = read.window.center - read.window.width / 2, read.window.center + read.window.width / 2
    # PS3.3 C.11.2.1.2.1: black up to c - 0.5 - (w-1)/2, white above c - 0.5 + (w-1)/2
    assert (low, high) == (60 - 0.5 - 180, 60 - 0.5 + 180)


def test_read_dicom_shows_monochrome1_inverted():
    stored = np.array([[0, 1000]], np.int16)
    plain = slices.read_slice(saved(ct_dataset(stored)), name="ct").grey8()
    inverted = slices.read_slice(saved(ct_dataset(stored, PhotometricInterpretation="MONOCHROME1")), name="ct").grey8()
    np.testing.assert_array_equal(inverted, 255 - plain)


def test_read_dicom_reads_each_frame():
    frames = np.stack([np.full((16, 16), value, np.int16) for value in (0, 50, 100)])
    content = saved(ct_dataset(frames))
    assert slices.read_slice(content, name="ct").n_frames == 3
    assert (slices.read_slice(content, name="ct", frame=2).pixels == 100 * 2 - 24).all()
    with pytest.raises(UnsupportedSlice, match="has 3 frames; there is no frame 4"):
        slices.read_slice(content, name="ct", frame=3)


def test_read_dicom_reads_a_file_without_preamble():
    dataset = ct_dataset()
    buffer = io.BytesIO()
    del dataset.file_meta
    pydicom.dcmwrite(buffer, dataset, implicit_vr=True, little_endian=True)
    content = buffer.getvalue()
    assert content[128:132] != b"DICM"
    np.testing.assert_array_equal(slices.read_slice(content, name="ct").pixels, STORED.astype(np.float32) * 2 - 24)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_read_dicom_decodes_compressed_syntaxes_exactly(syntax):
    stored = (STORED - STORED.min()).astype(np.uint16)
    dataset = ct_dataset(stored)
    dataset.compress(syntax)
    read = slices.read_slice(saved(dataset), name="ct")
    np.testing.assert_array_equal(read.pixels, stored.astype(np.float32) * 2 - 24)


def test_read_dicom_decodes_jpeg_lossless_exactly(tmp_path):
    import gdcm

    stored = (STORED - STORED.min()).astype(np.uint16)
    plain, compressed = tmp_path / "plain.dcm", tmp_path / "compressed.dcm"
    plain.write_bytes(saved(ct_dataset(stored)))
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(compressed))
    assert writer.Write()
    read = slices.read_slice(compressed)
    assert "JPEG Lossless" in read.facts["Format"]
    np.testing.assert_array_equal(read.pixels, stored.astype(np.float32) * 2 - 24)


def test_read_dicom_reads_pydicoms_ct_file():
    path = pydicom.data.get_testdata_file("CT_small.dcm", download=False)
    reference = pydicom.dcmread(path)
    read = slices.read_slice(Path(path).read_bytes(), name="ct")
    expected = reference.pixel_array * float(reference.RescaleSlope) + float(reference.RescaleIntercept)
    np.testing.assert_array_equal(read.pixels, expected)


def test_a_dicom_slice_contains_no_patient_data():
    read = slices.read_slice(saved(ct_dataset()), name="ct")
    assert "canary" not in repr(read).lower()
    assert "Body part" not in read.facts


def test_read_dicom_shows_a_known_body_part():
    assert slices.read_slice(saved(ct_dataset(BodyPartExamined="ABDOMEN")), name="ct").facts["Body part"] == "Abdomen"


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Modality": "MR"}, "is a magnetic resonance image .MR., not CT"),
        ({"PixelData": None}, "without an image"),
        ({"PhotometricInterpretation": "RGB"}, "is a colour DICOM image"),
    ],
)
def test_read_dicom__error_unsupported(tags, message):
    with pytest.raises(UnsupportedSlice, match=message):
        slices.read_slice(saved(ct_dataset(**tags)), name="ct")


def test_read_dicom__error_missing_tag():
    with pytest.raises(UnreadableSlice, match="lacks the DICOM tag Rows"):
        slices.read_slice(saved(ct_dataset(Rows=None)), name="ct")


def test_read_dicom__error_truncated_names_no_patient():
    content = saved(ct_dataset())
    with pytest.raises(UnreadableSlice, match="cannot be decoded") as caught:
        slices.read_slice(content[:-2000], name="ct")
    assert "canary" not in str(caught.value).lower()


def test_read_dicom__error_damaged_compressed_frame():
    dataset = ct_dataset((STORED - STORED.min()).astype(np.uint16))
    dataset.compress(RLELossless)
    dataset.PixelData = encapsulate([b"\x01\x00\x00\x00" + b"\xff" * 100])
    with pytest.raises(UnreadableSlice, match="damaged, truncated, or compressed"):
        slices.read_slice(saved(dataset), name="ct")


def test_windowing_agrees_with_pydicom():
    from pydicom.pixels import apply_voi_lut

    dataset = ct_dataset(WindowCenter=40, WindowWidth=400)
    read = slices.read_slice(saved(dataset), name="ct")
    reference = apply_voi_lut(read.pixels, dataset)  # pydicom scales to the range of the stored values
    reference = (reference - reference.min()) / (reference.max() - reference.min()) * 255
    assert np.abs(read.grey8() - reference).max() <= 1


def damaged(**values) -> bytes:
    """A file with values as they should not be, written without pydicom's own checks."""
    dataset = ct_dataset()
    for keyword, value in values.items():
        tag = tag_for_keyword(keyword)
        dataset[tag] = DataElement(tag, dictionary_VR(tag), value, validation_mode=pydicom.config.IGNORE)
    before = pydicom.config.settings.writing_validation_mode
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    try:
        return saved(dataset)
    finally:
        pydicom.config.settings.writing_validation_mode = before


@pytest.mark.parametrize(
    "values",
    [
        {"PixelSpacing": None},
        {"PixelSpacing": "0.5"},
        {"ImageOrientationPatient": None},
        {"SliceThickness": None},
        {"KVP": None},
        {"WindowCenter": None, "WindowWidth": "400"},
        {"WindowCenter": "40", "WindowWidth": None},
        {"NumberOfFrames": None},
    ],
)
def test_read_dicom_ignores_damaged_optional_tags(values):
    read = slices.read_slice(damaged(**values), name="ct")
    np.testing.assert_array_equal(read.pixels, STORED * 2.0 - 24)
    assert read.window == slices.SOFT_TISSUE


@pytest.mark.parametrize("values", [{"RescaleSlope": None}, {"RescaleIntercept": None}, {"RescaleSlope": "0"}])
def test_read_dicom_gives_no_hounsfield_units_where_the_rescale_is_damaged(values):
    read = slices.read_slice(damaged(**values, WindowCenter="40", WindowWidth="400"), name="ct")
    assert read.unit == "grey"
    np.testing.assert_array_equal(read.pixels, STORED)
    assert read.grey8().min() == 0
    assert read.grey8().max() == 255  # not the file's window, which applies to values that cannot be computed
    assert "no Hounsfield units" in read.notes[0]


@pytest.mark.parametrize("values", [{"Rows": None}, {"Columns": None}, {"Rows": 0}])
def test_read_dicom__error_required_tag_that_is_empty(values):
    with pytest.raises(UnreadableSlice, match="lacks the DICOM tag (Rows|Columns)"):
        slices.read_slice(damaged(**values), name="ct")


def test_read_dicom_gives_a_slice_or_an_error_message_for_any_corrupted_header():
    """pydicom converts tags at their first access, so damage shows late and as any exception."""
    content, rng = bytearray(saved(ct_dataset())), np.random.default_rng(0)
    sentences = []
    for _ in range(400):
        flipped = bytearray(content)
        for position in rng.integers(132, 900, size=int(rng.integers(1, 4))):
            flipped[position] = rng.integers(256)
        try:
            slices.read_slice(bytes(flipped), name="ct").grey8()
        except SliceError as error:
            sentences.append(str(error))
    assert len(sentences) > 10
    assert not [sentence for sentence in sentences if "Canary" in sentence]


def test_read_dicom_reads_rescale_and_window_of_enhanced_ct_from_its_functional_groups():
    """PS3.3 C.7.6.16.2.9 and 10: per frame first, then shared by all frames."""
    dataset = ct_dataset(np.stack([STORED, STORED]), RescaleSlope=None, RescaleIntercept=None, PixelSpacing=None)

    def item(**tags):
        dataset = pydicom.Dataset()
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        return dataset

    shared = item(PixelMeasuresSequence=[item(PixelSpacing=[0.6, 0.6])])
    shared.FrameVOILUTSequence = [item(WindowCenter=50, WindowWidth=350)]
    frames = [
        item(PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=offset, RescaleType="HU")])
        for offset in (-1000, -24)
    ]
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], frames
    for frame, offset in enumerate((-1000, -24)):
        read = slices.read_slice(saved(dataset), name="ct", frame=frame)
        assert read.unit == "HU"
        np.testing.assert_array_equal(read.pixels, STORED + float(offset))
        assert read.window == slices.Window(49.5, 349)
        assert read.spacing_mm == (0.6, 0.6)
