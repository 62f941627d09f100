"""Slices with annotated lesions: boxes drawn by people, masks beside class folders, and simulated slices."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kidney_core.common.errors import DatasetError
from kidney_core.common.labels import LABELS, NORMAL
from kidney_core.data.dataset import Dataset
from kidney_core.data.series import scan_table
from kidney_core.imaging.slices import Slice, read_slice
from kidney_core.simulation import phantom

MASKS_FOLDER, BOXES_FOLDER = phantom.MASKS_FOLDER, "labels"
# Distance to a lesion that still counts as a hit, of the longer side: 15 of 500 pixels in the source, see `pointing`.
TOLERANCE = 0.03
FIRST_SEED = 970_000  # far from the seeds of simulated training slices and of the samples


@dataclass(frozen=True)
class AnnotatedSlice:
    """A slice and its lesion.

    Attributes:
        lesion: (H, W) bool, its mask.
        scan: a name or number of its scan, the same for all slices of one; None where that is not known.
    """

    image: Slice
    label: str
    lesion: np.ndarray
    scan: int | str | None = None

    @property
    def network_lesion(self) -> np.ndarray:
        """(H', W') bool, the mask over the upright picture that networks see."""
        return self.image.upright.picture(self.lesion)


def read_boxes(folder: Path, *, label: str) -> list[AnnotatedSlice]:
    """Read the slices with boxes of a folder in YOLO layout: `images/`, and `labels/` with a text file for each image.

    Args:
        label: the label of every slice.

    Raises: DatasetError when the layout is another one or a file of boxes is damaged.
    """
    image_paths = sorted((folder / "images").glob("*.*"))
    if not image_paths:
        raise DatasetError(f"“{folder}” has no folder images/ with images in it. Choose a folder in YOLO layout.")
    annotated = []
    for path in image_paths:
        image = read_slice(path)
        mask = box_mask(_boxes_file(folder, path.name), image.pixels.shape)
        if mask.any():
            annotated.append(AnnotatedSlice(image, label, mask))
    return annotated


def box_mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """The pixels covered by the boxes of a text file, (H, W) bool.

    Raises: DatasetError when the file is missing or damaged.
    """
    mask = np.zeros(shape, bool)
    for left, top, right, bottom in _boxes_of_file(path, shape):
        mask[max(top, 0) : bottom, max(left, 0) : right] = True
    return mask


def has_lesions(root: Path) -> bool:
    """True for a dataset with masks or boxes of lesions beside its class folders."""
    return any((root / name).is_dir() for name in (MASKS_FOLDER, BOXES_FOLDER))


def has_lesion_file(root: Path, path: str) -> bool:
    """True where a dataset has a mask or boxes for a slice."""
    return _mask_file(root, path).is_file() or _boxes_file(root, path).is_file()


def version(root: Path) -> str:
    """A key that changes when a mask or a file of boxes is added, removed or rewritten."""
    files = (path for name in (MASKS_FOLDER, BOXES_FOLDER) for path in sorted((root / name).rglob("*.*")))
    listing = "".join(f"{path} {path.stat().st_mtime_ns}\n" for path in files)
    return hashlib.sha256(listing.encode()).hexdigest()[:16]


def lesion_mask(root: Path, path: str, shape: tuple[int, int]) -> np.ndarray | None:
    """The mask of the lesion of a slice in a dataset, (H, W) bool; None where it has neither a mask nor boxes.

    A mask has the path of its slice below `masks/`, for a JPEG slice also with the suffix .png, since JPEG compression
    would damage the mask; boxes have it below `labels/` with the suffix .txt.

    Args:
        path: of the slice, relative to `root`.
        shape: (H, W) of the slice.

    Raises:
        DatasetError: a mask has another size than its slice, or a file of boxes is damaged.
        SliceError: a mask is unreadable.
    """
    mask_file, boxes_file = _mask_file(root, path), _boxes_file(root, path)
    if mask_file.is_file():
        mask = read_slice(mask_file).pixels > 0  # 0 and 1, or 0 and 255
        if mask.shape != shape:
            raise DatasetError(
                f"“{mask_file}” has {mask.shape[1]} × {mask.shape[0]} px and its slice {shape[1]} × {shape[0]}. Export the "
                "mask in the size of the slice."
            )
        return mask
    return box_mask(boxes_file, shape) if boxes_file.is_file() else None


def read_annotated(dataset: Dataset) -> list[AnnotatedSlice]:
    """The slices of a dataset that have a mask or boxes. Raises as `lesion_mask`, and SliceError."""
    annotated, table = [], scan_table(dataset)
    for path, label, scan in zip(table["path"], table["label"], table["series"], strict=True):
        if has_lesion_file(dataset.root, path):
            image = read_slice(dataset.root / path)
            mask = lesion_mask(dataset.root, path, image.pixels.shape)
            if mask is not None and mask.any():
                annotated.append(AnnotatedSlice(image, label, mask, int(scan)))
    return annotated


def scan_numbers(slices: Sequence[AnnotatedSlice]) -> np.ndarray:
    """(N,) a number for the scan of each slice; a slice whose scan is not known is one of its own."""
    keys = [("scan", each.scan) if each.scan is not None else ("slice", number) for number, each in enumerate(slices)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys])


def _mask_file(root: Path, path: str) -> Path:
    same_name = root / MASKS_FOLDER / path
    is_jpeg = same_name.suffix.lower() in (".jpg", ".jpeg")
    return same_name.with_suffix(".png") if is_jpeg and not same_name.is_file() else same_name


def _boxes_file(root: Path, path: str) -> Path:
    """The file of boxes of a slice. What follows the last dot of “1.2.840.1” is no suffix: it tells slices apart."""
    same_name = root / BOXES_FOLDER / path
    stem = same_name.stem if re.fullmatch(r"\.[A-Za-z]\w*", same_name.suffix) else same_name.name
    return same_name.with_name(f"{stem}.txt")


def _boxes_of_file(path: Path, shape: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """(left, top, right, bottom) in pixels of each line: class, centre x, centre y, width, height, as fractions."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
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
            f"“{path}” is missing or not a list of boxes (class, centre x and y, width, height). Restore it."
        ) from error


def draw_phantoms(n_per_label: int) -> list[AnnotatedSlice]:
    """Draw simulated slices with a lesion, one per scan, always the same ones; their seeds are not used in training."""
    annotated = []
    for label in LABELS:
        if label == NORMAL:
            continue
        for number in range(n_per_label):
            drawn = phantom.draw_series(label, FIRST_SEED + number, n_slices=1)[0]
            if drawn.lesion.any():
                annotated.append(AnnotatedSlice(drawn.as_slice(f"simulated {label} {number}"), label, drawn.lesion))
    return annotated
