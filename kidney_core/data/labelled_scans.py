"""A folder of whole scans with a label each: listed in `series.csv`, or one folder or volume a scan below the class folders.

    FOLDER/
        series.csv          path, series and label; path is a file, a folder of slices, or a volume
        scan01/0001.dcm
        scan02.nii.gz

    FOLDER/
        Tumor/scan01/0001.dcm
        Tumor/scan02.nii.gz

Without the column `label`, the class folders name it. Slices of one scan may have different labels.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from kidney_core.common import allowed_paths, spreadsheet
from kidney_core.common.errors import DatasetError, PathError
from kidney_core.common.files import natural_key
from kidney_core.common.labels import canonical_label
from kidney_core.data import folder_layout
from kidney_core.data.series import SERIES_FILE

VOLUME_ENDINGS = (".nii", ".nii.gz")
_HELP = (
    f"List every file in “{SERIES_FILE}” with the columns path, series and label, or put each scan into a folder of its own below "
    "its class folder."
)


@dataclass(frozen=True)
class LabelledScan:
    """One scan.

    Attributes:
        name: as `series.csv` calls it, or its path below the root.
        files: relative path -> label, in natural order.
    """

    name: str
    files: dict[str, str]


def lists_whole_scans(root: Path) -> bool:
    """Whether a folder is one of whole scans by itself: its `series.csv` has labels that its class folders do not say, or it holds volumes."""
    path = root / SERIES_FILE
    if path.is_file():
        listed = _read_list(path)
        if "label" in listed.columns and any(
            _label_of_folder(spreadsheet.unescape(each)) != canonical_label(label)
            for each, label in zip(listed["path"], listed["label"], strict=True)
        ):
            return True
    return any(
        entry.name.lower().endswith(VOLUME_ENDINGS) for pattern in ("*", "*/*", "*/*/*") for entry in root.glob(pattern)
    )


def read_labelled_scans(root: Path, *, label: str | None = None) -> tuple[list[LabelledScan], list[tuple[str, str]]]:
    """The scans of a folder in natural order, and (path, reason) of what belongs to none.

    Args:
        label: the class of every scan, whatever its folders are called; None to take it from the list or the folders.

    Raises: DatasetError where there is no such folder, a list that cannot be used, or no scan.
    """
    if not root.is_dir():
        raise DatasetError(f"There is no folder “{root}”. Check its name, or mount its disk. {_HELP}")
    left_out: list[tuple[str, str]] = []
    if (root / SERIES_FILE).is_file():
        scans = _listed(root, label)
    else:
        scans, left_out = _in_folders(root, label)
    if not scans:
        raise DatasetError(f"“{root}” holds no scan. {_HELP}")
    return sorted(scans, key=lambda scan: natural_key(scan.name)), left_out


def _read_list(path: Path) -> pd.DataFrame:
    try:
        listed = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:  # empty, ragged, not text
        raise DatasetError(
            f"“{path}” is not a table with the columns path, series and label ({error}). Correct it."
        ) from error
    if not {"path", "series"} <= set(listed.columns):
        raise DatasetError(
            f"“{path}” needs the columns path and series; it has {', '.join(listed.columns)}. Correct it."
        )
    return listed


def _listed(root: Path, label: str | None) -> list[LabelledScan]:
    path, scans = root / SERIES_FILE, dict[str, dict[str, str]]()
    listed = _read_list(path)
    for row in listed.to_dict("records"):
        name = spreadsheet.unescape(str(row["path"])).strip()
        own = label or canonical_label(str(row.get("label", ""))) or _label_of_folder(name)
        if not name or not str(row["series"]).strip():
            raise DatasetError(f"“{path}” has a line without a path or a series. Complete it.")
        if not own:
            raise DatasetError(f"“{path}” has no label for {name}. Add it, or choose the class of all images.")
        files = _files_at(root, name, path)
        scans.setdefault(spreadsheet.unescape(str(row["series"])).strip(), {}).update(dict.fromkeys(files, own))
    return [
        LabelledScan(name, dict(sorted(files.items(), key=lambda file: natural_key(file[0]))))
        for name, files in scans.items()
    ]


def _files_at(root: Path, name: str, path: Path) -> list[str]:
    """The files that a line names: one, or those of a folder. Raises DatasetError where there is none."""
    try:
        place = allowed_paths.file_below(root, name)
    except PathError as error:
        raise DatasetError(f"“{path}” names “{name}”, which is not a path below its folder. Correct it.") from error
    if place.is_dir():
        inside = [entry for entry in place.rglob("*") if entry.is_file() and not entry.name.startswith(".")]
    else:
        inside = [place] if place.is_file() else []
    if not inside:
        raise DatasetError(f"“{path}” names “{name}”, which is neither a file nor a folder with files. Correct it.")
    return [entry.relative_to(root).as_posix() for entry in inside]


def _label_of_folder(name: str) -> str:
    folders = [part for part in PurePosixPath(name).parts[:-1] if folder_layout.part_of(part) is None]
    return canonical_label(folders[0]) if folders else ""


def _in_folders(root: Path, label: str | None) -> tuple[list[LabelledScan], list[tuple[str, str]]]:
    """One scan for each volume, and for each folder of slices that is no class folder itself."""
    layout = folder_layout.list_files(root, label=label)
    left_out, scans, loose = list(layout.left_out), dict[str, dict[str, str]](), dict[str, int]()
    prefix = "" if layout.root == root else f"{layout.root.relative_to(root).as_posix()}/"
    for file in layout.files:
        folder = PurePosixPath(file.path).parent
        folders = [part for part in folder.parts if folder_layout.part_of(part) is None]
        is_own = len(folders) > (0 if label else 1)
        if file.path.lower().endswith(VOLUME_ENDINGS):
            scans[prefix + file.path] = {prefix + file.path: file.label}
        elif is_own:
            scans.setdefault(prefix + folder.as_posix(), {})[prefix + file.path] = file.label
        else:
            loose[folder.as_posix()] = loose.get(folder.as_posix(), 0) + 1
    left_out += [
        (folder, f"“{folder}” holds {n:,} slices of unknown scans; they are left out. {_HELP}")
        for folder, n in loose.items()
    ]
    in_order = (
        LabelledScan(name, dict(sorted(files.items(), key=lambda file: natural_key(file[0]))))
        for name, files in scans.items()
    )
    return list(in_order), left_out
