"""The position of each frame of a DICOM file in its scan, from the header alone; nothing that identifies the patient."""

import hashlib
import re
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pydicom

from kidney_core.common.errors import KidneyError, OversizedSlice, UnreadableSlice, UnsupportedSlice
from kidney_core.imaging import decoder, dicom, dicom_file
from kidney_core.imaging.file_content import FileContent
from kidney_core.imaging.slices import MAX_IMAGES, check_content

_MAX_TEXT = 128  # characters
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _./+-]{0,23}")  # other texts may hold a name, and are not shown
# Pointers of dimensions that say where a frame lies: in-stack position, image position, acquisition (which is a trait of its own).
_PLACES = (0x00209057, 0x00200032, 0x00209156)
_TAGS = [
    "Modality",
    "ImageType",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "SeriesNumber",
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "Rows",
    "Columns",
    "PixelSpacing",
    "SliceThickness",
    "KVP",
    "ConvolutionKernel",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "DimensionIndexSequence",
    "NumberOfFrames",
    "InstanceNumber",
    "SliceLocation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]


@dataclass(frozen=True)
class FramePosition:
    """The position and orientation of one frame.

    Attributes:
        series: a digest of what tells series and patients apart: UIDs, number, and what names the patient. A key for grouping that is neither shown nor stored.
        is_localizer: True for the scout view on which the scan was planned.
        orientation: direction cosines of a row, then of a column; None where unknown.
        position_mm: along the normal of the slice; None where unknown.
        location_mm: SliceLocation, whose origin is arbitrary; None where unknown.
        number: InstanceNumber; None where unknown.
        traits: what may tell acquisitions within a series apart, in words: "matrix", "kernel" and so on, see `acquisitions`.
    """

    series: str
    is_localizer: bool
    orientation: tuple[float, ...] | None
    position_mm: float | None
    location_mm: float | None
    number: float | None
    traits: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> float:
        """Where it lies along the scan, by the best measure that it has; 0 without any."""
        return next((each for each in (self.position_mm, self.location_mm, self.number) if each is not None), 0.0)


def read_positions(content: bytes | FileContent, *, name: str, head: bytes | None = None) -> list[FramePosition]:
    """The position of each frame of a file, in frame order; a child process reads the header and decodes no pixel.

    Args:
        head: the first bytes of a longer file, which is then read only where its header is longer.

    Raises: UnreadableSlice, UnsupportedSlice (no image, or not CT), OversizedSlice (more than 3,000 frames).
    """
    if isinstance(content, bytes):
        check_content(content, name)
    if head is not None:
        positions = decoder.run_task("position", head, _from_wire, name=name, is_whole=False)
        if positions is not None:
            return positions
    positions = decoder.run_task("position", content, _from_wire, name=name)
    if positions is None:
        raise ValueError("only the first bytes of a file may be too few")
    return positions


def _from_wire(response: decoder.Response) -> list[FramePosition] | None:
    if response.fields["positions"] is None:
        return None
    return [_check_position(**position) for position in response.fields["positions"][:MAX_IMAGES]]


def _check_position(
    series: str,
    is_localizer: bool,
    orientation: list[float] | None,
    traits: dict[str, str],
    **numbers: float | None,
) -> FramePosition:
    """The position in a child's response. Raises TypeError or ValueError where it is invalid."""
    return FramePosition(
        series=str(series)[:_MAX_TEXT],
        is_localizer=is_localizer is True,
        orientation=None if orientation is None else tuple(_check_finite(each) for each in orientation),
        traits={str(key)[:_MAX_TEXT]: str(value)[:_MAX_TEXT] for key, value in traits.items()},
        **{key: None if value is None else _check_finite(value) for key, value in numbers.items()},
    )


def _check_finite(value: float) -> float:
    if not np.isfinite(float(value)):
        raise ValueError(f"must be finite, got {value!r}")
    return float(value)


def to_wire(content: bytes, *, name: str, is_whole: bool = True) -> dict[str, Any]:
    """The response of a child to `read_positions`: JSON fields, null where the first bytes are too few.

    Raises: as `positions_of`.
    """
    try:
        dataset = _parse(content, name, is_whole=is_whole)
    except KidneyError:
        if is_whole:
            raise
        return {"positions": None}
    return {"positions": [asdict(position) for position in _positions(dataset, name)]}


def positions_of(content: bytes, *, name: str) -> list[FramePosition]:
    """`read_positions` without a child process, for files that are trusted.

    Raises: UnreadableSlice, UnsupportedSlice, OversizedSlice.
    """
    return _positions(_parse(content, name), name)


def _parse(content: bytes, name: str, *, is_whole: bool = True) -> pydicom.Dataset:
    return dicom_file.parse(content, name, stop_before_pixels=True, specific_tags=_TAGS, is_whole=is_whole)


def _positions(dataset: pydicom.Dataset, name: str) -> list[FramePosition]:
    try:
        dicom.check_modality(dataset, name)
        if "Rows" not in dataset and dataset.get("Modality") == "CT":
            raise UnreadableSlice(f"“{name}” is cut off or damaged: it has no pixels (tag 0028,0010). Export it again.")
        if "Rows" not in dataset:
            raise UnsupportedSlice(
                f"“{name}” is a DICOM file without an image (no tag 0028,0010). Choose the image files of the CT series."
            )
        n_frames = int(dicom.FrameTags(dataset, 0).number("NumberOfFrames") or 1)
        if n_frames > MAX_IMAGES:
            raise OversizedSlice(
                f"“{name}” states {n_frames:,} frames; the limit is {MAX_IMAGES:,}. Export only the frames you need."
            )
        return [_position(dicom.FrameTags(dataset, frame)) for frame in range(n_frames)]
    except (KidneyError, MemoryError):
        raise
    except Exception as error:
        # pydicom converts a tag at its first access: damage may show at any of them, as any exception.
        raise UnreadableSlice(
            f"“{name}” has damaged DICOM tags, so that its position in the scan is unknown ({type(error).__name__}). "
            "Export it again."
        ) from error


def _position(tags: dicom.FrameTags) -> FramePosition:
    orientation = dicom.orientation_of(tags)
    return FramePosition(
        series=_series_of(tags.dataset),
        is_localizer="LOCALIZER" in _image_type(tags.dataset),
        orientation=tuple(orientation) if orientation else None,
        position_mm=_along_normal(tags.numbers("ImagePositionPatient", 3), orientation),
        location_mm=tags.number("SliceLocation"),
        number=tags.number("InstanceNumber"),
        traits=_traits(tags),
    )


def _series_of(dataset: pydicom.Dataset) -> str:
    names = (
        *("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "SeriesNumber"),
        *("PatientID", "PatientName", "PatientBirthDate"),  # anonymised files often keep one that differs
    )
    return hashlib.sha256("\0".join(str(dataset.get(name) or "") for name in names).encode()).hexdigest()


def _traits(tags: dicom.FrameTags) -> dict[str, str]:
    """The traits of a frame that are known."""
    rows, columns = tags.number("Rows"), tags.number("Columns")
    spacing = tags.numbers("PixelSpacing", 2)
    found = {
        "matrix": f"{columns:g} × {rows:g}" if rows and columns else "",
        "pixel spacing": " × ".join(f"{each:.3g}" for each in sorted(set(spacing))) + " mm" if spacing else "",
        "kernel": _code(tags.get("ConvolutionKernel")),
        "temporal position": _whole(tags, "TemporalPositionIndex", "TemporalPositionIdentifier"),
        "stack": _code(tags.get("StackID")),
        "acquisition": _whole(tags, "FrameAcquisitionNumber", "AcquisitionNumber"),
        "dimension": _dimension(tags),
        "image type": " ".join(filter(None, map(_code, _image_type(tags.dataset)[:4]))).lower(),
        "thickness": _with_unit(tags.number("SliceThickness"), "mm"),
        "tube voltage": _with_unit(tags.number("KVP"), "kV"),
    }
    return {name: value for name, value in found.items() if value}


def _whole(tags: dicom.FrameTags, *keywords: str) -> str:
    number = next((each for each in map(tags.number, keywords) if each is not None), None)
    return "" if number is None else f"{number:g}"


def _with_unit(number: float | None, unit: str) -> str:
    return "" if number is None else f"{number:g} {unit}"


def _code(value: Any) -> str:
    """A coded value that may be shown; "another" for a text that may not."""
    text = "/".join(map(str, value)) if isinstance(value, (list, pydicom.multival.MultiValue)) else str(value or "")
    text = text.strip("\0 ")
    return text if not text or _CODE.fullmatch(text) else f"another ({hashlib.sha256(text.encode()).hexdigest()[:4]})"


def _dimension(tags: dicom.FrameTags) -> str:
    """The dimension indices of a frame of an enhanced file, but for those of its place within a stack (PS3.3 C.7.6.17)."""
    values = tags.get("DimensionIndexValues")
    pointers = [item.get("DimensionIndexPointer") for item in tags.dataset.get("DimensionIndexSequence") or []]
    if not isinstance(values, (list, pydicom.multival.MultiValue)) or len(values) != len(pointers):
        return ""
    return " ".join(str(value) for value, pointer in zip(values, pointers, strict=True) if pointer not in _PLACES)


def _image_type(dataset: pydicom.Dataset) -> list[str]:
    """The values of ImageType; value 3 marks a localizer (PS3.3 C.8.2.1.1.1)."""
    value = dataset.get("ImageType") or []
    return [value] if isinstance(value, str) else [str(each) for each in value]


def _along_normal(position: list[float] | None, orientation: list[float] | None) -> float | None:
    """The distance of a slice from the scanner's origin along its normal, in mm. Source: PS3.3 C.7.6.2.1.1."""
    if position is None or orientation is None:
        return None
    return round(float(np.dot(position, np.cross(orientation[:3], orientation[3:]))), 3)
