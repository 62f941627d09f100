"""Slices whose lesions are known: boxes drawn by people, and the masks of simulated slices."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kidney_core import phantom
from kidney_core.errors import DatasetError
from kidney_core.labels import LABELS, NORMAL
from kidney_core.slices import Slice, read_slice

MASKS_FOLDER, BOXES_FOLDER = phantom.MASKS_FOLDER, "labels"
# How far beside a lesion still points at it, of the longer side: 15 of 500 pixels in the source, see `pointing`.
TOLERANCE = 0.03
FIRST_SEED = 970_000  # far from the seeds of the simulated slices that networks were trained on, and of the samples


@dataclass(frozen=True)
class KnownLesion:
    """A slice, its label, and where its lesion is: (H, W) bool."""

    image: Slice
    label: str
    lesion: np.ndarray


def boxes(folder: Path, *, label: str) -> list[KnownLesion]:
    """The slices of a folder in YOLO layout: `images/`, and `labels/` with a text file of boxes for each.

    Raises: DatasetError when the layout is another one or a file of boxes is damaged.
    """
    pictures = sorted((folder / "images").glob("*.*"))
    if not pictures:
        raise DatasetError(f"“{folder}” has no images/ with pictures in it. Name a folder in YOLO layout.")
    found = []
    for path in pictures:
        image = read_slice(path)
        mask = box_mask(folder / BOXES_FOLDER / f"{path.stem}.txt", image.pixels.shape)
        if mask.any():
            found.append(KnownLesion(image, label, mask))
    return found


def box_mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """What the boxes of a text file cover, (H, W) bool. Raises DatasetError when the file is missing or damaged."""
    mask = np.zeros(shape, bool)
    for left, top, right, bottom in _read_boxes(path, shape):
        mask[max(top, 0) : bottom, max(left, 0) : right] = True
    return mask


def has_lesions(root: Path) -> bool:
    """True for a folder of classes with the lesions beside them, as masks or boxes."""
    return any((root / name).is_dir() for name in (MASKS_FOLDER, BOXES_FOLDER))


def has_lesion_file(root: Path, path: str) -> bool:
    """Whether `of_slice` would find a mask or boxes of a slice."""
    return (root / MASKS_FOLDER / path).is_file() or (root / BOXES_FOLDER / path).with_suffix(".txt").is_file()


def stamp(root: Path) -> str:
    """Changes when a file of lesions is added, removed or written anew."""
    files = (path for name in (MASKS_FOLDER, BOXES_FOLDER) for path in sorted((root / name).rglob("*.*")))
    told = "".join(f"{path} {path.stat().st_mtime_ns}\n" for path in files)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def of_slice(root: Path, path: str, shape: tuple[int, int]) -> np.ndarray | None:
    """The lesion of a slice in a folder of classes, (H, W) bool; None where the folder does not tell.

    A mask has the slice's own path below `masks/`; boxes have it below `labels/` with the suffix .txt.

    Raises: DatasetError when a mask has another size or a file of boxes is damaged, SliceError when a mask is unreadable.
    """
    mask, boxes_file = root / MASKS_FOLDER / path, (root / BOXES_FOLDER / path).with_suffix(".txt")
    if mask.is_file():
        found = read_slice(mask).pixels > 0  # 0 and 1, or 0 and 255
        if found.shape != shape:
            raise DatasetError(
                f"“{mask}” has {found.shape[1]} × {found.shape[0]} px and its slice {shape[1]} × {shape[0]}. Export the mask in "
                "the size of the slice."
            )
        return found
    return box_mask(boxes_file, shape) if boxes_file.is_file() else None


def _read_boxes(path: Path, shape: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """(left, top, right, bottom) in pixels; a line is: class, centre x, centre y, width, height, as shares."""
    try:
        lines = path.read_text().split("\n")
        rows = [[float(number) for number in line.split()] for line in lines if line.strip()]
        for _, x, y, width, height in rows:
            yield (
                int(np.floor((x - width / 2) * shape[1])),
                int(np.floor((y - height / 2) * shape[0])),
                int(np.ceil((x + width / 2) * shape[1])),
                int(np.ceil((y + height / 2) * shape[0])),
            )
    except (OSError, ValueError, OverflowError) as error:
        raise DatasetError(
            f"“{path}” is missing or is no list of boxes (class, centre x and y, width, height). Restore it."
        ) from error


def phantoms(n_per_label: int) -> list[KnownLesion]:
    """Simulated slices with a lesion, one a scan, never used in training; the same ones each time."""
    found = []
    for label in LABELS:
        if label == NORMAL:
            continue
        for number in range(n_per_label):
            drawn = phantom.draw_series(label, FIRST_SEED + number, n_slices=1)[0]
            if drawn.lesion.any():
                found.append(KnownLesion(drawn.as_slice(f"simulated {label} {number}"), label, drawn.lesion))
    return found
