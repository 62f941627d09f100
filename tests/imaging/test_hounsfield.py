"""Hounsfield units without tags are recognised by their values, and nothing else is taken for them."""

import io

import numpy as np
import pytest
from PIL import Image

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


def test_an_eight_bit_capture_that_kept_its_intercept_is_told(hu):
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0, "RescaleIntercept": -1024}
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
