"""NIfTI volumes (.nii, .nii.gz) -> slices in radiological view, in a child process of `decoder`.

A volume has no slices of its own: it is cut axially, coronally and sagittally, by its affine. The frames of a file are its axial
slices from the feet to the head, then its coronal ones from the back to the front, then its sagittal ones from left to right.
"""

import contextlib
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.orientations import apply_orientation, io_orientation

from kidney_core.common.errors import KidneyError, OversizedSlice, UnreadableSlice, UnsupportedSlice
from kidney_core.imaging import volume_file
from kidney_core.imaging.slices import MAX_ASPECT, MAX_IMAGES, Slice, Window
from kidney_core.imaging.volume_file import AXIAL, CORONAL, SAGITTAL, is_gzip

MAX_VOLUME_BYTES = 400 * 1024**2  # unpacked; 1,500 slices of 512 x 512 in 8 bits, 750 in 16 bits
_PIECE_BYTES = 1024**2
_MOST_LABELS = 16  # different numbers of a volume that is a segmentation; a CT has hundreds
_MAX_HEADER_BYTES = 1024  # NIfTI-1 has 348 and NIfTI-2 540
# The axis of a canonical (x to the right, y to the front, z to the head) array along which a plane is cut, and the axes of its
# rows and columns, which run from high to low values: from the front or the head down, and from the patient's right or front on.
_AXES = {AXIAL: (2, 1, 0), CORONAL: (1, 2, 0), SAGITTAL: (0, 2, 1)}
_LETTERS = {
    AXIAL: {"left": "R", "right": "L", "top": "A", "bottom": "P"},
    CORONAL: {"left": "R", "right": "L", "top": "H", "bottom": "F"},
    SAGITTAL: {"left": "A", "right": "P", "top": "H", "bottom": "F"},
}
_NO_AXES_NOTE = (
    "The file does not say how its axes lie in the patient (qform and sform are not set). Sides are not named, and the usual order is "
    "assumed: from right to left, back to front, feet to head."
)
_last = threading.local()


@dataclass(frozen=True)
class Volume:
    """A volume in canonical orientation.

    Attributes:
        values: (X, Y, Z) to the patient's right, front and head, as stored.
        spacing_mm: along each axis.
        slope, intercept: of the values.
        has_axes: whether the file says how its axes lie in the patient.
    """

    values: np.ndarray = field(repr=False)
    spacing_mm: tuple[float, float, float]
    slope: float
    intercept: float
    has_axes: bool = True


def counts(content: bytes, *, name: str, size: int) -> list[tuple[str, int, float]]:
    """(plane, number of slices, distance in mm) of each way to cut a volume, in the order of its frames.

    Args:
        content: the bytes of the file, or its first ones, which hold the header.
        size: of the whole file, in bytes.

    Raises: SliceError.
    """
    if size == len(content):
        shape, spacing_mm = (volume := _volume(content, name)).values.shape, volume.spacing_mm
    else:
        with _damage_told(name):
            layout = _layout(volume_file.unpacked_start(content, _MAX_HEADER_BYTES), name)
            if not is_gzip(content) and layout.offset + layout.n_bytes > size:
                raise ValueError("the file ends before its voxels do")
        shape, spacing_mm = layout.canonical_shape, layout.spacing_mm
    return [(plane, shape[axis], spacing_mm[axis]) for plane, (axis, _, _) in _AXES.items()]


def decode(content: bytes, *, name: str, frame: int) -> Slice:
    """One slice of a volume, numbered from 0 over all planes. Raises SliceError as `slices.read_slice`."""
    volume = _volume(content, name)
    left = frame
    for plane, (axis, _, _) in _AXES.items():
        n = volume.values.shape[axis]
        if 0 <= left < n:
            return _cut(volume, name, plane, left, frame)
        left -= n
    raise UnsupportedSlice(f"“{name}” has {sum(volume.values.shape)} slices; there is no slice {frame + 1}.")


def _cut(volume: Volume, name: str, plane: str, index: int, frame: int) -> Slice:
    axis, down, across = _AXES[plane]
    plane_of_volume = np.moveaxis(volume.values, axis, 0)[index]  # a view: np.take would copy the whole volume first
    pixels = plane_of_volume.T[::-1, ::-1].astype(np.float32)
    pixels = pixels * np.float32(volume.slope) + np.float32(volume.intercept)
    if not np.isfinite(pixels).all():
        pixels = np.nan_to_num(
            pixels, nan=float(np.nanmin(pixels)) if np.isfinite(pixels).any() else 0.0, posinf=0, neginf=0
        )
    spacing = (volume.spacing_mm[down], volume.spacing_mm[across])
    ratio = spacing[0] / spacing[1]
    found = Slice(
        name=name,
        pixels=pixels,
        unit="grey",
        window=Window.spanning(pixels),
        spacing_mm=spacing,
        pixel_aspect=ratio if 1 / MAX_ASPECT <= ratio <= MAX_ASPECT else 1.0,
        letters=_LETTERS[plane] if volume.has_axes else {},
        n_frames=sum(volume.values.shape),
        frame=frame,
        facts={
            "Format": "NIfTI",
            "Values": "as stored",
            "Pixel spacing": f"{spacing[0]:.3g} × {spacing[1]:.3g} mm",
            "Slice distance": f"{volume.spacing_mm[axis]:.3g} mm",
            "Plane": plane,
        },
        notes=() if volume.has_axes else (_NO_AXES_NOTE,),
    )
    return found.recognised(of=_sample(volume))


def _sample(volume: Volume) -> np.ndarray:
    """Some values of the whole volume, by which its unit is recognised: a slice through the lungs alone would not tell."""
    step = max(1, round((volume.values.size / 200_000) ** (1 / 3)))
    few = volume.values[::step, ::step, ::step].astype(np.float32)
    return few * np.float32(volume.slope) + np.float32(volume.intercept)


def _volume(content: bytes, name: str) -> Volume:
    """The volume of a file, kept per thread, since its slices are read one after another."""
    cached: tuple[bytes, Volume] | None = getattr(_last, "parsed", None)
    if cached is not None and cached[0] is content:
        return cached[1]
    with _damage_told(name):
        volume = _parse(_unpacked(content, name), name)
    _last.parsed = (content, volume)
    return volume


@contextlib.contextmanager
def _damage_told(name: str) -> Iterator[None]:
    try:
        yield
    except (KidneyError, MemoryError):
        raise
    except Exception as error:
        # nibabel and NumPy raise HeaderDataError, ValueError, TypeError, LinAlgError and others on damaged headers.
        raise UnreadableSlice(
            f"“{name}” is a damaged or truncated NIfTI file ({type(error).__name__}). Export or copy it again."
        ) from error


def _unpacked(content: bytes, name: str) -> bytes:
    if not is_gzip(content):
        return content
    inflater, pieces, rest, size = zlib.decompressobj(31), [], content, 0
    while rest:
        pieces.append(inflater.decompress(rest, _PIECE_BYTES))
        rest, size = inflater.unconsumed_tail, size + len(pieces[-1])
        if inflater.eof:  # gzip may have several members, one behind the other (RFC 1952, 2.2)
            rest = inflater.unused_data if is_gzip(inflater.unused_data) else b""
            inflater = zlib.decompressobj(31)
        if size > MAX_VOLUME_BYTES:
            raise OversizedSlice(
                f"“{name}” unpacks to more than {MAX_VOLUME_BYTES // 1024**2} MB. Crop or resample the volume to the kidneys."
            )
    return b"".join(pieces)


@dataclass(frozen=True)
class _Layout:
    """What a header says of the voxels: how they lie in the file, and in the patient."""

    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    orientation: np.ndarray
    spacing_mm: tuple[float, float, float]  # along the axes of the patient
    slope: float
    intercept: float
    has_axes: bool

    @property
    def n_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def canonical_shape(self) -> tuple[int, ...]:
        return tuple(self.shape[int(np.flatnonzero(self.orientation[:, 0] == axis)[0])] for axis in range(3))


def _layout(content: bytes, name: str) -> _Layout:
    header = (
        Nifti2Header(content[:540], check=False)
        if content[4:8] == b"n+2\0"
        else Nifti1Header(content[:348], check=False)
    )
    shape = tuple(int(n) for n in header.get_data_shape())
    if len(shape) > 3 and max(shape[3:]) > 1:
        raise UnsupportedSlice(
            f"“{name}” holds {int(np.prod(shape[3:]))} volumes, such as phases. Export each as a file of its own."
        )
    shape = (*shape, 1, 1, 1)[:3]
    dtype = header.get_data_dtype()
    if dtype.names or dtype.kind not in "iuf":
        raise UnsupportedSlice(
            f"“{name}” is a NIfTI file of colours or complex numbers, not of CT. Export the CT itself."
        )
    n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if n_bytes > MAX_VOLUME_BYTES or sum(shape) > MAX_IMAGES or min(shape) < 1:
        raise OversizedSlice(
            f"“{name}” has {' × '.join(map(str, shape))} voxels; the limit is {MAX_VOLUME_BYTES // 1024**2} MB. Crop or resample it to "
            "the kidneys."
        )
    affine = header.get_best_affine()
    orientation = io_orientation(affine)
    if np.isnan(orientation).any():
        raise ValueError("the affine has no direction for an axis")
    slope, intercept = header.get_slope_inter()
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    by_axis = [float(spacing[int(np.flatnonzero(orientation[:, 0] == axis)[0])]) for axis in range(3)]
    if min(by_axis) <= 0:
        raise ValueError("the spacing must be above 0")
    return _Layout(
        (shape[0], shape[1], shape[2]),
        dtype,
        int(header.get_data_offset()),
        orientation,
        (by_axis[0], by_axis[1], by_axis[2]),
        1.0 if slope is None else float(slope),
        0.0 if intercept is None else float(intercept),
        has_axes=bool(header["qform_code"] or header["sform_code"]),
    )


def _parse(content: bytes, name: str) -> Volume:
    found = _layout(content, name)
    values = np.frombuffer(content, found.dtype, int(np.prod(found.shape)), found.offset)
    values = apply_orientation(values.reshape(found.shape, order="F"), found.orientation)
    volume = Volume(values, found.spacing_mm, found.slope, found.intercept, found.has_axes)
    if 1 < len(labels := np.unique(_sample(volume))) <= _MOST_LABELS and (labels == np.rint(labels)).all():
        raise UnsupportedSlice(
            f"“{name}” holds {len(labels)} labels, as a segmentation does, and no CT. Open the scan that it was drawn on."
        )
    return volume
