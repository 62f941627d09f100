"""A folder of class folders -> a table of readable slices, with what could not be read beside it."""

import hashlib
import itertools
import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from kidney_core.cache import cache_folder, make_room, touch
from kidney_core.errors import DatasetError, SliceError
from kidney_core.files import remove_left_over, write_whole
from kidney_core.labels import LABELS, canonical_label, ordered_labels
from kidney_core.planes import plane_of
from kidney_core.slices import TOGETHER, Slice, read_slices

THUMBNAIL_PX = 32
DECODING = 5  # raised when the same file gives other pixels or another verdict: what is cached was read by the old way
NOT_CLASSES = ("masks", "labels")  # lesion masks of kidney_core.phantom, boxes of other datasets
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


def read_dataset(
    root: Path | str, *, label: str | None = None, progress: Progress | None = None, use_cache: bool = True
) -> Dataset:
    """Read every image below the class folders of `root`.

    The result is cached under the sizes and modification times of the files, so that a second
    reading of an unchanged folder takes a fraction of a second.

    Args:
        label: the class of every image below `root`, whatever its folders are called; None where there is
            one folder per class.
        progress: called with (files read, files in all).

    Raises:
        DatasetError: no such folder, no class folders, no readable image in it, or no cache folder.
    """
    try:
        root = Path(root).expanduser()
        files, unlisted = _candidates(root, label)
        cached = cache_folder() / f"index-{_listing_key(root, files)}.npz"
    except (OSError, RuntimeError, ValueError) as error:  # ~nobody, a name too long, a NUL, no permission
        raise DatasetError(f"The folder “{root}” cannot be read ({error}). {LAYOUT_HELP}") from error
    dataset = _load_index(root, cached) if use_cache else None
    if dataset is not None:
        touch(cached)
    else:
        dataset, lasting = _read_files(root, files, progress)
        if lasting:
            _save_index(dataset, cached)
    return replace(dataset, unreadable=(*unlisted, *dataset.unreadable))


def require_classes(dataset: Dataset) -> None:
    """Raise DatasetError for a dataset of one class, of which nothing can be learned."""
    if len(dataset.labels) < 2:
        raise DatasetError(
            f"“{dataset.root}” has readable images of one class only ({dataset.labels[0]}). {LAYOUT_HELP}"
        )


def gone(root: Path, path: Path) -> DatasetError:
    """The error for a file or folder of a dataset that vanished since it was listed."""
    if not root.is_dir():
        return DatasetError(
            f"The folder “{root}” vanished while it was read. Mount it or move it back, then start or resume again."
        )
    return DatasetError(
        f"“{path.relative_to(root)}” vanished from “{root}” while it was read. Wait until nothing changes there, then start "
        "or resume again."
    )


def short_hash(sha256: str) -> str:
    """The first 12 hexadecimal digits: enough to know one of a million files again."""
    return sha256[:12]


def natural_key(path: str) -> tuple:
    """Sort key that puts `Cyst- (2).jpg` before `Cyst- (10).jpg`."""
    return tuple(int(part) if part.isdecimal() else part.lower() for part in re.split(r"(\d+)", path))


def _candidates(root: Path, label: str | None) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Every file that may be an image, as (relative path, label) in file order within each class; and what cannot be listed.

    The content decides whether it is one: files of a PACS have no suffix, or end in a number.
    """
    if not root.is_dir():
        raise DatasetError(f"There is no folder “{root}”. Check its name, or mount the disk it is on. {LAYOUT_HELP}")
    class_folders = [root]
    if label is None:
        class_folders = sorted(
            entry
            for entry in root.iterdir()
            if entry.is_dir() and not entry.name.startswith(".") and entry.name not in NOT_CLASSES
        )
        _check_layout(root, class_folders)
    found: list[tuple[str, str]] = []
    unlisted: list[tuple[str, str]] = []

    def note(error: OSError) -> None:
        if isinstance(error, FileNotFoundError):
            raise gone(root, Path(error.filename)) from error
        folder = Path(error.filename).relative_to(root).as_posix()
        unlisted.append((folder, f"The folder “{folder}” cannot be listed ({error.strerror}). Check its permissions."))

    for folder in class_folders:
        own = label or canonical_label(folder.name)
        for parent, folders, names in os.walk(folder, onerror=note):
            folders[:] = [name for name in folders if not name.startswith(".") and name not in NOT_CLASSES]
            here = Path(parent).relative_to(root).as_posix()
            found += [(f"{here}/{name}" if here != "." else name, own) for name in names if not name.startswith(".")]
    if not found:
        names = ", ".join(f"“{folder.name}”" for folder in class_folders[:5]) or "no folders"
        raise DatasetError(f"No images were found in class folders of “{root}” (it holds {names}). {LAYOUT_HELP}")
    labels = ordered_labels({own for _, own in found})
    return sorted(found, key=lambda item: (labels.index(item[1]), natural_key(item[0]))), unlisted


def _check_layout(root: Path, class_folders: list[Path]) -> None:
    """Raise DatasetError where the class folders lie one floor below: an unpacked archive, or train and test."""
    if {canonical_label(folder.name) for folder in class_folders} & set(LABELS):
        return
    for folder in class_folders:
        try:
            below = {canonical_label(entry.name) for entry in folder.iterdir() if entry.is_dir()}
        except OSError:  # listed as unreadable later
            continue
        if len(below & set(LABELS)) >= 2:
            raise DatasetError(
                f"The class folders lie in “{folder}”, one floor below “{root}”. Give that folder instead."
            )


def _listing_key(root: Path, files: list[tuple[str, str]]) -> str:
    digest = hashlib.sha256(f"index 2 {DECODING} {root.resolve()}".encode())
    for path, label in files:
        stat = (root / path).stat()
        digest.update(f"{path}\0{label}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


_Sketch = tuple[np.ndarray, str, str]  # thumbnail, SHA-256, plane


def _read_some(paths: list[Path]) -> list[_Sketch | SliceError]:
    """The thumbnail, digest and plane of each file, or why it is unreadable."""
    return [each if isinstance(each, SliceError) else _sketch(*each) for each in read_slices(paths)]


def _sketch(image: Slice, content: bytes) -> _Sketch:
    grey = image.network_grey8()
    small = Image.fromarray(grey).resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BILINEAR)
    thumbnail = np.asarray(small)
    return thumbnail, hashlib.sha256(content).hexdigest(), plane_of(image, thumbnail)


def _read_files(root: Path, files: list[tuple[str, str]], progress: Progress | None) -> tuple[Dataset, bool]:
    """The dataset, and whether it will be the same tomorrow: a file may get permission, or a decoder more time.

    Raises: DatasetError where a file is gone that was there a moment ago: what is left is another dataset.
    """
    rows, thumbnails, unreadable, lasting = [], [], [], True
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each waits for a decoder of its own
        parts = [[root / path for path, _ in files[i : i + TOGETHER]] for i in range(0, len(files), TOGETHER)]
        results = itertools.chain.from_iterable(pool.map(_read_some, parts))
        for done, ((path, label), result) in enumerate(zip(files, results, strict=True), start=1):
            if isinstance(result, SliceError):
                if isinstance(result.__cause__, FileNotFoundError):
                    raise gone(root, root / path) from result
                unreadable.append((path, str(result)))
                lasting = lasting and not isinstance(result.__cause__, OSError)
            else:
                thumbnails.append(result[0])
                rows.append((path, label, *result[1:]))
            if progress and (done % 100 == 0 or done == len(files)):
                progress(done, len(files))
    if not rows:
        raise DatasetError(f"None of the {len(files)} files in “{root}” is a readable image: {unreadable[0][1]}")
    table = pd.DataFrame(rows, columns=["path", "label", "sha256", "plane"])
    digest = hashlib.sha256()
    for row in table.itertuples():
        digest.update(f"{row.path}\0{row.label}\0{row.sha256}\n".encode())
    dataset = Dataset(
        root=root,
        labels=ordered_labels(set(table["label"])),
        table=table,
        thumbnails=np.stack(thumbnails),
        unreadable=tuple(unreadable),
        fingerprint=digest.hexdigest(),
    )
    return dataset, lasting


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

    try:
        remove_left_over(path.parent)
        make_room(dataset.thumbnails.nbytes)
        write_whole(path, write)
    except OSError as error:
        raise DatasetError(
            f"The cache folder “{path.parent}” cannot be written ({error.strerror}). Make room there, or set KIDNEY_CACHE "
            "to another folder."
        ) from error


def _load_index(root: Path, path: Path) -> Dataset | None:
    """The index, or None where there is none or it is damaged and has to be made again."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
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
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        path.unlink(missing_ok=True)
        return None
