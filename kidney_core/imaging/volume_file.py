"""Files that hold a whole volume: recognised by their content, and counted by a child process."""

import zlib
from dataclasses import dataclass

from kidney_core.imaging import decoder

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
    """True for a NIfTI file of one part, packed or not."""
    head = content[:_HEAD_BYTES]
    if is_gzip(content):
        try:
            head = zlib.decompressobj(31).decompress(content[: 64 * 1024], _HEAD_BYTES)
        except zlib.error:
            return False
    return head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"


def read_counts(content: bytes, *, name: str) -> list[PlaneCount]:
    """The ways to cut a volume, in the order of its frames. Raises SliceError."""
    return decoder.run_task("volume", content, _from_wire, name=name)


def _from_wire(response: decoder.Response) -> list[PlaneCount]:
    counts = [PlaneCount(str(plane), int(n), float(mm)) for plane, n, mm in response.fields["planes"]]
    if [each.plane for each in counts] != list(PLANES) or not all(1 <= each.n_slices <= 3_000 for each in counts):
        raise ValueError(f"the planes of a volume must be {PLANES}")
    return counts
