"""The rows of a CSV file, and the images of a folder that its cells name."""

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from kidney_core.common import spreadsheet
from kidney_core.common.errors import DatasetError

_MAX_BYTES = 64 * 1024**2
_MAX_SAME_NAME = 1000  # images of one name in several folders that a cell is compared with


class NamedImages:
    """The images of a folder, found by what a table calls them."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = set(paths)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for path in paths:
            name = PurePosixPath(path).name.casefold()
            self._by_name[name].append(path)
            self._by_stem[name.rpartition(".")[0] or name].append(path)

    def find(self, cell: str) -> str | None:
        """The only image that a cell can mean, with or without its folders and its suffix; None where there is none."""
        written = cell.replace("\\", "/").removeprefix("./")
        if written in self._paths:
            return written
        *folders, name = written.split("/")
        same_name = self._by_name.get(name.casefold()) or self._by_stem.get(name.casefold(), []) if name else []
        if len(same_name) == 1:
            return same_name[0]
        if not folders or not same_name or len(same_name) > _MAX_SAME_NAME:
            return None
        shared = [_n_shared(path.split("/")[:-1], folders) for path in same_name]
        most = max(shared)
        return same_name[shared.index(most)] if most and shared.count(most) == 1 else None


def _n_shared(one: list[str], other: list[str]) -> int:
    """How many folders two paths share, from the last one."""
    n = 0
    while n < min(len(one), len(other)) and one[-1 - n] == other[-1 - n]:
        n += 1
    return n


def read_rows(path: Path, images: NamedImages) -> tuple[list[str], list[list[str]]]:
    """The heading and the rows of a CSV file, stripped and of equal length; without a heading the columns are numbered.

    Raises: DatasetError where it is no such file.
    """
    lines = list(_parse(path))
    if not lines:
        return [], []
    width = max(map(len, lines))
    rows = [[spreadsheet.unescape(cell.strip()) for cell in line] + [""] * (width - len(line)) for line in lines]
    if any(images.find(cell) for cell in rows[0]):
        return [f"column {number}" for number in range(1, width + 1)], rows
    heading: list[str] = []
    for number, name in enumerate(rows[0], start=1):
        heading.append(name if name and name not in heading else f"column {number}")
    return heading, rows[1:]


def _parse(path: Path) -> list[list[str]]:
    if not path.is_file():
        raise DatasetError(f"There is no table “{path}”. Check its name.")
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DatasetError(
                f"“{path}” has more than {_MAX_BYTES // 1024**2} MiB, which no list of images needs. Move it elsewhere."
            )
        text = _decode(path.read_bytes())
        first = text.lstrip("\n").split("\n", 1)[0]
        delimiter = max(",;\t|", key=first.count)
        return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(row)]
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(
            f"The table “{path}” cannot be read ({reason}). Correct it, or move it elsewhere."
        ) from error


def _decode(content: bytes) -> str:
    """Text in UTF-8, in UTF-16 with its mark, or as older spreadsheets of western Europe write it."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")
