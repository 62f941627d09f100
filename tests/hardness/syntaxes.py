"""Point 5: the transfer syntaxes of DICOM, and a sentence of its own for whatever is no CT slice."""

import re
import struct
from collections.abc import Iterator
from importlib import metadata

import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, JPEGBaseline8Bit, JPEGLSNearLossless

from kidney_core.common.errors import SliceError
from kidney_core.imaging import slices
from tests import ct_files
from tests.hardness import files
from tests.hardness.table import Figures, Options

_LOSSY = {JPEGLSNearLossless: {"jls_error": 2}, JPEG2000: {"j2k_psnr": [80]}}
_UNKNOWN = {
    "1.2.840.10008.1.2.4.94": "JPIP",
    "1.2.840.10008.1.2.4.100": "MPEG2",
    "1.2.840.10008.1.2.4.102": "MPEG-4",
    "1.2.840.10008.1.2.4.107": "HEVC",
    "1.2.840.10008.1.2.4.110": "JPEG XL",
    "1.2.840.10008.1.2.4.52": "JPEG",
    "1.2.840.113619.5.2": "that the standard does not define",
    "1.2.3.4": "that the standard does not define",
}
_GREYS = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))  # (48, 64)
_GPL = ("pylibjpeg-libjpeg", "dicom2jpg", "gdcm-gpl")


def measure_decoding(_options: Options) -> Figures:
    """Lossless syntaxes give the stored values exactly; lossy ones come close."""
    expected = files.ramp().astype(np.float32) - 1024
    wrong = [
        syntax.name
        for syntax in files.LOSSLESS
        if not np.array_equal(slices.read_slice(files.ct(files.ramp(), syntax), name=syntax.name).pixels, expected)
    ]
    smooth = files.ramp() // 16 * 16
    worst = max(
        _error(files.ct(smooth, syntax, encoding=encoding), smooth - 1024.0) for syntax, encoding in _LOSSY.items()
    )
    worst = max(worst, _error(_jpeg_ct(), _GREYS.astype(float)))
    gpl = sum(_is_installed(name) for name in _GPL)
    return {
        "not_exact": len(wrong),
        "lossless": len(files.LOSSLESS),
        "lossy_error": worst,
        "lossy": len(_LOSSY) + 1,
        "gpl_packages": gpl,
        **({"which": ", ".join(wrong)} if wrong else {}),
    }


def _error(content: bytes, expected: np.ndarray) -> float:
    """The largest difference, as a share of the range of values."""
    return float(np.abs(slices.read_slice(content, name="a").pixels - expected).max() / np.ptp(expected))


def _jpeg_ct() -> bytes:
    """A CT file of 8 bits that holds a JPEG of `_GREYS`."""
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(files.ct(files.ramp())))
    dataset.PixelData = encapsulate([files.picture(Image.fromarray(_GREYS), "JPEG", quality=100)])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.RescaleIntercept = 8, 8, 7, 0
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return ct_files.saved(dataset)


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def measure_sentences(_options: Options) -> Figures:
    """Each kind of file that is no CT slice has the sentence that says so."""
    unnamed, said = [], set()
    for what, content, frame, pattern in refused():
        try:
            slices.read_slice(content, name="a", frame=frame)
            unnamed.append(what)
        except SliceError as error:
            said.add(str(error))
            if not re.search(pattern, str(error)) or "canary" in str(error).lower():
                unnamed.append(f"{what}: {error}")
    return {
        "unnamed": len(unnamed),
        "kinds": len(list(refused())),
        "sentences": len(said),
        **({"which": "; ".join(unnamed).replace("|", "/")} if unnamed else {}),
    }


def refused() -> Iterator[tuple[str, bytes, int, str]]:
    """(what, file, frame asked for, what the sentence must say) of each kind."""
    ramp = files.ramp()
    for number, named in _UNKNOWN.items():
        yield number, _in_syntax(number), 0, f"compressed .*{named}.*no decoder is installed"
    for modality, named in {
        "MR": "magnetic resonance",
        "US": "ultrasound",
        "PT": "PET",
        "MG": "mammogram",
        "DX": "radiograph",
        "RTDOSE": "radiotherapy dose",
        "SEG": "segmentation",
        "SR": "report",
        "CANARY": "of another modality",
    }.items():
        yield modality, files.ct(ramp, Modality=modality), 0, f"is .*{named}.*, not CT"
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    yield "colour", files.ct(ramp, **colour), 0, "colour DICOM image"
    yield "palette", files.ct(ramp, PhotometricInterpretation="PALETTE COLOR"), 0, "colour DICOM image"
    yield "no pixels", files.ct(ramp, PixelData=None), 0, "without an image"
    yield "computed map", files.ct(ramp, PixelData=None, FloatPixelData=bytes(4 * ramp.size)), 0, "computed values"
    yield "mask", files.ct(ramp, BitsAllocated=1, BitsStored=1, HighBit=0), 0, "1 bits per pixel"
    yield "no size", files.ct(ramp, Rows=None), 0, "lacks the DICOM tag Rows"
    yield "no such frame", files.ct(np.stack([ramp] * 3)), 3, "has 3 frames; there is no frame 4"
    yield "cut", files.ct(ramp)[:-1000], 0, "pixel data .*damaged, truncated"


def _in_syntax(number: str) -> bytes:
    """A file that names a transfer syntax which pydicom may not know."""
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(files.ct(files.ramp())))
    dataset.PixelData = encapsulate([bytes(100)])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = JPEG2000
    content = ct_files.saved(dataset)
    named = b"\x02\x00\x10\x00UI\x16\x00" + JPEG2000.encode()
    if content.count(named) != 1:
        raise ValueError("the transfer syntax is not where it is expected")
    padded = number.encode() + b"\0" * (len(number) % 2)
    return content.replace(named, b"\x02\x00\x10\x00UI" + struct.pack("<H", len(padded)) + padded)
