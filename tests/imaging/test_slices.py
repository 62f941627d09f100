"""Reading images: every kind of raster file keeps its greys, every bad file raises a clear error."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from kidney_core.common.errors import OversizedSlice, UnreadableSlice, UnsupportedSlice
from kidney_core.imaging import slices

RAMP = np.tile(np.arange(256, dtype=np.uint8), (64, 1))  # (64, 256), every grey once a row


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_read_slice_keeps_eight_bit_greys_exactly(kind):
    read = slices.read_slice(encoded(Image.fromarray(RAMP), kind), name="a")
    np.testing.assert_array_equal(read.grey8(), RAMP)
    assert read.unit == "grey"


def test_read_slice_reads_jpeg_within_its_compression_loss():
    read = slices.read_slice(encoded(Image.fromarray(RAMP), "JPEG", quality=95), name="a")
    assert np.abs(read.grey8().astype(int) - RAMP).max() <= 4


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "1", "CMYK"])
def test_read_slice_reduces_colour_modes_to_the_same_grey(mode):
    grey = Image.fromarray(np.where(RAMP > 127, 255, 0).astype(np.uint8))
    kind = "TIFF" if mode == "CMYK" else "PNG"
    read = slices.read_slice(encoded(grey.convert(mode), kind), name="a")
    assert np.abs(read.grey8().astype(int) - np.asarray(grey)).max() <= 1


def test_read_slice_shows_transparent_pixels_black():
    pixels = np.full((8, 8, 4), 255, np.uint8)
    pixels[:4, :, 3] = 0
    read = slices.read_slice(encoded(Image.fromarray(pixels), "PNG"), name="a")
    assert (read.grey8()[:4] == 0).all()
    assert (read.grey8()[4:] == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_read_slice_keeps_the_greys_of_sixteen_bit_images(kind):
    twelve_bit = np.tile(np.arange(0, 4096, 4, dtype=np.uint16), (64, 1))
    read = slices.read_slice(encoded(Image.fromarray(twelve_bit), kind), name="a")
    shown = read.grey8()
    clipped = ((shown == 0) | (shown == 255)).mean()
    assert clipped <= 0.01
    assert (np.diff(shown[0].astype(int)) >= 0).all()


def test_read_slice_reads_32_bit_float_tiff():
    values = np.linspace(-1000, 1000, 64 * 64, dtype=np.float32).reshape(64, 64)
    read = slices.read_slice(encoded(Image.fromarray(values), "TIFF"), name="a")
    np.testing.assert_array_equal(read.pixels, values)
    assert read.grey8()[0, 0] == 0
    assert read.grey8()[-1, -1] == 255


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_read_slice_applies_exif_orientation(orientation, kind):
    upright = np.zeros((48, 64), np.uint8)
    upright[:16, :16] = 250
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(upright)
    if orientation in undo:
        stored = stored.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = slices.read_slice(encoded(stored, kind, exif=exif), name="a").grey8()
    assert np.abs(read.astype(int) - upright).max() <= 6


def test_read_slice_recognises_content_not_extension(tmp_path):
    path = tmp_path / "scan.txt"
    path.write_bytes(encoded(Image.fromarray(RAMP), "PNG"))
    assert slices.read_slice(path).facts["Format"].startswith("PNG")


def test_read_slice_reads_the_pages_of_a_tiff():
    pages = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (10, 20, 30)]
    content = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert slices.read_slice(content, name="a").n_frames == 3
    assert (slices.read_slice(content, name="a", frame=2).grey8() == 30).all()
    with pytest.raises(UnsupportedSlice, match="has 3 images; there is no image 4"):
        slices.read_slice(content, name="a", frame=3)


def test_read_slice_notes_colour():
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    assert "colour" in slices.read_slice(encoded(Image.fromarray(red), "PNG"), name="a").notes[0]


def test_read_slice__error_empty():
    with pytest.raises(UnreadableSlice, match="“a.png” is empty"):
        slices.read_slice(b"", name="a.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
def test_read_slice__error_truncated(kind):
    content = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)), kind)
    with pytest.raises(UnreadableSlice, match="truncated or damaged"):
        slices.read_slice(content[: len(content) * 2 // 3], name="a")


def test_read_slice__error_not_an_image():
    with pytest.raises(UnreadableSlice, match="not a PNG, JPEG, BMP, TIFF, GIF, WebP, JPEG 2000 or DICOM image"):
        slices.read_slice(b"MZ" + b"\0" * 500, name="virus.png")


def test_read_slice__error_missing_file(tmp_path):
    with pytest.raises(UnreadableSlice, match="cannot be opened"):
        slices.read_slice(tmp_path / "none.png")


def test_read_slice__error_animation():
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (0, 255)]
    content = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    with pytest.raises(UnsupportedSlice, match="2 images in one PNG"):
        slices.read_slice(content, name="a")


def test_the_first_picture_of_a_camera_file_is_read():
    """Phones put a gain map or a thumbnail behind the picture (MPO)."""
    frames = [Image.fromarray(np.full((48, 64), value, np.uint8)) for value in (100, 255)]
    content = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    image = slices.read_slice(content, name="a.jpg")
    assert (image.n_frames, image.pixels.shape) == (1, (48, 64))
    assert abs(int(image.pixels.mean()) - 100) <= 1
    with pytest.raises(UnreadableSlice, match="truncated or damaged"):
        slices.read_slice(content[:300], name="a.jpg")


def test_read_slice__error_too_many_pixels_before_decoding():
    content = encoded(Image.new("1", (20_000, 4_000)), "PNG")
    with pytest.raises(OversizedSlice, match="20000 × 4000 pixels; the limit is 64 megapixels"):
        slices.read_slice(content, name="a")


def test_read_slice__error_too_many_bytes(tmp_path):
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(slices.MAX_BYTES + 1)
    with pytest.raises(OversizedSlice, match="the limit is 400 MB"):
        slices.read_slice(path)


def test_window_maps_its_centre_to_mid_grey_and_its_edges_to_black_and_white():
    values = np.array([[-160.0, 40.0, 240.0, -1000.0, 3000.0]], np.float32)
    shown = slices.Slice("a", values, "HU", slices.SOFT_TISSUE).grey8()
    assert shown.tolist() == [[0, 128, 255, 0, 255]]


def test_inverted_slice_shows_low_values_bright():
    values = np.array([[0, 100]], np.uint8)
    shown = slices.Slice("a", values, "grey", slices.Window(127.5, 255), inverted=True).grey8()
    assert shown.tolist() == [[255, 155]]


def test_read_slice_inverts_a_16_bit_white_is_zero_tiff():
    """Pillow inverts such a file with 8 bits but not with 16."""
    values = np.array([[0, 1000], [30000, 65535]], "<u2")
    tags = [(256, 4, 2), (257, 4, 2), (258, 3, 16), (259, 3, 1), (262, 3, 0), (273, 4, 126), (277, 3, 1), (278, 4, 2)]
    tags.append((279, 4, values.nbytes))
    header = b"II" + struct.pack("<HIH", 42, 8, len(tags))
    fields = [struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in tags]
    content = header + b"".join(fields) + struct.pack("<I", 0)
    content = content.ljust(126, b"\0") + values.tobytes()
    assert slices.read_slice(content, name="a").grey8().tolist() == [[255, 251], [138, 0]]


def test_read_slice__error_extreme_aspect_ratio():
    """Padding such a strip to a square would take gigabytes."""
    content = encoded(Image.new("L", (30_000, 1)), "PNG")
    with pytest.raises(UnsupportedSlice, match="30000 × 1 pixels, which is not the shape of a CT slice"):
        slices.read_slice(content, name="a")


def test_read_slice__error_png_with_16_bits_per_colour():
    rows = b"".join(b"\0" + struct.pack(">HHH", value, value, value) * 4 for value in (0, 1000, 3000, 4095))

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    with pytest.raises(UnsupportedSlice, match="16 bits per colour.*Export it as 16-bit grey"):
        slices.read_slice(content, name="a")


def test_read_content__error_oversized_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(slices, "MAX_BYTES", 1000)
    path = tmp_path / "big.dcm"
    path.write_bytes(b"0" * 2000)
    monkeypatch.setattr(type(path), "read_bytes", lambda self: pytest.fail("the file was read"))
    with pytest.raises(OversizedSlice, match="the limit is"):
        slices.read_content(path, name="big.dcm")
