"""Where the images of a dataset lie in its folder: which folders are classes, and which are parts of a split of its own.

The first folder of a path that is no part of a split names the class, wherever the parts are: `train/Cyst/a.png` and
`Cyst/train/a.png` are the same. A folder such as `test` is never a class, nor one such as `images` or `fold1`. Where no first folder
is called by one of the four labels and folders below are, these name the classes. Where no folder is called by one of the four
labels, a CSV file beside the images may name their classes: see `label_tables`.
"""

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from kidney_core.common import system_files
from kidney_core.common.errors import DatasetError
from kidney_core.common.labelling import NOT_STATED, Labelling
from kidney_core.common.labels import LABELS, recognised_label
from kidney_core.data import label_tables
from kidney_core.data.label_tables import LabelTable
from kidney_core.data.split_names import part_of
from kidney_core.metrics.splits import TEST, TRAIN, VALIDATION

LAYOUT_HELP = (
    "Expected one folder per class with the images inside, for example FOLDER/Cyst/…, FOLDER/Normal/…, "
    "FOLDER/Stone/…, FOLDER/Tumor/… (PNG, JPEG, BMP, TIFF or DICOM), or a CSV file beside the images with their paths and classes."
)
# Lesion masks and boxes, and what systems leave behind.
NOT_CLASSES = (
    *("masks", "mask", "labels", "annotations", "annotation", "segmentations", "segmentation", "bboxes"),
    *("ground truth", "ground_truth", "groundtruth", "gt", "__pycache__"),
    *system_files.FOLDERS,
)
_ABOUT = (
    ".txt",
    ".md",
    ".pdf",
    ".json",
    ".html",
    ".xml",
    ".csv",
    ".tsv",
    ".rst",
    "",
)  # beside the folder of an archive
# Folders that only hold others: images/, fold1/, original/.
_CONTAINER = re.compile(
    r"(?:images?|imgs?|pictures?|slices?|png|jpe?g|dicom|dcm|data|dataset|originals?|raw|folds?)[ _-]*\d*", re.I
)
_SEARCHED_FLOORS = 2  # an unpacked archive often holds a folder of its own name


@dataclass(frozen=True)
class ListedFile:
    """A file of a dataset: its path relative to the root, with /, and its label."""

    path: str
    label: str


@dataclass(frozen=True)
class Layout:
    """The files of a dataset.

    Attributes:
        root: the folder that holds the classes or parts: the given one, or one below it.
        files: in no order.
        left_out: (path, reason) of folders and files that belong to no class or cannot be listed.
        class_names: name of each class in the dataset -> (its label, "" where it is left out, and the number of its files).
        table: the CSV file that names the classes; "" where folders do.
        parts: path -> part of a split, by that file.
    """

    root: Path
    files: list[ListedFile] = field(repr=False)
    left_out: list[tuple[str, str]]
    class_names: dict[str, tuple[str, int]] = field(default_factory=dict)
    table: str = ""
    parts: dict[str, str] = field(default_factory=dict, repr=False)


def parts_of(paths: list[str], listed: Mapping[str, str] | None = None) -> list[str] | None:
    """The part that each path lies in; None for a dataset without a split of its own.

    A split needs a test or a validation part; what lies outside any part is trained on.

    Args:
        listed: path -> part as a table says, which comes before the folders.
    """
    by_folder = (next(filter(None, map(part_of, PurePosixPath(path).parts[:-1])), None) for path in paths)
    found = [(listed or {}).get(path) or part for path, part in zip(paths, by_folder, strict=True)]
    if not {TEST, VALIDATION} & set(found):
        return None
    return [part or TRAIN for part in found]


def list_files(root: Path, *, label: str | None = None, labelling: Labelling = NOT_STATED) -> Layout:
    """List the visible files of a dataset.

    Args:
        label: the class of every file below `root`; None to take it from the folders, or from a table.
        labelling: what the user said about its classes.

    Raises: DatasetError where there is no such folder, it vanishes, or it holds no classes; UnclearTable.
    """
    if not root.is_dir():
        raise DatasetError(f"There is no folder “{root}”. Check its name, or mount its disk. {LAYOUT_HELP}")
    if label is not None:
        images, left_out = _walk(root)
        return _require_files(Layout(root, [ListedFile(path, label) for path in images], left_out))
    if not labelling.table or not (root / labelling.table[0]).is_file():
        root = _dataset_folder(root, labelling)
    images, left_out = _walk(root)
    table = _table(root, images, labelling)
    if table is not None:
        return _require_files(_by_table(root, images, left_out, table, labelling))
    return _require_files(_by_folders(root, images, left_out, labelling))


def _table(root: Path, images: list[str], labelling: Labelling) -> LabelTable | None:
    """The table that labels the images; None where folders do."""
    if labelling.table:
        return label_tables.read_table(root, labelling.table, images, knows=labelling.names)
    if any(_is_known(name, labelling) for name in set(_classes_of(images, labelling).values())):
        return None
    return label_tables.find_table(root, images, knows=labelling.names)


def _by_folders(root: Path, images: list[str], left_out: list[tuple[str, str]], labelling: Labelling) -> Layout:
    """The files whose first folder that is no part of a split names their class."""
    of_class = _classes_of(images, labelling)
    loose = Counter(PurePosixPath(path).parent.as_posix() for path in images if path not in of_class and "/" in path)
    left_out = left_out + [
        (folder, f"“{folder}” holds {n} files that are in no class folder; they are left out.")
        for folder, n in loose.items()
    ]
    files, names = _labelled(of_class, labelling, left_out)
    return Layout(root, _without_strays(files, left_out), left_out, names)


def _by_table(
    root: Path, images: list[str], left_out: list[tuple[str, str]], table: LabelTable, labelling: Labelling
) -> Layout:
    """The files that a table labels."""
    left_out = left_out + table.problems
    unlisted = {path for path in images if not label_tables.is_table(path)} - set(table.classes)
    n_reported = len({path for path, _ in table.problems} & unlisted)
    if len(unlisted) > n_reported:
        left_out.append(
            (
                table.file,
                f"{len(unlisted) - n_reported:,} files of the folder get no class by “{table.file}”; they are left out.",
            )
        )
    files, names = _labelled(table.classes, labelling, left_out)
    return Layout(root, files, left_out, names, table.file, table.parts)


def _labelled(
    of_class: dict[str, str], labelling: Labelling, left_out: list[tuple[str, str]]
) -> tuple[list[ListedFile], dict[str, tuple[str, int]]]:
    """The files with their labels, and the classes by their names; classes that the user leaves out go to `left_out`."""
    names = {name: (labelling.label_of(name), n) for name, n in Counter(of_class.values()).items()}
    left_out += [
        (name, f"The class “{name}” is left out, as you said; it has {n:,} files.")
        for name, (label, n) in names.items()
        if not label
    ]
    return [ListedFile(path, names[name][0]) for path, name in of_class.items() if names[name][0]], names


def _require_files(layout: Layout) -> Layout:
    """The same layout. Raises DatasetError where it holds no file."""
    if not layout.files:
        shown = ", ".join(f"“{entry.name}”" for entry in _subfolders(layout.root)[:5]) or "no folders"
        raise DatasetError(
            f"No images were found in class folders of “{layout.root}” (it contains {shown}). {LAYOUT_HELP}"
        )
    return layout


def _walk(root: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """The paths of all visible files below a folder, and (path, reason) of what cannot be listed."""
    images: list[str] = []
    left_out: list[tuple[str, str]] = []

    def record_unlisted(error: OSError) -> None:
        if isinstance(error, FileNotFoundError):
            raise vanished_error(root, Path(error.filename)) from error
        path = Path(error.filename).relative_to(root).as_posix()
        left_out.append((path, f"The folder “{path}” cannot be listed ({error.strerror}). Check its permissions."))

    visited: set[tuple[int, int]] = set()
    for parent, subfolders, names in os.walk(root, onerror=record_unlisted, followlinks=True):
        folder = PurePosixPath(Path(parent).relative_to(root).as_posix())
        for entries in (subfolders, names):
            unusable = [name for name in entries if not _is_text(name)]
            entries[:] = [name for name in entries if _is_text(name)]
            left_out += [_with_unusable_name(folder / name) for name in unusable]
        subfolders[:] = [name for name in subfolders if _is_visible(name) and _is_new(Path(parent, name), visited)]
        kept = (name for name in names if not name.startswith(".") and name.lower() not in system_files.FILES)
        images += [(folder / name).as_posix() for name in kept]
    return images, left_out


def _is_text(name: str) -> bool:
    """Whether a name is valid text; those of an archive from another system may be bytes that are none."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _with_unusable_name(path: PurePosixPath) -> tuple[str, str]:
    shown = os.fsencode(path).decode(errors="replace")
    return shown, f"The name of “{shown}” is not in UTF-8, as after unpacking with the wrong language. Rename it."


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
    return not folder_name.startswith(".") and folder_name.lower() not in NOT_CLASSES


def _is_new(folder: Path, visited: set[tuple[int, int]]) -> bool:
    """Whether a folder was not visited yet, which is noted: a link may lead back to a folder above."""
    try:
        status = folder.stat()
    except OSError:  # `os.walk` reports it
        return True
    key = (status.st_dev, status.st_ino)
    is_new = key not in visited
    visited.add(key)
    return is_new


def _subfolders(folder: Path) -> list[Path]:
    """The visible folders in a folder, by name; none where it cannot be listed, which `os.walk` reports."""
    try:
        return sorted(entry for entry in folder.iterdir() if _is_visible(entry.name) and _is_folder(entry))
    except OSError:
        return []


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a link into a folder that may not be entered
        return False


def _classes_of(paths: list[str], labelling: Labelling) -> dict[str, str]:
    """Path -> the name of the class that its folders tell, for each that they tell one of."""
    folders = {path: _telling_folders(path) for path in paths}
    known = {name for names in folders.values() for name in names if _is_known(name, labelling)}
    labels = {labelling.label_of(name) for name in known}
    if len(labels) < 2 or known & {names[0] for names in folders.values() if names}:
        return {path: names[0] for path, names in folders.items() if names}
    return {path: found for path, names in folders.items() if (found := next((n for n in names if n in known), ""))}


def _telling_folders(path: str) -> list[str]:
    """The folders of a file that may be classes, from the top: no parts of a split, and none that only holds others."""
    return [name for name in PurePosixPath(path).parts[:-1] if part_of(name) is None and not _CONTAINER.fullmatch(name)]


def _is_known(name: str, labelling: Labelling) -> bool:
    """Whether a name is that of one of the four labels, or the user said what it stands for."""
    return labelling.names(name) or recognised_label(name) is not None


def _known_names(folder: Path, labelling: Labelling) -> set[str]:
    """Those labels that folders in a folder, or in the parts of its split, are known to stand for."""
    below = _subfolders(folder)
    names = [entry for entry in below if part_of(entry.name) is None]
    names += [entry for part in below if part_of(part.name) for entry in _subfolders(part)]
    return {labelling.label_of(entry.name) for entry in names if _is_known(entry.name, labelling)}


def _has_parts(folder: Path) -> bool:
    """Whether a folder holds parts of a split that hold folders."""
    return any(part_of(entry.name) and _subfolders(entry) for entry in _subfolders(folder))


def _dataset_folder(root: Path, labelling: Labelling) -> Path:
    """The folder that holds the classes or parts: `root` itself, or the only such folder up to two floors below.

    Raises: DatasetError where several folders below hold them.
    """
    if _known_names(root, labelling) or _has_parts(root):
        return root
    floor = _subfolders(root)
    for _ in range(_SEARCHED_FLOORS):
        found = [folder for folder in floor if len(_known_names(folder, labelling)) >= 2]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(f"“{folder.relative_to(root)}”" for folder in found[:5])
            raise DatasetError(f"“{root}” holds {len(found)} datasets: {names}. Choose one of these folders.")
        floor = [entry for folder in floor for entry in _subfolders(folder)]
    for _ in range(_SEARCHED_FLOORS):
        inside = _only_folder(root)
        if inside is None:
            break
        root = inside
        if _has_parts(root):
            break
    return root


def _only_folder(folder: Path) -> Path | None:
    """The folder that an archive was packed with: nothing else is there, and it holds folders or a table itself."""
    below = _subfolders(folder)
    if len(below) != 1 or label_tables.table_files(folder) or part_of(below[0].name):
        return None
    files = [entry for entry in folder.iterdir() if not entry.name.startswith(".") and not _is_folder(entry)]
    if any(entry.suffix.lower() not in _ABOUT for entry in files):
        return None
    return below[0] if _subfolders(below[0]) or label_tables.table_files(below[0]) else None


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
