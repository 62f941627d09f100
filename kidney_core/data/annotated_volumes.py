"""Slices with masks of both kidneys, as the kidney finder learns them: of annotated volumes in three planes, and simulated.

A folder of annotated volumes holds `slices/<volume>/<number>.jpg`, axial, in radiological view, from the feet to the head,
and `kidneys/<volume>/<number>.png` with 254 in the right kidney and 127 in the left one.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from kidney_core.common.errors import DatasetError, SliceError
from kidney_core.common.labels import LABELS
from kidney_core.imaging.framing import View, square
from kidney_core.imaging.planes import AXIAL, CORONAL
from kidney_core.imaging.slices import FILES_PER_BATCH, read_slices
from kidney_core.kidneys.found import NONE, PICTURE_LEFT, PICTURE_RIGHT
from kidney_core.simulation.phantom import draw_series

SAGITTAL = "sagittal"
ANNOTATED, SIMULATED, PSEUDO_LABELLED = "annotated", "simulated", "pseudo-labelled"
PLANES = (AXIAL, CORONAL, SAGITTAL)
UNSURE = 255  # code of pixels of which nobody knows whether they are kidney; training leaves them out
_RIGHT_GREY, _LEFT_GREY = 254, 127
_ROWS_PER_SLICE = 2.0  # of a reformatted slice: slices are about 3 mm apart, pixels of 256 across a body 1.5 mm
_EVERY = 2  # reformatted slices are taken one of so many, since neighbours are alike
_BODY_GREY, _MIN_BODY = 40, 0.05  # a reformatted slice with less of the body is left out
_PHANTOM_SEED = 50_000  # away from the phantoms of demonstrations and tests


@dataclass(frozen=True)
class Volume:
    """An annotated volume.

    Attributes:
        pixels: (Z, H, W) uint8, from the feet to the head, each slice in radiological view.
        kidneys: (Z, H, W) uint8 codes.
    """

    name: str
    pixels: np.ndarray = field(repr=False)
    kidneys: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class AnnotatedSlices:
    """Slices as the finder sees them.

    Attributes:
        squares: (N, S, S) uint8.
        kidneys: (N, S, S) uint8 codes.
        planes: (N,) of `PLANES`.
        kinds: (N,) of ANNOTATED, SIMULATED and PSEUDO_LABELLED, who outlined the kidneys.
    """

    squares: np.ndarray = field(repr=False)
    kidneys: np.ndarray = field(repr=False)
    planes: np.ndarray = field(repr=False)
    kinds: np.ndarray = field(repr=False)


def is_kidney(codes: np.ndarray) -> np.ndarray:
    """Where codes say kidney: (..., H, W) uint8 -> bool; pixels that are unsure are not."""
    return (codes == PICTURE_LEFT) | (codes == PICTURE_RIGHT)


def read_volumes(folder: Path) -> list[Volume]:
    """All annotated volumes of a folder, by name.

    Raises: DatasetError when there is none, or a slice has no mask of its size; SliceError when one cannot be read.
    """
    names = sorted(path.name for path in folder.glob("slices/*") if path.is_dir())
    if not names:
        raise DatasetError(
            f"“{folder}” holds no annotated volumes. It needs the folders slices/VOLUME and kidneys/VOLUME."
        )
    return [_read_volume(folder, name) for name in names]


def _read_volume(folder: Path, name: str) -> Volume:
    paths = sorted((folder / "slices" / name).glob("*.jpg"))
    if not paths:
        raise DatasetError(f"The volume “{name}” of “{folder}” holds no slices (slices/{name}/NNNN.jpg).")
    pixels = _read_images(paths)
    grey = _read_images([folder / "kidneys" / name / f"{path.stem}.png" for path in paths])
    if grey.shape != pixels.shape:
        raise DatasetError(f"The slices and the masks of the volume “{name}” of “{folder}” differ in size.")
    codes = np.zeros(grey.shape, np.uint8)
    codes[grey == _RIGHT_GREY], codes[grey == _LEFT_GREY] = PICTURE_LEFT, PICTURE_RIGHT
    return Volume(name, pixels, codes)


def _read_images(paths: list[Path]) -> np.ndarray:
    """Images of one size: (N, H, W) uint8. Raises SliceError, and DatasetError where the sizes differ."""
    images = []
    for start in range(0, len(paths), FILES_PER_BATCH):
        for result in read_slices(paths[start : start + FILES_PER_BATCH]):
            if isinstance(result, SliceError):
                raise result
            images.append(result[0].grey8())
    if len({image.shape for image in images}) != 1:
        raise DatasetError(f"The images of “{paths[0].parent}” differ in size.")
    return np.stack(images)


def reformat(volume: Volume, plane: str) -> tuple[np.ndarray, np.ndarray]:
    """The slices of a volume in a plane: pixels and codes, (N, H, W) uint8 each; the head is up in coronal and sagittal ones."""
    if plane == AXIAL:
        return volume.pixels, volume.kidneys
    axes = (1, 0, 2) if plane == CORONAL else (2, 0, 1)
    pixels, codes = (each.transpose(axes)[::_EVERY, ::-1] for each in (volume.pixels, volume.kidneys))
    shows_body = (pixels > _BODY_GREY).mean(axis=(1, 2)) > _MIN_BODY
    height, width = round(pixels.shape[1] * _ROWS_PER_SLICE), pixels.shape[2]
    return (
        np.stack([_resize(each, width, height, Image.Resampling.BILINEAR) for each in pixels[shows_body]]),
        np.stack([_resize(each, width, height, Image.Resampling.NEAREST) for each in codes[shows_body]]),
    )


def of_volumes(
    volumes: list[Volume], view: View, *, progress: Callable[[int, int], None] | None = None
) -> AnnotatedSlices:
    """Every slice of volumes in all planes, as a network with this view sees it."""
    rows = []
    for number, volume in enumerate(volumes, start=1):
        for plane in PLANES:
            rows += [(*fit(grey, codes, view), plane) for grey, codes in zip(*reformat(volume, plane), strict=True)]
        if progress:
            progress(number, len(volumes))
    return gather(rows, ANNOTATED)


def simulated(n_scans: int, view: View) -> AnnotatedSlices:
    """Phantoms, three slices of each of `n_scans` scans a label, as a network with this view sees them."""
    rows = []
    for seed in range(_PHANTOM_SEED, _PHANTOM_SEED + n_scans):
        for label in LABELS:
            for phantom in draw_series(label, seed, n_slices=3):
                grey = phantom.as_slice("phantom").network_grey8()
                codes = np.where(phantom.right, PICTURE_LEFT, np.where(phantom.left, PICTURE_RIGHT, NONE))
                rows.append((*fit(grey, codes.astype(np.uint8), view), phantom.plane))
    return gather(rows, SIMULATED)


def concatenate(parts: Iterable[AnnotatedSlices]) -> AnnotatedSlices:
    """All slices of several parts."""
    parts = list(parts)
    names = ("squares", "kidneys", "planes", "kinds")
    return AnnotatedSlices(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def gather(rows: list[tuple[np.ndarray, np.ndarray, str]], kind: str) -> AnnotatedSlices:
    """(square, codes, plane) of each slice, outlined by the same kind of annotator, as one."""
    squares, kidneys, planes = zip(*rows, strict=True)
    return AnnotatedSlices(np.stack(squares), np.stack(kidneys), np.array(planes), np.full(len(rows), kind))


def fit(grey: np.ndarray, codes: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """A slice and its codes as a network with this view sees them: (S, S) uint8 each."""
    framed = view.frame(grey)
    inside = np.ascontiguousarray(framed.frame.crop(codes))
    return framed.square, square(inside, view.size_px, resample=Image.Resampling.NEAREST)


def _resize(image: np.ndarray, width: int, height: int, how: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((width, height), how))
