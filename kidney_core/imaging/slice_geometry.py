"""Where the pixels of a DICOM slice lie in the patient, for objects that refer to them; nothing that identifies anybody."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from kidney_core.common.errors import UnreadableSlice
from kidney_core.imaging import decoder, dicom, dicom_file
from kidney_core.imaging.file_content import FileContent
from kidney_core.imaging.slices import is_dicom

_TAGS = [
    "Rows",
    "Columns",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
]


@dataclass(frozen=True)
class SliceGeometry:
    """The plane of a slice, PS3.3 C.7.6.2.

    Attributes:
        rows, columns: of its pixels.
        corner_mm: the centre of the first pixel in the patient, (x, y, z).
        orientation: direction cosines of a row, then of a column.
        spacing_mm: between rows and between columns.
        thickness_mm: of the slice; None where unknown.
    """

    rows: int
    columns: int
    corner_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    thickness_mm: float | None


def read_geometry(content: bytes | FileContent) -> SliceGeometry | None:
    """The plane of a DICOM file with one image, read by a child process; None for other files and where a tag is missing.

    Raises: UnreadableSlice when the file cannot be parsed.
    """
    return decoder.run_task("geometry", content, _from_wire, name="the DICOM file") if is_dicom(content) else None


def _from_wire(response: decoder.Response) -> SliceGeometry | None:
    """The geometry in a child's response. Raises TypeError or ValueError where it is invalid."""
    found = response.fields["geometry"]
    if found is None:
        return None
    return SliceGeometry(
        rows=int(found["rows"]),
        columns=int(found["columns"]),
        corner_mm=_floats(found["corner_mm"], 3),
        orientation=_floats(found["orientation"], 6),
        spacing_mm=_floats(found["spacing_mm"], 2),
        thickness_mm=None if found["thickness_mm"] is None else _floats([found["thickness_mm"]], 1)[0],
    )


def _floats(values: list[float], n: int) -> tuple[float, ...]:
    numbers = tuple(float(each) for each in values)
    if len(numbers) != n or not all(map(math.isfinite, numbers)):
        raise ValueError(f"must be {n} finite numbers, got {values!r}")
    return numbers


def to_wire(content: bytes) -> dict[str, Any]:
    """The response of a child to `read_geometry`: JSON fields. Raises UnreadableSlice."""
    dataset = dicom_file.parse(content, "the DICOM file", stop_before_pixels=True, specific_tags=_TAGS)
    try:
        tags = dicom.FrameTags(dataset, 0)
        numbers = [
            tags.numbers(keyword, n)
            for keyword, n in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2))
        ]
        rows, columns = tags.number("Rows"), tags.number("Columns")
        has_one_frame = int(tags.number("NumberOfFrames") or 1) == 1
        if not (rows and columns and has_one_frame and all(numbers)):
            return {"geometry": None}
        corner, orientation, spacing = (tuple(each or ()) for each in numbers)
        thickness = tags.number("SliceThickness")
        geometry = SliceGeometry(int(rows), int(columns), corner, orientation, spacing, thickness)
        return {"geometry": asdict(geometry)}
    except Exception as error:
        # pydicom converts a tag at its first access: damage may show at any of them, as any exception.
        raise UnreadableSlice(
            f"The geometry of this DICOM file is damaged and cannot be read ({type(error).__name__}). Export the file again."
        ) from error
