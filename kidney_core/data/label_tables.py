"""A CSV file beside images that says the class of each: which column names the images, which one the classes.

A column is taken for what it is only where nothing else fits; otherwise `UnclearTable` says between which columns the user
must choose. Paths are compared with the images that are there, from the end: a table that was written on another machine
names the same files below other folders.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from kidney_core.common.errors import DatasetError, UnclearTable
from kidney_core.common.labels import recognised_label
from kidney_core.data.split_names import part_of
from kidney_core.data.table_rows import NamedImages, read_rows
from kidney_core.metrics.splits import TEST, VALIDATION

_SEARCHED_FLOORS = 2  # folders below the dataset's in which tables are looked for
_OTHER_TABLES = ("series.csv", "findings.csv")  # of this workbench, for other purposes
_HEADINGS = {
    *("label", "labels", "class", "classes", "classname", "labelname", "target", "category", "diagnosis", "diag"),
    *("finding", "condition", "y", "groundtruth", "etiqueta", "clase", "klasse", "sinif", "etikett", "classe"),
}
_YES, _NO = {"1", "1.0", "true", "yes"}, {"", "0", "0.0", "false", "no"}
ONE_EACH = "one column for each class"  # in place of a column, where the headings are the classes


@dataclass(frozen=True)
class LabelTable:
    """The images that a table labels.

    Attributes:
        file: the table, relative to the folder.
        classes: path of an image -> its class, as the table writes it.
        parts: path of an image -> its part of a split; empty where the table has no such column.
        problems: (file, reason) of rows and images that cannot be used.
    """

    file: str
    classes: dict[str, str] = field(repr=False)
    parts: dict[str, str] = field(repr=False)
    problems: list[tuple[str, str]]


def table_files(folder: Path) -> list[str]:
    """The CSV files in a folder that may label images, by name."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if is_table(entry.name) and entry.is_file())
    except OSError:
        return []
    return [name for name in names if not name.startswith(".") and name.lower() not in _OTHER_TABLES]


def find_table(root: Path, files: Sequence[str], *, knows: Callable[[str], bool]) -> LabelTable | None:
    """The labels of the CSV files of a dataset that name its images; None where there is no such file.

    Several files, such as train.csv and test.csv, or one in each folder, are read as one where each is clear and no image is in
    two of them. One in a folder names images of that folder, and train.csv those of the training part.

    Args:
        files: all visible files, relative to `root`.
        knows: whether the user said what a class of this name stands for.

    Raises: UnclearTable; DatasetError where several files label the same images.
    """
    files = [path for path in files if PurePosixPath(path).name.lower() not in _OTHER_TABLES]
    images = [path for path in files if not is_table(path)]
    tables = [path for path in files if is_table(path) and path.count("/") <= _SEARCHED_FLOORS]
    read = (_read_if_of(root, table, _named_by(table, images), ("", ""), knows=knows) for table in sorted(tables))
    found = [table for table in read if table is not None]
    if len(found) <= 1:
        return found[0] if found else None
    times = Counter(path for table in found for path in table.classes)
    if max(times.values(), default=0) > 1:
        names = ", ".join(f"“{table.file}”" for table in found[:5])
        raise DatasetError(f"{names} label the same images. Choose one with the option table.")
    return LabelTable(
        file=", ".join(table.file for table in found),
        classes={path: name for table in found for path, name in table.classes.items()},
        parts={path: part for table in found for path, part in table.parts.items()},
        problems=[problem for table in found for problem in table.problems],
    )


def is_table(name: str) -> bool:
    """Whether a file is a CSV file by its name."""
    return name.lower().endswith((".csv", ".tsv"))


def _named_by(table: str, images: Sequence[str]) -> Sequence[str]:
    """The images that a table may name: those of its folder, and of its part of a split where its name tells one."""
    folder = PurePosixPath(table).parent
    inside = images if folder == PurePosixPath() else [path for path in images if path.startswith(f"{folder}/")]
    part = _part_of_file(table)
    of_part = [path for path in inside if part and part in map(part_of, path.split("/")[:-1])]
    return of_part or inside


def _part_of_file(table: str) -> str | None:
    """The part of a split that a table's name tells: train.csv, test_labels.csv."""
    return next(filter(None, map(part_of, re.split(r"[\W_]+", PurePosixPath(table).stem))), None)


def read_table(root: Path, stated: Sequence[str], images: Sequence[str], *, knows: Callable[[str], bool]) -> LabelTable:
    """The labels of the table that the user named.

    Args:
        stated: file below `root`, column of the paths, column of the classes; a column that is "" is found.

    Raises: UnclearTable; DatasetError where the file or a column is not there, or names none of the images.
    """
    file, path_column, class_column = stated
    if Path(file).is_absolute() or ".." in Path(file).parts or "\\" in file:
        raise DatasetError(
            f"The table “{file}” is not below “{root}”. Copy it there, and give its name within that folder."
        )
    images = [path for path in images if not is_table(path)]
    table = _read_if_of(root, file, _named_by(file, images), (path_column, class_column), knows=knows)
    if table is None:
        raise DatasetError(
            f"“{file}” names none of the {len(images):,} files in “{root}”. Choose another table, or another folder."
        )
    return table


def _read_if_of(
    root: Path, file: str, images: Sequence[str], stated: tuple[str, str], *, knows: Callable[[str], bool]
) -> LabelTable | None:
    """The table as far as it names images of the folder; None where it names none.

    Args:
        stated: the columns of the paths and of the classes; "" for one that is to be found.
    """
    matched = NamedImages(images)
    heading, rows = read_rows(root / file, matched)
    for column in stated:
        if column and column not in heading and column != ONE_EACH:
            raise DatasetError(f"“{file}” has no column “{column}”; it has {', '.join(heading)}. Choose one of these.")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(heading)}
    paths = {name: [matched.find(cell) for cell in cells] for name, cells in columns.items()}
    named = {name: len(set(found) - {None}) for name, found in paths.items()}
    path_column = stated[0] or _path_column(file, paths, named)
    if path_column is None or not named[path_column]:
        return None
    others = {
        name: cells
        for name, cells in columns.items()
        if name == stated[1]
        or (name != path_column and (2 * named[name] < named[path_column] or recognised_label(name)))
    }
    parts_column = next((name for name, cells in others.items() if name != stated[1] and _is_split(cells)), None)
    others.pop(parts_column or "", None)
    class_column = stated[1] or _class_column(file, others, knows, heading, path_column)
    classes = _from_headings(others) if class_column == ONE_EACH else columns[class_column]
    parts = columns[parts_column] if parts_column else [_part_of_file(file) or ""] * len(rows)
    return _labels(file, list(zip(paths[path_column], columns[path_column], classes, parts, strict=True)))


def _labels(file: str, rows: list[tuple[str | None, str, str, str]]) -> LabelTable:
    """The labels of rows of (image, as the table writes it, class, part)."""
    of_image: dict[str, set[str]] = defaultdict(set)
    for path, _, name, _ in rows:
        if path and name:
            of_image[path].add(name)
    problems = [
        (path, f"“{file}” gives “{path}” several classes: {', '.join(sorted(names))}. It is left out.")
        for path, names in of_image.items()
        if len(names) > 1
    ]
    missing = [written for path, written, _, _ in rows if path is None and written]
    if missing:
        problems.append(
            (
                file,
                f"{len(missing):,} rows name no image of this folder, or not one alone, such as “{missing[0][:200]}”.",
            )
        )
    unlabelled = len({path for path, _, _, _ in rows if path and path not in of_image})
    if unlabelled:
        problems.append((file, f"{unlabelled:,} images have no class, or several, in their row. They are left out."))
    parts = {path: found for path, _, _, part in rows if path and (found := part_of(part))}
    classes = {path: names.pop() for path, names in of_image.items() if len(names) == 1}
    return LabelTable(file, classes, parts, problems)


def _path_column(file: str, paths: dict[str, list[str | None]], named: dict[str, int]) -> str | None:
    """The column that names the images; None where none does in half of its rows. Raises UnclearTable where two name different ones."""
    most = max(named.values(), default=0)
    best = [name for name, n in named.items() if n == most]
    if not most or 2 * sum(path is not None for path in paths[best[0]]) < len(paths[best[0]]):
        return None
    if any(paths[name] != paths[best[0]] for name in best[1:]):
        raise UnclearTable(
            f"“{file}” has {len(best)} columns that name images: {', '.join(best)}. Say which one counts.",
            file=file,
            columns=list(paths),
        )
    return best[0]


def _class_column(
    file: str, columns: dict[str, list[str]], knows: Callable[[str], bool], heading: list[str], path_column: str
) -> str:
    """The column of the classes, or `ONE_EACH`. Raises UnclearTable where it could be another one."""

    def meaning(cells: list[str], *, stated: bool = False) -> set[str]:
        return {recognised_label(cell) or cell for cell in cells if recognised_label(cell) or (stated and knows(cell))}

    speaking = [name for name, cells in columns.items() if len(meaning(cells)) > 1]
    if not speaking and len([name for name in _of_classes(columns) if recognised_label(name)]) > 1:
        return ONE_EACH
    headed = [
        name
        for name in columns
        if "".join(filter(str.isalpha, name.lower())) in _HEADINGS and len(set(columns[name])) > 1
    ]
    stated = [name for name, cells in columns.items() if len(meaning(cells, stated=True)) > 1]
    candidates = speaking or headed or stated or (list(columns) if len(columns) == 1 else [])
    if candidates and all(_same_classes(columns[candidates[0]], columns[name]) for name in candidates[1:]):
        # Of a name and a number for each class, the name.
        return min(candidates, key=lambda name: all(cell.isdecimal() for cell in columns[name]))
    raise UnclearTable(
        f"“{file}” names the images in its column “{path_column}”, but which column holds the classes is not clear: "
        f"{', '.join(candidates or columns) or 'it has no other'}. Say which one counts; or say "
        "what the names of the folders stand for.",
        file=file,
        columns=heading,
        path_column=path_column,
    )


def _same_classes(one: list[str], other: list[str]) -> bool:
    """Whether two columns divide the rows alike, whatever they call the classes."""
    known = {(recognised_label(a), recognised_label(b)) for a, b in zip(one, other, strict=True)}
    if any(a and b and a != b for a, b in known):
        return False
    pairs = {(recognised_label(a) or a, recognised_label(b) or b) for a, b in zip(one, other, strict=True)}
    return len({a for a, _ in pairs}) == len(pairs) == len({b for _, b in pairs})


def _from_headings(columns: dict[str, list[str]]) -> list[str]:
    """The class of each row of a table with a column of 0 and 1 for each class; "" for a row with none or several."""
    of_class = _of_classes(columns)
    rows = zip(*of_class.values(), strict=True)
    chosen = ([name for name, cell in zip(of_class, row, strict=True) if cell.lower() in _YES] for row in rows)
    return [names[0] if len(names) == 1 else "" for names in chosen]


def _of_classes(columns: dict[str, list[str]]) -> dict[str, list[str]]:
    """The columns that hold 0 and 1 only."""
    return {name: cells for name, cells in columns.items() if set(map(str.lower, cells)) <= _YES | _NO}


def _is_split(cells: list[str]) -> bool:
    """Whether a column says which part of a split each row is in."""
    found = {part_of(cell) for cell in cells if cell}
    return None not in found and bool({TEST, VALIDATION} & found)
