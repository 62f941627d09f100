"""What the user said about the classes of each folder, kept beside the runs, so that every page and command asks once.

A run does not depend on this file: its configuration holds what it was trained with.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from kidney_core.common import os_errors, settings
from kidney_core.common.errors import DatasetError
from kidney_core.common.files import write_json
from kidney_core.common.labelling import NOT_STATED, Labelling
from kidney_core.data.dataset import Dataset, Progress, read_dataset

FILE = "dataset-labels.json"
_MAX_FOLDERS = 1000


def recall(folder: Path | str) -> Labelling:
    """What was said about a folder. Raises DatasetError where the file is damaged."""
    stored = _read().get(_key(folder), {})
    try:
        return Labelling.from_text(classes=stored.get("classes", ""), table=stored.get("table", ""))
    except (AttributeError, TypeError) as error:
        raise _damaged(error) from error


def remember(folder: Path | str, labelling: Labelling) -> None:
    """Keep what the user says about a folder in place of what was said before. Raises DatasetError where it cannot be written."""
    folders = {name: each for name, each in _read().items() if name != _key(folder)}
    if labelling != NOT_STATED:
        folders[_key(folder)] = {"classes": labelling.classes_text, "table": labelling.table_text}
    path = settings.home() / FILE
    with os_errors.reraise_as(DatasetError, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, dict(list(folders.items())[-_MAX_FOLDERS:]))


def read(folder: Path | str, *, progress: Progress | None = None) -> Dataset:
    """Read a dataset with what was said about it. Raises as `read_dataset`."""
    return read_dataset(folder, labelling=recall(folder), progress=progress)


def recall_classes(folders: Sequence[str]) -> str:
    """What was said about the classes of several folders, as one text.

    Raises: DatasetError where a name stands for different labels in two of them.
    """
    together: dict[str, str] = {}
    for folder in folders:
        for name, label in recall(folder).classes:
            if together.setdefault(name, label) != label:
                raise DatasetError(
                    f"“{name}” stands for {together[name] or 'nothing'} in one folder and for {label or 'nothing'} in “{folder}”. "
                    "Rename its class folders, or give extra_classes."
                )
    return Labelling(tuple(together.items())).classes_text


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that state what the classes of its folder stand for, see `chosen`."""
    parser.add_argument(
        "--classes",
        help="what class names stand for, as NAME=LABEL,NAME=LABEL; NAME= leaves a class out; remembered for this folder",
    )
    parser.add_argument(
        "--table",
        help="CSV file below the folder that names the class of each image: FILE, or FILE,PATHS,CLASSES; remembered",
    )


def chosen(folder: Path | str, *, classes: str | None, table: str | None) -> Labelling:
    """The labelling that a command's options state, remembered from now on; without options, what was said before.

    What is taken from before is told on standard error.

    Args:
        classes, table: as in `Labelling.from_text`; None where the option was not given.

    Raises: DatasetError.
    """
    before = recall(folder)
    stated = Labelling.from_text(classes=classes or "", table=table or "")
    labelling = Labelling(
        before.classes if classes is None else stated.classes, before.table if table is None else stated.table
    )
    if labelling != before and Path(folder).is_dir():
        remember(folder, labelling)
    words = [f"--classes {labelling.classes_text}"] if classes is None and labelling.classes else []
    words += [f"--table {labelling.table_text}"] if table is None and labelling.table else []
    if words:
        print(f"as you said before about “{folder}”: {' '.join(words)}", file=sys.stderr)
    return labelling


def _key(folder: Path | str) -> str:
    try:
        return str(Path(folder).expanduser().resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, ~nobody, a NUL: reading the folder says so
        return str(folder)


def _read() -> dict[str, dict[str, str]]:
    path = settings.home() / FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(error) from error
    if not isinstance(stored, dict):
        raise _damaged("it is not a list of folders")
    return stored


def _damaged(reason: object) -> DatasetError:
    return DatasetError(
        f"“{settings.home() / FILE}”, which holds what class names stand for, cannot be read ({reason}). Correct or delete it."
    )
