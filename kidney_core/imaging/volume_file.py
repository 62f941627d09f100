"""Files that hold a whole volume: recognised by their content, and counted by a child process."""

import zlib
from dataclasses import dataclass

from kidney_core.imaging import decoder
from kidney_core.imaging.file_content import FileContent

AXIAL, CORONAL, SAGITTAL = PLANES = ("axial", "coronal", "sagittal")
_HEAD_BYTES = 352


@dataclass(frozen=True)
class PlaneCount:
    """One way to cut a volume: the plane, the number of slices, and their distance."""

    plane: str
    n_slices: int
    distance_mm: float


def is_gzip(content: bytes) -> bool:
    """True for gzip, as volumes are packed (RFC 1952, 2.3.1)."""
    return content[:2] == b"\x1f\x8b"


def is_volume(content: bytes) -> bool:
    """True for a NIfTI file of one part, packed or not, by its first bytes."""
    try:
        head = unpacked_start(content, _HEAD_BYTES)
    except zlib.error:
        return False
    return head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"


def unpacked_start(content: bytes, n_bytes: int) -> bytes:
    """The first bytes of a file, unpacked where it is gzip. Raises zlib.error."""
    if not is_gzip(content):
        return content[:n_bytes]
    return zlib.decompressobj(31).decompress(content[: 64 * 1024], n_bytes)


def read_counts(content: bytes | FileContent, *, name: str, size: int) -> list[PlaneCount]:
    """The ways to cut a volume, in the order of its frames.

    Args:
        content: a file, or the first bytes of one, which hold the header.
        size: of the whole file, in bytes.

    Raises: SliceError.
    """
    return decoder.run_task("volume", content, _from_wire, name=name, size=size)


def _from_wire(response: decoder.Response) -> list[PlaneCount]:
    counts = [PlaneCount(str(plane), int(n), float(mm)) for plane, n, mm in response.fields["planes"]]
    if [each.plane for each in counts] != list(PLANES) or not all(1 <= each.n_slices <= 3_000 for each in counts):
        raise ValueError(f"the planes of a volume must be {PLANES}")
    return counts
