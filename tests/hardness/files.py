"""Sound files of every kind that is read, made from simulated slices, and the files that packages bring along."""

import functools
import io
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from kidney_core.simulation import phantom
from tests.conftest import ROOT
from tests.ct_files import ct_dataset, saved

PILLOW_IMAGES = ROOT / ".hardness"  # Pillow's source, which `make hardness` downloads for its test images
# `ramp()` without loss, by encoders that are not at hand or not to be trusted in this process: imagecodecs 2026.3.6
# (OpenJPH) and gdcm 3.2.6.
_RAMPS = {HTJ2KLossless: "ramp.j2c", JPEGLossless: "ramp-14.jpg", JPEGLosslessSV1: "ramp-14-1.jpg"}
LOSSLESS = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
)


def ramp() -> np.ndarray:
    """(48, 64) uint16 of 12 bits, the pixels of ramp.j2c."""
    y, x = np.mgrid[:48, :64]
    return ((x * 64 + y * 31) % 4096).astype(np.uint16)


def ct(
    stored: np.ndarray,
    syntax: UID = ExplicitVRLittleEndian,
    *,
    encoding: dict[str, float] | None = None,
    **tags: object,
) -> bytes:
    """A CT file of stored values, (H, W) or (N, H, W) of 16 bits; a tag given as None is left out.

    Args:
        encoding: options of pydicom's encoder.
    """
    own = {"SeriesInstanceUID": "1.2.3", "RescaleIntercept": -1024}
    own |= {"ImagePositionPatient": [0, 0, 0], "PixelSpacing": [0.7, 0.7]}
    made = ct_dataset(stored, entropy="hardness", **{**own, **tags})
    return _encoded(made, stored, syntax, encoding or {})


def _encoded(made: pydicom.Dataset, stored: np.ndarray, syntax: UID, options: dict[str, float]) -> bytes:
    if syntax in _RAMPS:
        if not np.array_equal(stored, ramp()):
            raise ValueError(f"there is no encoder of {syntax.name} here: only ramp() is at hand")
        made.PixelData = encapsulate([Path(__file__).with_name(_RAMPS[syntax]).read_bytes()])
        made.BitsStored, made.HighBit = 12, 11
        made.file_meta.TransferSyntaxUID = syntax
    elif syntax == ExplicitVRBigEndian:
        made["PixelData"].VR = "OW"
        made.PixelData = stored.astype(stored.dtype.newbyteorder(">")).tobytes()
        made.file_meta.TransferSyntaxUID = syntax
    elif syntax.is_compressed and syntax != DeflatedExplicitVRLittleEndian:
        made.compress(syntax, generate_instance_uid=False, **options)
    else:
        made.file_meta.TransferSyntaxUID = syntax
    return saved(made)


def picture(image: Image.Image, kind: str, **options: object) -> bytes:
    """An image as a file of that kind."""
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


@functools.cache
def sound() -> dict[str, bytes]:
    """A small file of each kind that is read, by name; every one holds a simulated slice or the ramp."""
    drawn = phantom.draw_series("Stone", 7, n_slices=1)[0].as_slice("phantom")
    half = Image.fromarray(drawn.grey8()).resize((96, 80))
    stored = (np.clip(drawn.pixels[::3, ::3], -1024, 3071) + 1024).astype(np.uint16)
    found = {f"ct {syntax.name}": ct(ramp() if syntax in _RAMPS else stored, syntax) for syntax in LOSSLESS}
    found["ct of 3 frames"] = ct(np.stack([stored] * 3))
    deep = Image.fromarray(stored)
    for mode in ("L", "RGB", "RGBA", "P", "LA", "1"):
        found[f"png {mode}"] = picture(half.convert(mode), "PNG")
    found["png I;16"] = picture(deep, "PNG")
    found["jpeg L"], found["jpeg RGB"] = picture(half, "JPEG"), picture(half.convert("RGB"), "JPEG")
    found["jpeg CMYK"] = picture(half.convert("CMYK"), "JPEG")
    found["jpeg progressive"] = picture(half, "JPEG", progressive=True)
    found["bmp"] = picture(half, "BMP")
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        found[f"tiff {compression}"] = picture(half, "TIFF", compression=compression)
    found["tiff I;16"] = picture(deep, "TIFF")
    found["tiff of 3 pages"] = picture(half, "TIFF", save_all=True, append_images=[half, half])
    return found


def bundled() -> list[Path]:
    """The test files that pydicom brings along, and Pillow's where its source was downloaded."""
    folders = [Path(pydicom.__file__).parent / "data" / "test_files", *PILLOW_IMAGES.glob("*illow-*/Tests/images")]
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
