"""Where each frame of a DICOM file lies in its scan, from the header alone; nothing of the patient."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pydicom

from kidney_core import decoder, dicom, dicom_file
from kidney_core.errors import KidneyError, OversizedSlice, UnreadableSlice, UnsupportedSlice
from kidney_core.slices import MAX_IMAGES, check_content

_MAX_SERIES = 128  # characters; a UID has 64
_TAGS = [
    "Modality",
    "ImageType",
    "SeriesInstanceUID",
    "Rows",
    "NumberOfFrames",
    "InstanceNumber",
    "SliceLocation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]


@dataclass(frozen=True)
class Place:
    """Where one frame lies.

    Attributes:
        series: the SeriesInstanceUID, a key to group by that is neither shown nor kept.
        is_localizer: the scout view on which the scan was planned.
        orientation: direction cosines of a row, then of a column; None where unknown.
        position_mm: along the normal of the slice; None where unknown.
        location_mm: SliceLocation, which has no fixed zero; None where unknown.
        number: InstanceNumber; None where unknown.
    """

    series: str
    is_localizer: bool
    orientation: tuple[float, ...] | None
    position_mm: float | None
    location_mm: float | None
    number: float | None


def read_places(content: bytes, *, name: str) -> list[Place]:
    """The place of each frame of a file, in the order of its frames; a child process reads them, and decodes no pixel.

    Raises: UnreadableSlice, UnsupportedSlice (no image, or not CT), OversizedSlice (more than 3,000 frames).
    """
    check_content(content, name)
    return decoder.ask("place", content, _places_of_answer, name=name)


def _places_of_answer(answer: decoder.Answer) -> list[Place]:
    return [_checked(**place) for place in answer.fields["places"][:MAX_IMAGES]]


def _checked(series: str, is_localizer: bool, orientation: list | None, **numbers: float | None) -> Place:
    """The place that a child told. Raises TypeError or ValueError where it told none."""
    return Place(
        series=str(series)[:_MAX_SERIES],
        is_localizer=is_localizer is True,
        orientation=None if orientation is None else tuple(_number(each) for each in orientation),
        **{key: None if value is None else _number(value) for key, value in numbers.items()},
    )


def _number(value: float) -> float:
    if not np.isfinite(float(value)):
        raise ValueError(f"must be finite, got {value!r}")
    return float(value)


def told(content: bytes, *, name: str) -> dict[str, Any]:
    """What a child tells `read_places`."""
    return {"places": [asdict(place) for place in places_of(content, name=name)]}


def places_of(content: bytes, *, name: str) -> list[Place]:
    """`read_places`, in this process."""
    dataset = dicom_file.parse(content, name, stop_before_pixels=True, specific_tags=_TAGS)
    try:
        dicom.check_modality(dataset, name)
        if "Rows" not in dataset:
            raise UnsupportedSlice(
                f"“{name}” is a DICOM file without an image (no tag 0028,0010). Choose the image files of the CT series."
            )
        n_frames = int(dicom.FrameTags(dataset, 0).number("NumberOfFrames") or 1)
        if n_frames > MAX_IMAGES:
            raise OversizedSlice(f"“{name}” says it has {n_frames:,} frames; the limit is {MAX_IMAGES:,}.")
        return [_place(dicom.FrameTags(dataset, frame)) for frame in range(n_frames)]
    except (KidneyError, MemoryError):
        raise
    except Exception as error:
        # pydicom converts a tag when it is asked for: damage may show at any of them, as any exception.
        raise UnreadableSlice(
            f"“{name}” has damaged DICOM tags and cannot be placed in its scan ({type(error).__name__}). Export it again."
        ) from error


def _place(tags: dicom.FrameTags) -> Place:
    orientation = tags.numbers("ImageOrientationPatient", 6)
    return Place(
        series=str(tags.dataset.get("SeriesInstanceUID", "")),
        is_localizer="LOCALIZER" in _words(tags.dataset),
        orientation=tuple(orientation) if orientation else None,
        position_mm=_along_normal(tags.numbers("ImagePositionPatient", 3), orientation),
        location_mm=tags.number("SliceLocation"),
        number=tags.number("InstanceNumber"),
    )


def _words(dataset: pydicom.Dataset) -> list[str]:
    """ImageType, of which value 3 tells a localizer (PS3.3 C.8.2.1.1.1)."""
    value = dataset.get("ImageType") or []
    return [value] if isinstance(value, str) else [str(each) for each in value]


def _along_normal(position: list[float] | None, orientation: list[float] | None) -> float | None:
    """The slice's distance from the scanner's origin along its normal, in mm. Source: PS3.3 C.7.6.2.1.1."""
    if position is None or orientation is None:
        return None
    return round(float(np.dot(position, np.cross(orientation[:3], orientation[3:]))), 3)
