"""Hounsfield units without tags are recognised by their values, and nothing else is taken for them."""

import io

import numpy as np
import pytest
from PIL import Image

from kidney_core.common.errors import UnreadableSlice
from kidney_core.imaging import hounsfield, stack
from kidney_core.imaging.slices import SOFT_TISSUE, read_slice
from kidney_core.simulation import phantom
from tests.conftest import SHARED
from tests.ct_files import ct_dataset, saved
from tests.imaging.test_other_formats import encoded, tiff

UNDECLARED = {"RescaleIntercept": None, "RescaleSlope": None}


@pytest.fixture(scope="module")
def hu():
    return np.rint(phantom.draw_series("Cyst", 5, n_slices=1)[0].hu).astype(np.int16)


def png16(values) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values.astype(np.uint16)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def declared(hu):
    return read_slice(saved(ct_dataset(hu, RescaleType="HU")), name="declared")


@pytest.mark.parametrize(
    "kind", ["signed CT", "unsigned CT with an offset", "16-bit PNG", "float TIFF", "int16 TIFF", "HU_MOD"]
)
def test_undeclared_hounsfield_units_are_read_as_declared_ones(hu, declared, kind):
    content = {
        "signed CT": lambda: saved(ct_dataset(hu, **UNDECLARED)),
        "unsigned CT with an offset": lambda: saved(ct_dataset((hu + 1024).clip(0).astype(np.uint16), **UNDECLARED)),
        "16-bit PNG": lambda: png16((hu.astype(int) + 1024).clip(0)),
        "float TIFF": lambda: tiff(hu.astype(np.float32)),
        "int16 TIFF": lambda: tiff(hu),
        "HU_MOD": lambda: saved(ct_dataset(hu, RescaleType="HU_MOD")),
    }[kind]()
    image = read_slice(content, name="a")
    assert (image.unit, image.window) == ("HU", SOFT_TISSUE)
    assert image.recognised_as_hu == (kind != "HU_MOD")
    np.testing.assert_array_equal(image.network_grey8(), declared.network_grey8())
    if image.recognised_as_hu:
        assert image.notes[0].startswith("The file does not say what its numbers mean.")
        assert ("1024" in image.notes[0]) == ("offset" in kind or "PNG" in kind)


@pytest.mark.parametrize("offset", [2048, 32768])  # signed numbers made unsigned; the second is that of DeepLesion
def test_what_exports_add_is_recognised(hu, declared, offset):
    image = read_slice(png16(hu.astype(int) + offset), name="a")
    np.testing.assert_array_equal(image.network_grey8(), declared.network_grey8())
    assert f"with {offset} added" in image.notes[0]


@pytest.mark.parametrize("fill", [-32768, -8192])
def test_one_value_around_a_round_image_does_not_matter(hu, declared, fill):
    filled = hu.copy()
    filled[:12, :12] = fill
    image = read_slice(tiff(filled), name="a")
    assert (image.unit, image.window) == ("HU", SOFT_TISSUE)
    np.testing.assert_array_equal(image.network_grey8()[12:], declared.network_grey8()[12:])


def test_what_is_no_number_becomes_the_lowest_value_and_is_told(hu, declared):
    values = np.where(hu < -990, np.nan, hu).astype(np.float32)
    image = read_slice(tiff(values), name="a")
    np.testing.assert_array_equal(image.network_grey8(), declared.network_grey8())
    assert image.notes[0].startswith("Some pixels of this picture hold no number")
    with pytest.raises(UnreadableSlice, match="no finite number"):
        read_slice(tiff(np.full_like(values, np.nan)), name="a")


def test_declared_units_that_are_too_high_are_brought_down_and_told(hu, declared):
    wiped = ct_dataset((hu + 1024).clip(0).astype(np.uint16), RescaleIntercept=0, WindowCenter=40, WindowWidth=400)
    image = read_slice(saved(wiped), name="a")
    assert (image.unit, image.window, image.recognised_as_hu) == ("HU", SOFT_TISSUE, True)
    assert "1024 too high" in image.notes[0]
    np.testing.assert_array_equal(image.network_grey8(), declared.network_grey8())
    assert (image.as_grey().unit, image.as_grey().notes) == ("grey", ())


@pytest.mark.parametrize("kind", ["Hounsfield units", "inverted values", "inverted values and slope", "undeclared"])
def test_dense_tissue_is_bright_whatever_monochrome1_says(hu, declared, kind):
    inverted = (4095 - (hu + 1024)).clip(0).astype(np.uint16)
    stored, tags = {
        "Hounsfield units": (hu, {}),
        "inverted values": (inverted, {}),
        "inverted values and slope": (inverted, {"RescaleSlope": -1, "RescaleIntercept": 3071}),
        "undeclared": (hu, UNDECLARED),
    }[kind]
    image = read_slice(saved(ct_dataset(stored, PhotometricInterpretation="MONOCHROME1", **tags)), name="a")
    assert (image.unit, image.inverted) == ("HU", False)
    assert image.notes == (hounsfield.INVERTED_NOTE,)
    np.testing.assert_allclose(image.network_grey8().astype(int), declared.network_grey8(), atol=20)


def test_the_user_may_overrule(hu):
    content = png16((hu.astype(int) + 1024).clip(0))
    (found,) = stack.open_stacks([("a.png", content)]).stacks
    assert stack.open_item(found.items[0]).unit == "HU"
    as_grey = found.as_grey()
    image = stack.open_item(as_grey.items[0])
    assert (image.unit, image.recognised_as_hu, image.notes) == ("grey", False, ())
    assert as_grey.fingerprint != found.fingerprint


def test_what_has_a_window_or_other_values_is_left_alone(hu):
    windowed = read_slice(saved(ct_dataset(hu, WindowCenter=0, WindowWidth=3000, **UNDECLARED)), name="a")
    assert (windowed.unit, windowed.recognised_as_hu) == ("grey", False)
    rng = np.random.default_rng(0)
    others = [
        rng.integers(0, 65536, (64, 64)),  # noise
        np.tile(np.linspace(0, 4095, 64), (64, 1)),  # a ramp
        np.clip(rng.normal(2000, 600, (64, 64)), 0, 4095),  # a radiograph
        np.full((64, 64), 1064),  # soft tissue without air
        np.zeros((64, 64)),
    ]
    for values in others:
        assert hounsfield.recognise(values.astype(np.uint16)) is None
        assert not read_slice(png16(values), name="a").recognised_as_hu


def test_eight_bits_are_never_taken_for_hounsfield_units(hu):
    image = read_slice(encoded(declared_grey(hu), "PNG"), name="a")
    assert (image.unit, image.notes) == ("grey", ())


def declared_grey(hu):
    return ((hu.astype(np.float32) + 160) / 400 * 255).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("intercept", [-1024, 0])
def test_an_eight_bit_capture_with_an_intercept_is_told(hu, intercept):
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0, "RescaleIntercept": intercept}
    dataset = ct_dataset(hu.astype(np.uint16), RescaleType="HU", WindowCenter=40, WindowWidth=400, **eight)
    dataset.PixelData = declared_grey(hu).tobytes()
    image = read_slice(saved(dataset), name="a")
    assert (image.unit, image.notes) == ("grey", (hounsfield.LOST_NOTE,))
    np.testing.assert_array_equal(image.pixels, declared_grey(hu))
    spread = image.grey8().astype(int)
    assert np.ptp(spread) > 200


def test_several_windows_are_all_offered(hu):
    image = read_slice(saved(ct_dataset(hu, WindowCenter=[40, 300, -600], WindowWidth=[400, 1500, 1200])), name="a")
    assert list(image.windows) == ["400/40, from the file", "1500/300, from the file", "1200/-600, from the file"]
    assert image.window == image.windows["400/40, from the file"]


def test_what_a_file_asks_of_its_display_and_is_not_applied_is_told(hu):
    sigmoid = read_slice(saved(ct_dataset(hu, WindowCenter=40, WindowWidth=400, VOILUTFunction="SIGMOID")), name="a")
    assert sigmoid.notes == ("The file asks for a sigmoid window, which is shown as a linear one.",)
    plain = read_slice(saved(ct_dataset(hu, WindowCenter=40, WindowWidth=400)), name="a")
    np.testing.assert_array_equal(sigmoid.network_grey8(), plain.network_grey8())


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs the DICOM series of shared/data")
def test_a_real_series_that_lost_its_tags_is_recognised():
    import pydicom

    paths = [path for path in sorted((SHARED / "data" / "dicom-series").rglob("*")) if path.is_file()]
    n_found = n = 0
    for path in paths:
        try:
            dataset = pydicom.dcmread(path)
        except pydicom.errors.InvalidDicomError:
            continue
        declared = read_slice(path)
        for keyword in ("RescaleIntercept", "RescaleSlope", "RescaleType", "WindowCenter", "WindowWidth"):
            if keyword in dataset:
                del dataset[keyword]
        image = read_slice(saved(dataset), name="a")
        n, n_found = n + 1, n_found + image.recognised_as_hu
        if image.recognised_as_hu:
            assert np.abs(image.network_grey8().astype(int) - declared.network_grey8()).mean() < 20
    assert n_found == n
