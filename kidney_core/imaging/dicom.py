"""DICOM -> Slice: rescale to Hounsfield units, VOI window, frames, and only tags that do not identify the patient.

It runs in a child process of `decoder`; use it through `slices`.
"""

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels import apply_modality_lut

from kidney_core.common.errors import KidneyError, UnreadableSlice, UnsupportedSlice
from kidney_core.imaging import dicom_file, dicom_pixels, hounsfield
from kidney_core.imaging.raster import grey_of
from kidney_core.imaging.slices import MAX_ASPECT, SOFT_TISSUE, Slice, Window, check_pixels

# PS3.3 C.7.3.1.1.1: modalities that are sometimes uploaded by mistake instead of CT.
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
    "PR": "a presentation state of other images",
    "KO": "a list of other images",
}
_ACCEPTED_MODALITIES = ("CT", "OT", "")  # exports of CT slices are often labelled "other" or not at all
# Coded values that may be shown; any other value is left out, since free text typed into a coded tag may name the
# patient.
_BODY_PARTS = {"ABDOMEN", "ABDOMENPELVIS", "CHESTABDPELVIS", "KIDNEY", "PELVIS", "CHEST", "HEAD", "NECK", "SPINE"}
_HU_TYPES = ("HU", "HU_MOD")  # PS3.3 C.11.1.1.2: HU_MOD are modified, as by metal artefact reduction
_MAX_WINDOWS = 8
_CAPTURES = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")  # colour spaces of screen captures
_SLOPPY = 0.1  # by how much directions may miss length 1 and a right angle
_NO_UNIT_NOTE = "The file gives no Hounsfield units; grey values are shown as stored."
_OBLIQUE = 0.3  # direction cosine below which an axis gets no letter
_last = threading.local()


def decode(content: bytes, *, name: str, frame: int = 0) -> Slice:
    """Decode one frame of a DICOM file, numbered from 0; in Hounsfield units where the file provides them.

    Raises: UnreadableSlice, UnsupportedSlice, OversizedSlice (see `slices.read_slice`).
    """
    dataset = _parse(content, name)
    try:
        return _slice_of(dataset, name, frame)
    except (KidneyError, MemoryError):
        raise
    except Exception as error:
        # pydicom converts a tag at its first access: damage may show at any of them, as any exception.
        raise UnreadableSlice(
            f"“{name}” has damaged DICOM tags and cannot be decoded ({type(error).__name__}). Export it again."
        ) from error


def _parse(content: bytes, name: str) -> pydicom.Dataset:
    """`dicom_file.parse`, cached per thread for a multi-frame file that is read frame by frame."""
    cached: tuple[bytes, pydicom.Dataset] | None = getattr(_last, "parsed", None)
    if cached is not None and cached[0] is content:
        return cached[1]
    dataset = dicom_file.parse(content, name)
    _last.parsed = (content, dataset) if "NumberOfFrames" in dataset else None
    return dataset


def _slice_of(dataset: pydicom.Dataset, name: str, frame: int) -> Slice:
    _check_kind(dataset, name)
    n_frames = int(_number(dataset.get("NumberOfFrames")) or 1)
    if not 0 <= frame < n_frames:
        raise UnsupportedSlice(f"“{name}” has {n_frames} frames; there is no frame {frame + 1}. Choose a smaller one.")
    check_pixels(int(dataset.Columns), int(dataset.Rows), name)
    dicom_pixels.check_depth(dataset, name)
    tags = FrameTags(dataset, frame)
    stored = dicom_pixels.stored_values(dataset, name, frame)
    if stored.ndim == 3:
        return _of_capture(stored, tags, name, n_frames, frame)
    values, is_hu = _rescale(stored, tags)
    notes = () if is_hu else (_NO_UNIT_NOTE,)
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    windows, recognised_by = _windows(tags), ""
    if is_hu and hounsfield.are_lost(values):
        values, is_hu, notes, windows = stored.astype(np.float32), False, (hounsfield.LOST_NOTE,), {}
    elif inverted or is_hu:
        corrected = _corrected(values, inverted=inverted)
        if corrected is not None:
            values, recognised_by = corrected
            is_hu, inverted, notes, windows = True, False, (recognised_by,), {}
    window, window_note = _window(windows, tags, values, is_hu)
    found = Slice(
        name=name,
        pixels=values,
        unit="HU" if is_hu else "grey",
        window=window,
        inverted=inverted,
        spacing_mm=_spacing(tags),
        pixel_aspect=_pixel_aspect(tags),
        letters=_letters(orientation_of(tags)),
        n_frames=n_frames,
        frame=frame,
        windows=windows,
        recognised_as_hu=bool(recognised_by),
        facts=_facts(tags, is_hu, window_note),
        notes=(*notes, *_display_notes(tags)),
    )
    # A file with a window was meant to be seen as it is.
    recognised = found if windows or notes == (hounsfield.LOST_NOTE,) else found.recognised()
    if recognised is found:
        return found
    facts = {
        **found.facts,
        "Values": "Hounsfield units, recognised",
        "Window": "400/40, soft tissue (the file has none)",
    }
    return replace(recognised, facts=facts, notes=recognised.notes[1:])


def _corrected(values: np.ndarray, *, inverted: bool) -> tuple[np.ndarray, str] | None:
    """Hounsfield units out of values that the file describes wrongly, with the note that says so; None where nothing is wrong."""
    offset = hounsfield.recognise(values)
    if offset:
        return values + np.float32(offset), hounsfield.SHIFTED_NOTE.format(offset=f"{-offset:.0f}")
    if not inverted:
        return None
    if offset is not None:
        return values, hounsfield.INVERTED_NOTE
    air = hounsfield.recognise_inverted(values)
    return None if air is None else (np.float32(air) - values, hounsfield.INVERTED_NOTE)


def _of_capture(colours: np.ndarray, tags: "FrameTags", name: str, n_frames: int, frame: int) -> Slice:
    """A secondary capture in colour, read as a picture with these pixels: (H, W, 3) uint8."""
    grey, notes = grey_of(Image.fromarray(colours))
    return Slice(
        name=name,
        pixels=grey,
        unit="grey",
        window=Window(127.5, 255),
        spacing_mm=_spacing(tags),
        pixel_aspect=_pixel_aspect(tags),
        letters=_letters(orientation_of(tags)),
        n_frames=n_frames,
        frame=frame,
        facts=_facts(tags, False, "all values"),
        notes=("The file is a screen capture without Hounsfield units.", *notes),
    )


class FrameTags:
    """The tags of one frame: its own, those shared by all frames, and those of the file.

    Enhanced CT keeps rescale, window, spacing and orientation in functional groups (PS3.3 C.7.6.16).
    """

    def __init__(self, dataset: pydicom.Dataset, frame: int) -> None:
        self.dataset = dataset
        groups: list[pydicom.Dataset] = []
        for keyword, position in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
            sequence = dataset.get(keyword) or []
            groups += sequence[position : position + 1]
        # From the most to the least specific.
        self._levels = [
            item for group in groups for element in group if element.VR == "SQ" for item in element.value[:1]
        ]
        self._levels.append(dataset)

    def get(self, keyword: str) -> Any:
        """The value of a tag at the most specific level that has it, or None."""
        return next((level.get(keyword) for level in self._levels if keyword in level), None)

    def number(self, keyword: str) -> float | None:
        """The first number of a tag; None where it is missing, empty, not a number or not finite."""
        return _number(self.get(keyword))

    def numbers(self, keyword: str, count: int) -> list[float] | None:
        """Exactly `count` finite numbers of a tag, or None."""
        value = self.get(keyword)
        if isinstance(value, (str, bytes)) or not hasattr(value, "__len__") or len(value) != count:
            return None
        numbers = [number for item in value if (number := _number(item)) is not None]
        return numbers if len(numbers) == count else None


def _number(value: Any) -> float | None:
    """The first number of a DICOM value that may be empty, single, multiple or damaged; None where it is not finite."""
    if isinstance(value, (list, pydicom.multival.MultiValue)):
        value = value[0] if len(value) else None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _rescale(stored: np.ndarray, tags: FrameTags) -> tuple[np.ndarray, bool]:
    """Stored values -> (float32 values, True where these are Hounsfield units). Source: PS3.3 C.11.1.1.2."""
    if "ModalityLUTSequence" in tags.dataset:
        try:
            return apply_modality_lut(stored, tags.dataset).astype(np.float32), False
        except (ValueError, TypeError, AttributeError, IndexError, NotImplementedError):
            return stored.astype(np.float32), False  # a damaged table: shown as stored, as the note says
    slope, intercept = tags.number("RescaleSlope"), tags.number("RescaleIntercept")
    if not slope or intercept is None:
        return stored.astype(np.float32), False
    values = np.empty(stored.shape, np.float32)
    with np.errstate(over="ignore"):
        for row in range(len(stored)):  # row by row: a whole image in double precision may take half a gigabyte
            values[row] = stored[row] * np.float64(slope) + intercept
    if not np.isfinite(values).all():
        raise ValueError("the rescaled values are beyond single precision")
    # PS3.3 C.11.1.1.2: a CT image without RescaleType is in HU.
    is_hu = _modality(tags.dataset) == "CT" and str(tags.get("RescaleType") or "HU").upper() in _HU_TYPES
    return values, is_hu


def _modality(dataset: pydicom.Dataset) -> str:
    return str(dataset.get("Modality") or "").strip("\0 ").upper()


def check_modality(dataset: pydicom.Dataset, name: str) -> None:
    """Raise UnsupportedSlice for a file of another modality than CT."""
    modality = _modality(dataset)
    if modality in _ACCEPTED_MODALITIES:
        return
    # An unknown value is not repeated: free text may name the patient.
    kind = f"{_MODALITIES[modality]} ({modality})" if modality in _MODALITIES else "of another modality"
    raise UnsupportedSlice(f"“{name}” is {kind}, not CT. Upload an abdominal CT slice.")


def _check_kind(dataset: pydicom.Dataset, name: str) -> None:
    check_modality(dataset, name)
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise UnsupportedSlice(
            f"“{name}” contains computed values, not a CT image. Choose the image files of the CT series."
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
    n_samples = _number(dataset.get("SamplesPerPixel")) or 1
    is_grey = n_samples == 1 and dataset.PhotometricInterpretation in ("MONOCHROME1", "MONOCHROME2")
    is_capture = n_samples == 3 and dataset.BitsAllocated == 8 and dataset.PhotometricInterpretation in _CAPTURES
    if not (is_grey or is_capture):
        raise UnsupportedSlice(
            f"“{name}” is a colour DICOM image of a kind that CT slices are not ({dataset.PhotometricInterpretation}). Upload the original "
            "CT slice."
        )


def _windows(tags: FrameTags) -> dict[str, Window]:
    """The display windows of a frame by name, in the order of the file; none where the rescaled values that they apply to are undefined."""
    if tags.get("RescaleSlope") is not None and not (
        tags.number("RescaleSlope") and tags.number("RescaleIntercept") is not None
    ):
        return {}
    centers, widths = (_all_numbers(tags.get(keyword)) for keyword in ("WindowCenter", "WindowWidth"))
    # PS3.3 C.11.2.1.2.1: LINEAR maps c - 0.5 to mid-grey over w - 1 values.
    is_linear = str(tags.get("VOILUTFunction") or "LINEAR") == "LINEAR"
    windows: dict[str, Window] = {}
    for center, width in list(zip(centers, widths, strict=False))[:_MAX_WINDOWS]:
        if center is not None and width is not None and width >= 1:
            shown = Window(center - 0.5, width - 1) if is_linear and width > 1 else Window(center, width)
            windows.setdefault(f"{width:g}/{center:g}, from the file", shown)
    return windows


def _window(windows: dict[str, Window], tags: FrameTags, values: np.ndarray, is_hu: bool) -> tuple[Window, str]:
    """The window that is shown first, and where it comes from in words."""
    for name, window in windows.items():
        return window, name
    if is_hu:
        return SOFT_TISSUE, "400/40, soft tissue (the file has none)"
    padding = tags.number("PixelPaddingValue")  # PS3.3 C.7.5.1.1.2: not part of the image
    inside = values[values != padding] if padding is not None and (values != padding).any() else values
    return Window.spanning(inside), "all values"


def _display_notes(tags: FrameTags) -> tuple[str, ...]:
    """What the file says about its display that is not applied (PS3.3 C.11.2); networks see Hounsfield units whatever it says."""
    if tags.get("VOILUTSequence"):
        return ("The file has a lookup table for display (VOI LUT), which is not applied: a window is shown instead.",)
    if str(tags.get("VOILUTFunction") or "").upper() == "SIGMOID":
        return ("The file asks for a sigmoid window, which is shown as a linear one.",)
    return ()


def _all_numbers(value: Any) -> list[float | None]:
    """Every number of a DICOM value that may be empty, single or multiple; None for what is no finite number."""
    values = list(value) if isinstance(value, (list, pydicom.multival.MultiValue)) else [value]
    return [_number(each) for each in values]


def _spacing(tags: FrameTags) -> tuple[float, float] | None:
    spacing = tags.numbers("PixelSpacing", 2)
    return (spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None


def _pixel_aspect(tags: FrameTags) -> float:
    """Height of a pixel over its width: of its spacing, or PixelAspectRatio (PS3.3 C.7.6.3.1.7); 1 where neither is plausible."""
    sides = _spacing(tags) or tags.numbers("ImagerPixelSpacing", 2) or tags.numbers("PixelAspectRatio", 2)
    if not sides or min(sides) <= 0 or max(sides) > MAX_ASPECT * min(sides):
        return 1.0
    return sides[0] / sides[1]


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
    plane = plane_of(orientation_of(tags))
    if plane:
        facts["Plane"] = plane
    return facts


def orientation_of(tags: FrameTags) -> list[float] | None:
    """The direction cosines of a row, then of a column; None where they are missing, or no directions at right angles.

    Source: ImageOrientationPatient, PS3.3 C.7.6.2.1.1.
    """
    cosines = tags.numbers("ImageOrientationPatient", 6)
    if cosines is None:
        return None
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > _SLOPPY or abs(row @ column) > _SLOPPY:
        return None
    return cosines


def plane_of(orientation: list[float] | None) -> str | None:
    """The plane nearest to six direction cosines: "axial", "coronal" or "sagittal"; None for None.

    Source: ImageOrientationPatient, PS3.3 C.7.6.2.1.1.
    """
    if orientation is None:
        return None
    normal = np.abs(np.cross(orientation[:3], orientation[3:]))
    return ("sagittal", "coronal", "axial")[int(normal.argmax())]


def _letters(orientation: list[float] | None) -> dict[str, str]:
    """The side of the patient at each side of the image. Source: ImageOrientationPatient, PS3.3 C.7.6.2.1.1.

    The axes point to the patient's left, back and head; the first three numbers are the direction of a row, the others
    that of a column.
    """
    if orientation is None:
        return {}
    right, bottom = orientation[:3], orientation[3:]
    sides = {"right": right, "left": [-each for each in right], "bottom": bottom, "top": [-each for each in bottom]}
    return {side: _letters_along(direction) for side, direction in sides.items()}


def _letters_along(direction: list[float]) -> str:
    """The letters of a direction, the main one first: L or R, P or A, H or F."""
    weighted = [
        (abs(cosine), letters[0] if cosine > 0 else letters[1])
        for cosine, letters in zip(direction, ("LR", "PA", "HF"), strict=True)
        if abs(cosine) > _OBLIQUE
    ]
    return "".join(letter for _, letter in sorted(weighted, reverse=True))
