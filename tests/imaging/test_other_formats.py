"""Formats that people really have: read as their plain twins, or told what they are and how to convert them."""

import gzip
import io
import struct
import tarfile

import gdcm
import numpy as np
import pydicom
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from kidney_core.common.errors import SliceError, UnsupportedSlice
from kidney_core.imaging.slices import read_slice
from tests.ct_files import ct_dataset, saved


def grey(low=0, high=255, dtype=np.uint8):
    smooth = gaussian_filter(np.random.default_rng(0).normal(0, 1, (60, 72)), 3)
    return np.rint((smooth - smooth.min()) / np.ptp(smooth) * (high - low) + low).astype(dtype)


def encoded(pixels, kind, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "options"),
    [("WEBP", {"lossless": True}), ("GIF", {}), ("JPEG2000", {"irreversible": False}), ("JPEG2000", {"no_jp2": True})],
)
def test_a_lossless_picture_is_equal_to_its_png_twin(kind, options):
    pixels = grey()
    twin = read_slice(encoded(pixels, "PNG"), name="a.png")
    image = read_slice(encoded(pixels, kind, **options), name="a")
    np.testing.assert_array_equal(image.grey8(), twin.grey8())
    assert image.facts["Format"].startswith(kind)


def test_a_jpeg_2000_of_16_bits_keeps_them():
    pixels = grey(0, 4095, np.uint16)
    np.testing.assert_array_equal(read_slice(encoded(pixels, "JPEG2000", irreversible=False), name="a").pixels, pixels)


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "JPEG2000"])
def test_a_truncated_picture_is_a_sentence(kind):
    content = encoded(grey(), kind)
    with pytest.raises(SliceError, match="truncated or damaged"):
        read_slice(content[: len(content) // 2], name="a")


def test_an_animation_is_a_sentence():
    frames = [Image.fromarray(grey()), Image.fromarray(255 - grey())]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(UnsupportedSlice, match="2 images in one GIF"):
        read_slice(file.getvalue(), name="a.gif")


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        content = encoded(grey(), "PNG")
        info = tarfile.TarInfo("a.png")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"7z\xbc\xaf\x27\x1c" + bytes(100), "“a” is a 7z archive. Unpack it"),
        (b"Rar!\x1a\x07\x01\0" + bytes(100), "“a” is a RAR archive"),
        (gzip.compress(tar()), "“a” is compressed with gzip. Unpack it"),
        (tar(), "“a” is a tar archive"),
        (b"%PDF-1.7\n", "“a” is a PDF document. Export the slice"),
        (struct.pack(">I", 24) + b"ftypheic" + bytes(100), "“a” is a HEIC picture, as phones take them"),
        (struct.pack(">I", 24) + b"ftypavif" + bytes(100), "“a” is an AVIF picture"),
        (struct.pack(">I", 24) + b"ftypisom" + bytes(100), "“a” is a video"),
        (bytes(344) + b"ni1\0" + bytes(100), "“a” is the header of a NIfTI volume in two parts"),
        (b"NRRD0005\n", "“a” is a volume in NRRD format"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "“a” is an HDF5 file, such as weights of Keras"),
    ],
)
def test_what_is_no_picture_is_named_with_what_to_do(content, sentence):
    with pytest.raises(UnsupportedSlice) as raised:
        read_slice(content, name="a")
    assert str(raised.value).startswith(sentence)


def test_damaged_exif_does_not_matter_to_a_sound_picture():
    exif = Image.Exif()
    exif[271] = "a maker of cameras"
    plain = encoded(grey(), "JPEG", quality=95)
    content = bytearray(encoded(grey(), "JPEG", quality=95, exif=exif))
    start = content.index(b"Exif\0\0") + 6
    content[start + 8 : start + 10] = b"\xff\xff"  # a directory of 65,535 entries
    image = read_slice(bytes(content), name="a.jpg")
    np.testing.assert_array_equal(image.pixels, read_slice(plain, name="b.jpg").pixels)


def tiff(pixels, **tags) -> bytes:
    """An uncompressed TIFF of one strip, written by hand: Pillow writes none of these kinds."""
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    formats = {"u": 1, "i": 2, "f": 3, "c": 6}
    bits = pixels.dtype.itemsize * 8
    entries = {256: pixels.shape[1], 257: pixels.shape[0], 259: 1, 262: 1 if samples == 1 else 2, 277: samples}
    entries |= {278: pixels.shape[0], 279: pixels.nbytes, 284: 1, **tags}
    n, data = len(entries) + 3, pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    offset = 8 + 2 + 12 * n + 4
    many = (
        struct.pack("<" + "H" * samples, *[bits] * samples),
        struct.pack("<" + "H" * samples, *[formats[pixels.dtype.kind]] * samples),
    )
    place = offset
    extra = b""
    rows = {tag: (4, 1, value) for tag, value in entries.items()}
    for tag, packed in ((258, many[0]), (339, many[1])):
        if samples == 1:
            rows[tag] = (3, 1, struct.unpack("<H", packed)[0])
        else:
            rows[tag] = (3, samples, place + len(extra))
            extra += packed
    rows[273] = (4, 1, offset + len(extra))
    body = b"".join(struct.pack("<HHII", tag, *rows[tag]) for tag in sorted(rows))
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", n) + body + bytes(4) + extra + data


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float32])
def test_a_tiff_keeps_its_numbers(dtype):
    low, high = (-100, 100) if dtype == np.int8 else (0, 1400) if dtype == np.uint16 else (-1000, 1400)
    pixels = grey(low, high, dtype)
    np.testing.assert_array_equal(read_slice(tiff(pixels), name="a.tif").pixels, pixels)


def test_a_tiff_of_more_bits_in_colour_is_a_sentence():
    pixels = np.repeat(grey(0, 4095, np.uint16)[:, :, None], 3, axis=2)
    with pytest.raises(UnsupportedSlice, match="more than 8 bits per colour"):
        read_slice(tiff(pixels), name="a.tif")


def test_a_tiff_of_64_bits_is_a_true_sentence():
    with pytest.raises(UnsupportedSlice, match="a TIFF of a kind that cannot be read here"):
        read_slice(tiff(grey(-1000, 1400, np.float64)), name="a.tif")


def capture(colours, **tags):
    given = {
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "RescaleIntercept": None,
        "RescaleSlope": None,
        **tags,
    }
    dataset = ct_dataset(grey().astype(np.uint16), **given)
    planes = colours if given["PlanarConfiguration"] == 0 else colours.transpose(2, 0, 1)
    dataset.PixelData = np.ascontiguousarray(planes).tobytes()
    return saved(dataset)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("modality", ["CT", "OT"])
def test_a_grey_screen_capture_is_read_as_its_png_twin(planar, modality):
    colours = np.repeat(grey()[:, :, None], 3, axis=2)
    image = read_slice(capture(colours, PlanarConfiguration=planar, Modality=modality), name="a")
    np.testing.assert_array_equal(image.grey8(), read_slice(encoded(grey(), "PNG"), name="b").grey8())
    assert image.unit == "grey"
    assert image.notes[0] == "The file is a screen capture without Hounsfield units."


def test_a_screen_capture_in_colour_says_so():
    colours = np.stack([grey(), 255 - grey(), grey() // 2], axis=2)
    image = read_slice(capture(colours), name="a")
    assert any("in colour" in note for note in image.notes)
    np.testing.assert_array_equal(image.grey8(), read_slice(encoded(colours, "PNG"), name="b").grey8())


@pytest.mark.parametrize("n_zeros", [2, 512, 500_000])
def test_zeros_behind_the_pixel_data_do_not_matter(n_zeros):
    content = saved(ct_dataset(grey(-900, 900, np.int16)))
    np.testing.assert_array_equal(
        read_slice(content + bytes(n_zeros), name="a").pixels, read_slice(content, name="b").pixels
    )


def test_values_at_the_upper_end_of_their_bits_are_brought_down():
    values = grey(0, 4095, np.uint16)
    plain = ct_dataset(values, BitsStored=12, HighBit=11, RescaleIntercept=-1024)
    shifted = ct_dataset(values << 4, BitsStored=12, HighBit=15, RescaleIntercept=-1024)
    np.testing.assert_array_equal(
        read_slice(saved(shifted), name="a").pixels, read_slice(saved(plain), name="b").pixels
    )


def test_a_wrong_high_bit_of_values_at_the_lower_end_is_ignored():
    values = grey(0, 4095, np.uint16)
    wrong = ct_dataset(values, BitsStored=12, HighBit=15, RescaleIntercept=-1024)
    np.testing.assert_array_equal(read_slice(saved(wrong), name="a").pixels, values.astype(np.float32) - 1024)


def test_a_jpeg_extended_of_12_bits_is_read_as_its_lossless_twin(tmp_path):
    plain = saved(ct_dataset(grey(0, 4095, np.uint16), BitsStored=12, HighBit=11, RescaleIntercept=-1024))
    (tmp_path / "plain.dcm").write_bytes(plain)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(tmp_path / "plain.dcm"))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(tmp_path / "extended.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    content = (tmp_path / "extended.dcm").read_bytes()
    assert pydicom.dcmread(io.BytesIO(content)).file_meta.TransferSyntaxUID == pydicom.uid.JPEGExtended12Bit
    image = read_slice(content, name="a")
    assert image.pixels.max() - image.pixels.min() > 4000
    np.testing.assert_allclose(image.pixels, read_slice(plain, name="b").pixels, atol=3)
