"""DICOM -> Slice: modality rescale to HU, VOI window, frames, and only tags without the patient.

It runs in the child process that `decoder` keeps for it; `slices` is the door to it.
"""

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_partial
from pydicom.pixels import apply_modality_lut, get_decoder
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
)

from kidney_core.errors import KidneyError, OversizedSlice, UnreadableSlice, UnsupportedSlice
from kidney_core.slices import SOFT_TISSUE, Slice, Window, check_pixels

# pydicom repeats a damaged tag's value in its warnings, and that value may be the patient's. Its own switch, since
# Python's filters are of all threads at once.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
# PS3.3 C.7.3.1.1.1, the modalities that a hospital sends by mistake for CT.
_MODALITIES = {
    "MR": "a magnetic resonance image",
    "US": "an ultrasound image",
    "IVUS": "an ultrasound image",
    "CR": "a radiograph",
    "DX": "a radiograph",
    "RG": "a radiograph",
    "RF": "a fluoroscopy image",
    "MG": "a mammogram",
    "NM": "a nuclear medicine image",
    "PT": "a PET image",
    "XA": "an angiogram",
    "IO": "a dental radiograph",
    "PX": "a dental radiograph",
    "ES": "an endoscopy picture",
    "XC": "a photograph",
    "OP": "a photograph of the eye",
    "OPT": "a tomogram of the eye",
    "GM": "a microscope picture",
    "SM": "a microscope picture",
    "RTDOSE": "a radiotherapy dose",
    "RTIMAGE": "a radiotherapy image",
    "RTPLAN": "a radiotherapy plan",
    "RTSTRUCT": "a set of outlines for radiotherapy",
    "SEG": "a segmentation",
    "SR": "a report",
    "DOC": "a document",
    "ECG": "an electrocardiogram",
    "PR": "a way to show other images",
    "KO": "a list of other images",
}
_TAKEN_MODALITIES = ("CT", "OT", "")  # other, and unknown: exports of CT slices are often labelled so
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
# The item tag (FFFE,E000) of PS3.5 7.5 in both byte orders: pydicom builds an object of 2 KB for each of 8 bytes.
_ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_DELIMITER = b"\xfe\xff\xdd\xe0"  # (FFFE,E0DD)
_MAX_ELEMENTS = 20_000  # a CT image has some 200
_MAX_META_ELEMENTS = 200  # PS3.10 7.1 has a dozen
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_MAX_ITEMS = 200_000  # an enhanced CT of 3,000 frames has some 30 a frame
_MAX_INFLATED_BYTES = 100 * 1024**2
_MAX_PIXEL_BYTES = 256 * 1024**2  # stored and rescaled values together
_PIECE_BYTES = 1024**2
# Coded values that may be shown as they stand; any other value of the tag is left out, since free
# text typed into a coded tag may name the patient.
_BODY_PARTS = {"ABDOMEN", "ABDOMENPELVIS", "CHESTABDPELVIS", "KIDNEY", "PELVIS", "CHEST", "HEAD", "NECK", "SPINE"}
_OBLIQUE = 0.3  # a smaller part of a direction gets no letter
_last = threading.local()


def decode(content: bytes, *, name: str, frame: int = 0) -> Slice:
    """Decode one frame of a DICOM file to a Slice in Hounsfield units where the file has them.

    Raises: UnreadableSlice, UnsupportedSlice, OversizedSlice (see `slices.read_slice`).
    """
    dataset = _parsed(content, name)
    try:
        return _slice_of(dataset, name, frame)
    except (KidneyError, MemoryError):
        raise
    except Exception as error:
        # pydicom converts a tag when it is asked for: damage may show at any of them, as any exception.
        raise UnreadableSlice(
            f"“{name}” has damaged DICOM tags and cannot be decoded ({type(error).__name__}). Export it again."
        ) from error


def _parsed(content: bytes, name: str) -> pydicom.Dataset:
    """`parse`, which a thread that reads one frame of a file after the other does once."""
    kept = getattr(_last, "parsed", None)
    if kept is not None and kept[0] is content:
        return kept[1]
    dataset = parse(content, name)
    _last.parsed = (content, dataset) if "NumberOfFrames" in dataset else None
    return dataset


def _slice_of(dataset: pydicom.Dataset, name: str, frame: int) -> Slice:
    _check_kind(dataset, name)
    n_frames = int(_number(dataset.get("NumberOfFrames")) or 1)
    if not 0 <= frame < n_frames:
        raise UnsupportedSlice(f"“{name}” has {n_frames} frames; there is no frame {frame + 1}. Choose a smaller one.")
    check_pixels(int(dataset.Columns), int(dataset.Rows), name)
    _check_depth(dataset, name)
    tags = FrameTags(dataset, frame)
    values, is_hu = _rescale(_decode(dataset, name, frame), tags)
    window, window_note = _window(tags, values, is_hu)
    return Slice(
        name=name,
        pixels=values,
        unit="HU" if is_hu else "grey",
        window=window,
        inverted=dataset.PhotometricInterpretation == "MONOCHROME1",
        spacing_mm=_spacing(tags),
        letters=_letters(tags.numbers("ImageOrientationPatient", 6)),
        n_frames=n_frames,
        frame=frame,
        facts=_facts(tags, is_hu, window_note),
        notes=() if is_hu else ("The file gives no Hounsfield units; grey values are shown as stored.",),
    )


class FrameTags:
    """The tags of one frame: its own, those shared by all frames, those of the file.

    Enhanced CT keeps rescale, window, spacing and orientation in functional groups (PS3.3 C.7.6.16).
    """

    def __init__(self, dataset: pydicom.Dataset, frame: int) -> None:
        self.dataset = dataset
        groups: list[pydicom.Dataset] = []
        for keyword, position in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
            sequence = dataset.get(keyword) or []
            groups += sequence[position : position + 1]
        self.places = [
            item for group in groups for element in group if element.VR == "SQ" for item in element.value[:1]
        ]
        self.places.append(dataset)

    def get(self, keyword: str) -> object:
        """The value in the nearest place that has the tag, or None."""
        return next((place.get(keyword) for place in self.places if keyword in place), None)

    def number(self, keyword: str) -> float | None:
        """The first finite number of a tag; None where it is missing, empty or not a number."""
        return _number(self.get(keyword))

    def numbers(self, keyword: str, count: int) -> list[float] | None:
        """Exactly `count` finite numbers, or None."""
        value = self.get(keyword)
        if isinstance(value, (str, bytes)) or not hasattr(value, "__len__") or len(value) != count:
            return None
        found = [_number(item) for item in value]
        return None if None in found else found


def _number(value: object) -> float | None:
    """The first finite number of a DICOM value that may be empty, single, multiple or damaged."""
    if isinstance(value, (list, pydicom.multival.MultiValue)):
        value = value[0] if len(value) else None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _rescale(stored: np.ndarray, tags: FrameTags) -> tuple[np.ndarray, bool]:
    """Stored values -> (float32 values, are they Hounsfield units). PS3.3 C.11.1.1.2."""
    if "ModalityLUTSequence" in tags.dataset:
        try:
            return apply_modality_lut(stored, tags.dataset).astype(np.float32), False
        except (ValueError, TypeError, AttributeError, IndexError, NotImplementedError):
            return stored.astype(np.float32), False  # a damaged table: shown as stored, which the note says
    slope, intercept = tags.number("RescaleSlope"), tags.number("RescaleIntercept")
    if not slope or intercept is None:
        return stored.astype(np.float32), False
    values = np.empty(stored.shape, np.float32)
    with np.errstate(over="ignore"):
        for row in range(len(stored)):  # row by row: all of them in double precision would be half a gigabyte
            values[row] = stored[row] * np.float64(slope) + intercept
    if not np.isfinite(values).all():
        raise ValueError("the rescaled values are beyond single precision")
    # PS3.3 C.11.1.1.2: RescaleType is HU where it is absent in a CT image.
    is_hu = tags.get("Modality") == "CT" and str(tags.get("RescaleType") or "HU").upper() == "HU"
    return values, is_hu


def parse(
    content: bytes, name: str, *, stop_before_pixels: bool = False, specific_tags: list[str] | None = None
) -> pydicom.Dataset:
    """The data set of a file; arguments as of `pydicom.dcmread`. Raises UnreadableSlice, OversizedSlice."""
    try:
        with warnings.catch_warnings():
            # pydicom repeats a damaged tag's value in its warnings, and that value may be the patient's.
            warnings.simplefilter("ignore")
            _check_growth(content, name)
            dataset = read_partial(
                io.BytesIO(content),
                _stop(at_pixels=stop_before_pixels, name=name),
                force=True,
                specific_tags=[Tag(each) for each in specific_tags] if specific_tags else None,
            )
            _name_transfer_syntax(dataset)
            syntax = dataset.file_meta.TransferSyntaxUID
            if syntax.is_transfer_syntax and not syntax.is_private and syntax.is_encapsulated:
                _check_end(content)
            return dataset
    except (KidneyError, MemoryError):
        raise
    except Exception as error:
        raise UnreadableSlice(
            f"“{name}” starts like a DICOM file but cannot be parsed ({type(error).__name__}). Export it again."
        ) from error


def _stop(*, at_pixels: bool, name: str) -> Callable[[BaseTag, str | None, int], bool]:
    """What pydicom asks before each element: whether to stop there. Of millions it would make objects for minutes."""
    n_elements = 0

    def stop(tag: BaseTag, _kind: str | None, _length: int) -> bool:
        nonlocal n_elements
        n_elements += 1
        if n_elements > _MAX_ELEMENTS:
            raise OversizedSlice(
                f"“{name}” lists more than {_MAX_ELEMENTS:,} tags. Export the image files of the CT series."
            )
        return at_pixels and tag in _PIXEL_TAGS

    return stop


def _name_transfer_syntax(dataset: pydicom.Dataset) -> None:
    """Files older than PS3.10 name no transfer syntax: it is the one in which the data set was read."""
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0] is not False
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian


def _check_growth(content: bytes, name: str) -> None:
    """Raise OversizedSlice for a file that would fill the memory before a pixel of it is known.

    pydicom inflates a deflated file whole, whatever it grows to, and makes an object of each empty item.
    """
    start, syntax = _data_set(content, name)
    if start and content[start : start + 2] == b"\0\0":
        raise ValueError("commands of group 0000 have no place in a file (PS3.10 7.1)")  # pydicom reads any number
    pieces = _inflated(content, start) if syntax == DeflatedExplicitVRLittleEndian else iter((content,))
    size = n_items = 0
    for piece in pieces:
        size += len(piece)
        n_items += max(piece.count(tag) for tag in _ITEM_TAGS)
        if n_items > _MAX_ITEMS:
            raise OversizedSlice(
                f"“{name}” lists more than {_MAX_ITEMS:,} items. Export the image files of the CT series."
            )
        if piece is not content and size > _MAX_INFLATED_BYTES:
            raise OversizedSlice(
                f"“{name}” inflates to more than {_MAX_INFLATED_BYTES // 1024**2} MB. Export it uncompressed."
            )


def _check_end(content: bytes) -> None:
    """Raise EOFError where the last delimiter (PS3.5 A.4: tag and a length of 0) is cut short, which pydicom takes."""
    if content.rfind(_DELIMITER) > len(content) - 8:
        raise EOFError("the file ends within its last delimiter")


def _data_set(content: bytes, name: str) -> tuple[int, str]:
    """Where the data set of a file begins, after group 0002 where there is one, and its transfer syntax or "".

    Raises: OversizedSlice.
    """
    position, syntax = 132 if content[128:132] == b"DICM" else 0, ""
    for _ in range(_MAX_META_ELEMENTS):
        if content[position : position + 2] != b"\x02\x00":
            return position, syntax
        # PS3.5 7.1.2: these types have a length of 4 bytes after 2 that are reserved.
        is_long = content[position + 4 : position + 6] in (b"OB", b"OW", b"UN", b"UT", b"SQ")
        head, form = (12, "<8xI") if is_long else (8, "<6xH")
        (length,) = struct.unpack_from(form, content, position)
        if content[position + 2 : position + 4] == b"\x10\x00":
            syntax = content[position + head : position + head + length].decode("ascii", "replace").strip("\0 ")
        position += head + length
    raise OversizedSlice(f"“{name}” lists more than {_MAX_META_ELEMENTS} tags about the file itself. Export it again.")


def _inflated(content: bytes, start: int) -> Iterator[bytes]:
    """The pieces of a deflated data set (PS3.5 A.5), of which none is kept."""
    inflater, rest = zlib.decompressobj(-zlib.MAX_WBITS), content[start:]
    while rest and not inflater.eof:
        yield inflater.decompress(rest, _PIECE_BYTES)
        rest = inflater.unconsumed_tail


def check_modality(dataset: pydicom.Dataset, name: str) -> None:
    """Raise UnsupportedSlice for what a hospital sends by mistake for CT."""
    modality = str(dataset.get("Modality") or "").strip("\0 ").upper()
    if modality in _TAKEN_MODALITIES:
        return
    # An unknown word is not repeated: free text may name the patient.
    kind = f"{_MODALITIES[modality]} ({modality})" if modality in _MODALITIES else "of another modality"
    raise UnsupportedSlice(f"“{name}” is {kind}, not CT. Upload an abdominal CT slice.")


def _check_kind(dataset: pydicom.Dataset, name: str) -> None:
    check_modality(dataset, name)
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise UnsupportedSlice(
            f"“{name}” holds a map of computed values, not a CT image. Choose the image files of the CT series."
        )
    if "PixelData" not in dataset:
        raise UnsupportedSlice(
            f"“{name}” is a DICOM file without an image (no tag 7FE0,0010). Choose the image files of the CT series."
        )
    required = ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation")
    missing = [tag for tag in required if dataset.get(tag) in (None, "")]
    missing += [tag for tag in ("Rows", "Columns") if (_number(dataset.get(tag)) or 0) < 1]
    if missing:
        raise UnreadableSlice(f"“{name}” lacks the DICOM tag {missing[0]} and cannot be decoded. Export it again.")
    if (_number(dataset.get("SamplesPerPixel")) or 1) != 1 or dataset.PhotometricInterpretation not in (
        "MONOCHROME1",
        "MONOCHROME2",
    ):
        raise UnsupportedSlice(
            f"“{name}” is a colour DICOM image ({dataset.PhotometricInterpretation}), such as a screen capture. "
            "Upload the original CT slice."
        )


def _check_depth(dataset: pydicom.Dataset, name: str) -> None:
    """Raise, before decoding, for a depth that no CT has, or one that makes too much of a large image."""
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


def _decode(dataset: pydicom.Dataset, name: str, frame: int) -> np.ndarray:
    """The frame's stored values, (H, W) integers."""
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


def _window(tags: FrameTags, values: np.ndarray, is_hu: bool) -> tuple[Window, str]:
    center, width = tags.number("WindowCenter"), tags.number("WindowWidth")
    if tags.get("RescaleSlope") is not None and not (
        tags.number("RescaleSlope") and tags.number("RescaleIntercept") is not None
    ):
        center = None  # the window is on values that this damaged file does not tell how to compute
    if center is not None and width is not None and width >= 1:
        # PS3.3 C.11.2.1.2.1: LINEAR maps c - 0.5 to mid-grey over w - 1 values.
        if str(tags.get("VOILUTFunction") or "LINEAR") == "LINEAR" and width > 1:
            return Window(center - 0.5, width - 1), f"{width:g}/{center:g}, from the file"
        return Window(center, width), f"{width:g}/{center:g}, from the file"
    if is_hu:
        return SOFT_TISSUE, "400/40, soft tissue (the file names none)"
    padding = tags.number("PixelPaddingValue")  # PS3.3 C.7.5.1.1.2: no part of the image
    real = values[values != padding] if padding is not None and (values != padding).any() else values
    return Window.spanning(real), "all values"


def _spacing(tags: FrameTags) -> tuple[float, float] | None:
    spacing = tags.numbers("PixelSpacing", 2)
    return (spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None


def _facts(tags: FrameTags, is_hu: bool, window_note: str) -> dict[str, str]:
    facts = {
        "Format": f"DICOM, {tags.dataset.file_meta.TransferSyntaxUID.name}",
        "Values": "Hounsfield units" if is_hu else "grey values as stored",
        "Window": window_note,
    }
    spacing = _spacing(tags)
    if spacing:
        facts["Pixel spacing"] = f"{spacing[0]:.3g} × {spacing[1]:.3g} mm"
    for tag, label, unit in (("SliceThickness", "Slice thickness", "mm"), ("KVP", "Tube voltage", "kV")):
        value = tags.number(tag)
        if value is not None:
            facts[label] = f"{value:g} {unit}"
    body_part = str(tags.get("BodyPartExamined") or "").upper()
    if body_part in _BODY_PARTS:
        facts["Body part"] = body_part.capitalize()
    plane = plane_of(tags.numbers("ImageOrientationPatient", 6))
    if plane:
        facts["Plane"] = plane
    return facts


def plane_of(orientation: list[float] | None) -> str | None:
    """Axial, coronal or sagittal from ImageOrientationPatient (PS3.3 C.7.6.2.1.1)."""
    if orientation is None:
        return None
    normal = np.abs(np.cross(orientation[:3], orientation[3:]))
    return ("sagittal", "coronal", "axial")[int(normal.argmax())]


def _letters(orientation: list[float] | None) -> dict[str, str]:
    """The sides of the patient at the sides of the image, from ImageOrientationPatient (PS3.3 C.7.6.2.1.1).

    The axes run to the patient's left, back and head; the first three numbers are where a row runs, the others where a
    column does.
    """
    if orientation is None:
        return {}
    right, bottom = orientation[:3], orientation[3:]
    sides = {"right": right, "left": [-each for each in right], "bottom": bottom, "top": [-each for each in bottom]}
    return {side: _letters_along(direction) for side, direction in sides.items()}


def _letters_along(direction: list[float]) -> str:
    """The letters of a direction, the main one first: L or R, P or A, H or F."""
    found = [
        (abs(part), letters[0] if part > 0 else letters[1])
        for part, letters in zip(direction, ("LR", "PA", "HF"), strict=True)
        if abs(part) > _OBLIQUE
    ]
    return "".join(letter for _, letter in sorted(found, reverse=True))
