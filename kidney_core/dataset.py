"""A folder of class folders -> a table of readable slices, with what could not be read beside it."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from kidney_core.errors import DatasetError, SliceError
from kidney_core.files import remove_left_over, write_whole
from kidney_core.labels import canonical_label, ordered_labels
from kidney_core.slices import SUFFIXES, read_slice

THUMBNAIL_PX = 32
NOT_CLASSES = ("masks",)  # lesion masks that lie beside the class folders, as kidney_core.phantom writes them
Progress = Callable[[int, int], None]

LAYOUT_HELP = (
    "Expected one folder per class with the images inside, for example FOLDER/Cyst/…, FOLDER/Normal/…, "
    "FOLDER/Stone/…, FOLDER/Tumor/… (PNG, JPEG, BMP, TIFF or DICOM)."
)


@dataclass(frozen=True)
class Dataset:
    """A folder that was read once.

    Attributes:
        root: the folder.
        labels: its classes, the four known ones first.
        table: one row a readable slice, in file order within each class, with the columns
            `path` (relative to root, with /), `label`, `sha256` (of the file).
        thumbnails: (N, 32, 32) uint8, in the order of `table`.
        unreadable: (path, reason) of each file that is no usable image.
        fingerprint: hex digest of every path, label and content: two folders with the same one are the same data.
    """

    root: Path
    labels: tuple[str, ...]
    table: pd.DataFrame = field(repr=False)
    thumbnails: np.ndarray = field(repr=False)
    unreadable: tuple[tuple[str, str], ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.table)

    def counts(self) -> dict[str, int]:
        """Slices per label, in label order."""
        found = self.table["label"].value_counts()
        return {label: int(found.get(label, 0)) for label in self.labels}


def cache_folder() -> Path:
    """Where derived data (indexes, decoded pixels) are kept: $KIDNEY_CACHE, or the user's cache folder."""
    base = (
        os.environ.get("KIDNEY_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "kidney-ct"
    )
    folder = Path(base)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def read_dataset(root: Path | str, *, progress: Progress | None = None, use_cache: bool = True) -> Dataset:
    """Read every image below the class folders of `root`.

    The result is cached under the sizes and modification times of the files, so that a second
    reading of an unchanged folder takes a fraction of a second.

    Args:
        progress: called with (files read, files in all).

    Raises:
        DatasetError: no such folder, no class folders, or no readable image in it.
    """
    root = Path(root).expanduser()
    files = list(_image_files(root))
    cached = cache_folder() / f"index-{_listing_key(root, files)}.npz"
    if use_cache and cached.is_file():
        return _load_index(root, cached)
    dataset = _read_files(root, files, progress)
    _save_index(dataset, cached)
    return dataset


def natural_key(path: str) -> tuple:
    """Sort key that puts `Cyst- (2).jpg` before `Cyst- (10).jpg`."""
    return tuple(int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", path))


def _image_files(root: Path) -> Iterator[tuple[str, str]]:
    """(relative path, label) of every candidate file, in file order within each class."""
    if not root.is_dir():
        raise DatasetError(f"There is no folder “{root}”. {LAYOUT_HELP}")
    try:
        class_folders = sorted(
            entry
            for entry in root.iterdir()
            if entry.is_dir() and not entry.name.startswith(".") and entry.name not in NOT_CLASSES
        )
    except OSError as error:
        raise DatasetError(
            f"The folder “{root}” cannot be listed ({error.strerror}). Check its permissions."
        ) from error
    found: list[tuple[str, str]] = []
    for folder in class_folders:
        label = canonical_label(folder.name)
        for path in folder.rglob("*"):
            # Files without a suffix are how PACS exports name DICOM.
            if path.is_file() and not path.name.startswith(".") and path.suffix.lower() in (*SUFFIXES, ""):
                found.append((path.relative_to(root).as_posix(), label))
    if not found:
        names = ", ".join(f"“{folder.name}”" for folder in class_folders[:5]) or "no folders"
        raise DatasetError(f"No images were found in class folders of “{root}” (it holds {names}). {LAYOUT_HELP}")
    labels = ordered_labels({label for _, label in found})
    if len(labels) < 2:
        raise DatasetError(
            f"“{root}” has images of one class only ({labels[0]}). {LAYOUT_HELP} Choose the folder above it?"
        )
    yield from sorted(found, key=lambda item: (labels.index(item[1]), natural_key(item[0])))


def _listing_key(root: Path, files: list[tuple[str, str]]) -> str:
    digest = hashlib.sha256(f"index 1 {root.resolve()}".encode())
    for path, label in files:
        stat = (root / path).stat()
        digest.update(f"{path}\0{label}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def _read_one(path: Path) -> tuple[np.ndarray, str] | str:
    """The thumbnail and digest of a file, or the reason why it is unreadable."""
    try:
        content = path.read_bytes()
        grey = read_slice(content, name=path.name).grey8()
    except (SliceError, OSError) as error:
        return str(error)
    thumbnail = Image.fromarray(grey).resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BILINEAR)
    return np.asarray(thumbnail), hashlib.sha256(content).hexdigest()


def _read_files(root: Path, files: list[tuple[str, str]], progress: Progress | None) -> Dataset:
    rows, thumbnails, unreadable = [], [], []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow and hashlib release the interpreter lock
        results = pool.map(_read_one, (root / path for path, _ in files))
        for done, ((path, label), result) in enumerate(zip(files, results, strict=True), start=1):
            if isinstance(result, str):
                unreadable.append((path, result))
            else:
                thumbnails.append(result[0])
                rows.append((path, label, result[1]))
            if progress and (done % 100 == 0 or done == len(files)):
                progress(done, len(files))
    if not rows:
        raise DatasetError(f"None of the {len(files)} files in “{root}” is a readable image: {unreadable[0][1]}")
    table = pd.DataFrame(rows, columns=["path", "label", "sha256"])
    digest = hashlib.sha256()
    for row in table.itertuples():
        digest.update(f"{row.path}\0{row.label}\0{row.sha256}\n".encode())
    return Dataset(
        root=root,
        labels=ordered_labels(set(table["label"])),
        table=table,
        thumbnails=np.stack(thumbnails),
        unreadable=tuple(unreadable),
        fingerprint=digest.hexdigest(),
    )


def _save_index(dataset: Dataset, path: Path) -> None:
    """Write the index whole or not at all, so that a kill leaves no half file."""
    header = {
        "labels": dataset.labels,
        "table": dataset.table.to_dict(orient="list"),
        "unreadable": dataset.unreadable,
        "fingerprint": dataset.fingerprint,
    }

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez(file, header=np.array(json.dumps(header)), thumbnails=dataset.thumbnails)

    remove_left_over(path.parent)
    write_whole(path, write)


def _load_index(root: Path, path: Path) -> Dataset:
    with np.load(path, allow_pickle=False) as stored:
        header = json.loads(str(stored["header"]))
        thumbnails = stored["thumbnails"]
    return Dataset(
        root=root,
        labels=tuple(header["labels"]),
        table=pd.DataFrame(header["table"]),
        thumbnails=thumbnails,
        unreadable=tuple((path, reason) for path, reason in header["unreadable"]),
        fingerprint=header["fingerprint"],
    )
