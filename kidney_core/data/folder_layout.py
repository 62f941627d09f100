"""Where the images of a dataset lie in its folder: which folders are classes, and which are parts of a split of its own.

The first folder of a path that is no part of a split names the class, wherever the parts are: `train/Cyst/a.png` and
`Cyst/train/a.png` are the same. A folder such as `test` is never a class.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from kidney_core.common.errors import DatasetError
from kidney_core.common.labels import LABELS, canonical_label
from kidney_core.metrics.splits import TEST, TRAIN, VALIDATION

LAYOUT_HELP = (
    "Expected one folder per class with the images inside, for example FOLDER/Cyst/…, FOLDER/Normal/…, "
    "FOLDER/Stone/…, FOLDER/Tumor/… (PNG, JPEG, BMP, TIFF or DICOM)."
)
NOT_CLASSES = ("masks", "labels", "@eaDir", "__MACOSX")  # lesion masks, boxes, and what NAS and macOS leave behind
_NOT_IMAGES = ("thumbs.db", "desktop.ini")
_SEARCHED_FLOORS = 2  # an unpacked archive often holds a folder of its own name
_PARTS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "dev": VALIDATION,
    "test": TEST,
    "testing": TEST,
}


@dataclass(frozen=True)
class ListedFile:
    """A file of a dataset: its path relative to the root, with /, and the class that its folders name."""

    path: str
    label: str


@dataclass(frozen=True)
class Layout:
    """The files of a dataset.

    Attributes:
        root: the folder that holds the classes or parts: the given one, or one below it.
        files: in no order.
        left_out: (path, reason) of folders and files that belong to no class or cannot be listed.
    """

    root: Path
    files: list[ListedFile] = field(repr=False)
    left_out: list[tuple[str, str]]


def part_of(folder_name: str) -> str | None:
    """The part of a split that a folder's name stands for ("train", "validation" or "test"), or None.

    Case, numbers and a trailing "set", "data" or "images" are ignored: "Test", "val_2", "training-set".
    """
    word = re.sub(r"[^a-z]", "", folder_name.lower())
    for ending in ("set", "data", "images"):
        word = word.removesuffix(ending)
    return _PARTS.get(word)


def parts_of(paths: list[str]) -> list[str] | None:
    """The part that each path lies in; None for a dataset without a split of its own.

    A split needs a test or a validation part; what lies outside any part is trained on.
    """
    found = [next(filter(None, map(part_of, PurePosixPath(path).parts[:-1])), None) for path in paths]
    if not {TEST, VALIDATION} & set(found):
        return None
    return [part or TRAIN for part in found]


def list_files(root: Path, *, label: str | None = None) -> Layout:
    """List the visible files of a dataset.

    Args:
        label: the class of every file below `root`; None to take it from the folders.

    Raises: DatasetError where there is no such folder, it vanishes, or it holds no classes.
    """
    if not root.is_dir():
        raise DatasetError(f"There is no folder “{root}”. Check its name, or mount its disk. {LAYOUT_HELP}")
    if label is None:
        root = _dataset_folder(root)
    files: list[ListedFile] = []
    left_out: list[tuple[str, str]] = []

    def record_unlisted(error: OSError) -> None:
        if isinstance(error, FileNotFoundError):
            raise vanished_error(root, Path(error.filename)) from error
        path = Path(error.filename).relative_to(root).as_posix()
        left_out.append((path, f"The folder “{path}” cannot be listed ({error.strerror}). Check its permissions."))

    visited: set[tuple[int, int]] = set()
    for parent, subfolders, names in os.walk(root, onerror=record_unlisted, followlinks=True):
        subfolders[:] = [name for name in subfolders if _is_visible(name) and _is_new(Path(parent, name), visited)]
        folder = PurePosixPath(Path(parent).relative_to(root).as_posix())
        own = label or _label_of(folder)
        images = [name for name in names if not name.startswith(".") and name.lower() not in _NOT_IMAGES]
        if own:
            files += [ListedFile((folder / name).as_posix(), own) for name in images]
        elif images and folder.parts:
            left_out.append(
                (
                    folder.as_posix(),
                    f"“{folder}” holds {len(images)} files that are in no class folder; they are left out.",
                )
            )
    kept = _without_strays(files, left_out) if label is None else files
    if not kept:
        shown = ", ".join(f"“{entry.name}”" for entry in _subfolders(root)[:5]) or "no folders"
        raise DatasetError(f"No images were found in class folders of “{root}” (it contains {shown}). {LAYOUT_HELP}")
    return Layout(root, kept, left_out)


def vanished_error(root: Path, path: Path) -> DatasetError:
    """The error for a file or folder of a dataset that was deleted or moved after it was listed."""
    if not root.is_dir():
        return DatasetError(
            f"The folder “{root}” vanished while it was read. Mount it or move it back, then start or resume again."
        )
    return DatasetError(
        f"“{path.relative_to(root)}” vanished from “{root}” while it was read. Wait until no other program changes the "
        "folder, then start or resume again."
    )


def _is_visible(folder_name: str) -> bool:
    return not folder_name.startswith(".") and folder_name not in NOT_CLASSES


def _is_new(folder: Path, visited: set[tuple[int, int]]) -> bool:
    """Whether a folder was not visited yet, which is noted: a link may lead back to a folder above."""
    status = folder.stat()
    key = (status.st_dev, status.st_ino)
    is_new = key not in visited
    visited.add(key)
    return is_new


def _subfolders(folder: Path) -> list[Path]:
    """The visible folders in a folder, by name; none where it cannot be listed, which `os.walk` reports."""
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir() and _is_visible(entry.name))
    except OSError:
        return []


def _label_of(folder: PurePosixPath) -> str | None:
    name = next((name for name in folder.parts if part_of(name) is None), None)
    return canonical_label(name) if name else None


def _known_labels(folder: Path) -> set[str]:
    """Those of the four labels that folders in a folder, or in the parts of its split, are called by."""
    below = _subfolders(folder)
    names = [entry for entry in below if part_of(entry.name) is None]
    names += [entry for part in below if part_of(part.name) for entry in _subfolders(part)]
    return {canonical_label(entry.name) for entry in names} & set(LABELS)


def _has_parts(folder: Path) -> bool:
    """Whether a folder holds parts of a split that hold folders."""
    return any(part_of(entry.name) and _subfolders(entry) for entry in _subfolders(folder))


def _dataset_folder(root: Path) -> Path:
    """The folder that holds the classes or parts: `root` itself, or the only such folder up to two floors below.

    Raises: DatasetError where several folders below hold them.
    """
    if _known_labels(root) or _has_parts(root):
        return root
    floor = _subfolders(root)
    for _ in range(_SEARCHED_FLOORS):
        found = [folder for folder in floor if len(_known_labels(folder)) >= 2]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(f"“{folder.relative_to(root)}”" for folder in found[:5])
            raise DatasetError(f"“{root}” holds {len(found)} datasets: {names}. Choose one of these folders.")
        floor = [entry for folder in floor for entry in _subfolders(folder)]
    return root


def _without_strays(files: list[ListedFile], left_out: list[tuple[str, str]]) -> list[ListedFile]:
    """Beside the parts of a split, a folder is a class only where a part has that class too or it is one of the four."""
    in_parts = {file.label for file in files if part_of(PurePosixPath(file.path).parts[0])}
    if not in_parts:
        return files
    strays: dict[str, int] = {}
    kept = []
    for file in files:
        top = PurePosixPath(file.path).parts[0]
        if part_of(top) or file.label in in_parts or file.label in LABELS:
            kept.append(file)
        else:
            strays[top] = strays.get(top, 0) + 1
    left_out += [
        (top, f"“{top}” lies beside the parts of a split, and no part has such a class; its {n} files are left out.")
        for top, n in strays.items()
    ]
    return kept
