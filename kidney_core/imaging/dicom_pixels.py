"""The pixel data of a DICOM file -> stored values, by decoders chosen for each transfer syntax."""

import warnings

import numpy as np
import pydicom
from pydicom.pixels import get_decoder
from pydicom.uid import JPEGExtended12Bit

from kidney_core.errors import OversizedSlice, UnreadableSlice, UnsupportedSlice

# Which decoders may be asked, in this order. gdcm, pydicom's first choice, crashes on damaged JPEG 2000 and JPEG-LS;
# it is asked for what no other decoder without GPL parts knows. PS3.6 A: the UIDs.
_DECODERS = {
    "1.2.840.10008.1.2.4.50": ("pillow", "gdcm"),  # JPEG baseline
    "1.2.840.10008.1.2.4.51": ("pillow", "gdcm"),  # JPEG extended, of 8 bits
    "1.2.840.10008.1.2.4.57": ("gdcm",),  # JPEG lossless
    "1.2.840.10008.1.2.4.70": ("gdcm",),  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.80": ("pyjpegls", "gdcm"),  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81": ("pyjpegls", "gdcm"),  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90": ("pylibjpeg", "gdcm"),  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": ("pylibjpeg", "gdcm"),  # JPEG 2000
    "1.2.840.10008.1.2.4.201": ("pylibjpeg",),  # HTJ2K lossless
    "1.2.840.10008.1.2.4.202": ("pylibjpeg",),  # HTJ2K lossless, RPCL
    "1.2.840.10008.1.2.4.203": ("pylibjpeg",),  # HTJ2K
    "1.2.840.10008.1.2.5": ("pylibjpeg", "pydicom"),  # RLE
}
# What pydicom 3.0 does not name.
_NEWER = {
    "1.2.840.10008.1.2.4.110": "JPEG XL lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL of a JPEG",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}
_MAX_PIXEL_BYTES = 256 * 1024**2  # stored and rescaled values together


def check_depth(dataset: pydicom.Dataset, name: str) -> None:
    """Raise, before decoding, for a depth that no CT has, or one that makes too much of a large image.

    Raises: UnsupportedSlice, OversizedSlice.
    """
    bits = int(dataset.BitsAllocated)
    if bits not in (8, 16, 32):
        raise UnsupportedSlice(
            f"“{name}” stores {bits} bits a pixel, as a mask or a computed map does. Upload the original CT slice."
        )
    if int(dataset.Columns) * int(dataset.Rows) * (bits // 8 + 4) > _MAX_PIXEL_BYTES:
        raise OversizedSlice(
            f"“{name}” has {dataset.Columns} × {dataset.Rows} pixels of {bits} bits, which is more than is decoded. "
            "A CT slice has about 0.3 megapixels: export the slice at its own resolution."
        )


def stored_values(dataset: pydicom.Dataset, name: str, frame: int) -> np.ndarray:
    """A frame's stored values, (H, W) integers. Raises UnreadableSlice, UnsupportedSlice."""
    syntax = dataset.file_meta.TransferSyntaxUID
    failed: BaseException | None = None
    for decoder in _decoders(dataset, name):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pixels = pydicom.pixels.pixel_array(dataset, index=frame, decoding_plugin=decoder)
            break
        except MemoryError:
            raise
        except BaseException as error:  # noqa: BLE001 - a Rust decoder's panic is no Exception
            failed = error
    else:
        raise UnreadableSlice(
            f"“{name}” cannot be decoded: its pixel data ({syntax.name}) are damaged, truncated, or compressed in another "
            "way than the file says. Export it uncompressed (Explicit VR Little Endian)."
        ) from failed
    if pixels.ndim != 2:
        raise UnreadableSlice(
            f"“{name}” decodes to an array of shape {pixels.shape}, not to one slice. Export it again."
        )
    return pixels


def _decoders(dataset: pydicom.Dataset, name: str) -> list[str]:
    """The decoders that may be asked for a transfer syntax, or [""] where it needs none. Raises UnsupportedSlice."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_transfer_syntax and not syntax.is_private and not syntax.is_encapsulated:
        return [""]
    try:
        installed = get_decoder(syntax).available_plugins if syntax in _DECODERS else ()
    except NotImplementedError:
        installed = ()
    found = [each for each in _DECODERS.get(syntax, ()) if each in installed]
    if syntax == JPEGExtended12Bit and int(dataset.get("BitsStored") or 8) > 8:
        found = []  # 12 bits: only decoders under the GPL know them
    if not found:
        known = _NEWER.get(syntax, syntax.name if syntax.is_transfer_syntax else "")
        known = f"as {known}" if known else "in a way that the standard does not know"
        raise UnsupportedSlice(
            f"“{name}” is compressed {known}, for which there is no decoder here. Export it uncompressed (Explicit VR "
            "Little Endian), or as JPEG lossless, JPEG-LS, JPEG 2000, HTJ2K, RLE or deflated."
        )
    return found
