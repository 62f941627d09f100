"""The pixel data of a DICOM file -> stored values, with the decoders chosen for each transfer syntax."""

import warnings

import numpy as np
import pydicom
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import JPEGExtended12Bit

from kidney_core.common.errors import OversizedSlice, UnreadableSlice, UnsupportedSlice

# The decoders to try, in this order. gdcm, pydicom's first choice, crashes on damaged JPEG 2000 and JPEG-LS, so it comes
# last, and alone only for syntaxes that no other decoder without GPL parts supports. UIDs: PS3.6 A.
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
# Newer syntaxes, whose names pydicom 3.0 lacks.
_NEWER = {
    "1.2.840.10008.1.2.4.110": "JPEG XL lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL of a JPEG",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}
_GDCM_12_BITS = "gdcm, 12 bits"
_N_COLOURS = 3
_MAX_PIXEL_BYTES = 256 * 1024**2  # stored and rescaled values together


def check_depth(dataset: pydicom.Dataset, name: str) -> None:
    """Raise, before decoding, for a bit depth that no CT has, or for too many bytes in total.

    Raises: UnsupportedSlice, OversizedSlice.
    """
    bits = int(dataset.BitsAllocated)
    if bits not in (8, 16, 32):
        raise UnsupportedSlice(
            f"“{name}” has {bits} bits per pixel, like a mask or a computed image. Upload the original CT slice."
        )
    n_samples = int(dataset.get("SamplesPerPixel") or 1)
    if int(dataset.Columns) * int(dataset.Rows) * n_samples * (bits // 8 + 4) > _MAX_PIXEL_BYTES:
        raise OversizedSlice(
            f"“{name}” has {dataset.Columns} × {dataset.Rows} pixels of {bits} bits, which is over the limit of "
            f"{_MAX_PIXEL_BYTES // 1024**2} MB. A CT slice has about 0.3 megapixels: export the slice at its own resolution."
        )


def stored_values(dataset: pydicom.Dataset, name: str, frame: int) -> np.ndarray:
    """Decode the stored values of a frame: (H, W) integers, or (H, W, 3) of a colour image.

    Raises: UnreadableSlice for damaged pixel data, UnsupportedSlice where no decoder is available.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    failure: BaseException | None = None
    for decoder in _decoders(dataset, name):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if decoder == _GDCM_12_BITS:
                    pixels = _extended_jpeg(dataset, frame)
                elif _shift_by_high_bit(dataset):
                    pixels = _right_aligned(dataset, frame)
                else:
                    pixels = pydicom.pixels.pixel_array(dataset, index=frame, decoding_plugin=decoder)
            break
        except MemoryError:
            raise
        except BaseException as error:  # noqa: BLE001 - a panic of a decoder in Rust is not an Exception
            failure = error
    else:
        raise UnreadableSlice(
            f"“{name}” cannot be decoded: its pixel data ({syntax.name}) are damaged, truncated, or compressed in another "
            "way than the file states. Export it uncompressed (Explicit VR Little Endian)."
        ) from failure
    if pixels.ndim == 3 and pixels.shape[2] == _N_COLOURS:
        return pixels
    if pixels.ndim != 2:
        raise UnreadableSlice(
            f"“{name}” decodes to an array of shape {pixels.shape} instead of one slice. Export it again."
        )
    return pixels


def _shift_by_high_bit(dataset: pydicom.Dataset) -> int:
    """By how many bits uncompressed values lie too high, if HighBit is true (PS3.5 8.1.1); 0 for all usual files."""
    allocated, stored, high = (int(dataset.get(each) or 0) for each in ("BitsAllocated", "BitsStored", "HighBit"))
    shift = high + 1 - stored
    is_plain = not dataset.file_meta.TransferSyntaxUID.is_encapsulated
    return shift if is_plain and 0 < stored < allocated and 0 < shift <= allocated - stored else 0


def _right_aligned(dataset: pydicom.Dataset, frame: int) -> np.ndarray:
    """The values of a frame brought down by HighBit; as they are where their lower bits are not empty, so that HighBit is wrong."""
    shift = _shift_by_high_bit(dataset)
    pixels = pydicom.pixels.pixel_array(dataset, index=frame, correct_unused_bits=False)
    if (pixels & ((1 << shift) - 1)).any():
        return pydicom.pixels.pixel_array(dataset, index=frame)
    return pixels >> shift


def _extended_jpeg(dataset: pydicom.Dataset, frame: int) -> np.ndarray:
    """A frame of JPEG extended with 12 bits, by GDCM alone, which pydicom does not ask for it: (H, W) uint16 or int16."""
    import gdcm  # here, since it takes 50 ms to import

    encoded = get_frame(dataset.PixelData, frame, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(encoded)
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image, is_signed = gdcm.Image(), int(dataset.get("PixelRepresentation") or 0)
    image.SetNumberOfDimensions(2)
    image.SetDimensions((int(dataset.Columns), int(dataset.Rows), 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(str(dataset.PhotometricInterpretation))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    bits = int(dataset.BitsStored)
    image.SetPixelFormat(gdcm.PixelFormat(1, int(dataset.BitsAllocated), bits, bits - 1, is_signed))
    values = np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), "<i2" if is_signed else "<u2")
    return values.reshape(int(dataset.Rows), int(dataset.Columns))


def _decoders(dataset: pydicom.Dataset, name: str) -> list[str]:
    """The decoders to try for a data set, or [""] where it is uncompressed. Raises UnsupportedSlice."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_transfer_syntax and not syntax.is_private and not syntax.is_encapsulated:
        return [""]
    try:
        installed = get_decoder(syntax).available_plugins if syntax in _DECODERS else ()
    except NotImplementedError:
        installed = ()
    decoders = [each for each in _DECODERS.get(syntax, ()) if each in installed]
    if syntax == JPEGExtended12Bit and int(dataset.get("BitsStored") or 8) > 8:
        decoders = [_GDCM_12_BITS for each in decoders if each == "gdcm"]
    if not decoders:
        syntax_name = _NEWER.get(syntax, syntax.name if syntax.is_transfer_syntax else "")
        how = f"as {syntax_name}" if syntax_name else "in a way that the standard does not define"
        raise UnsupportedSlice(
            f"“{name}” is compressed {how}, for which no decoder is installed. Export it uncompressed (Explicit VR "
            "Little Endian), or as JPEG lossless, JPEG-LS, JPEG 2000, HTJ2K, RLE or deflated."
        )
    return decoders
