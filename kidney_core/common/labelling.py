"""What the classes of a dataset stand for where its names do not say so: as the user stated it, and as text in a configuration."""

import csv
import io
import unicodedata
from dataclasses import dataclass

from kidney_core.common.errors import DatasetError
from kidney_core.common.labels import canonical_label


@dataclass(frozen=True)
class Labelling:
    """How a dataset is labelled; empty where its folders or its table speak for themselves.

    Attributes:
        classes: (name of a class in the dataset, label) pairs; "" as the label leaves the class out.
        table: (file below the folder, column of the paths, column of the classes) of the CSV file that labels the images; a column
            that is "" is found by what it holds. Empty where folders name the classes, or the table is to be found.
    """

    classes: tuple[tuple[str, str], ...] = ()
    table: tuple[str, ...] = ()

    @classmethod
    def from_text(cls, *, classes: str = "", table: str = "") -> "Labelling":
        """The labelling that two options state: "0=Cyst, Quiste=Cyst, unclear=" and "FILE" or "FILE,PATHS,CLASSES".

        Raises: DatasetError for anything else.
        """
        return cls(_parse_classes(classes), _parse_table(table))

    @property
    def classes_text(self) -> str:
        """The classes as text, which `from_text` reads."""
        return _row([f"{name}={label}" for name, label in self.classes])

    @property
    def table_text(self) -> str:
        """The table as text, which `from_text` reads."""
        return _row(list(self.table) if any(self.table[1:]) else list(self.table[:1]))

    def label_of(self, name: str) -> str:
        """The label of a class by its name in the dataset; "" where it is left out."""
        stated = self._stated()
        return stated[_key(name)] if _key(name) in stated else canonical_label(name)

    def names(self, name: str) -> bool:
        """Whether the user said what a class stands for."""
        return _key(name) in self._stated()

    def _stated(self) -> dict[str, str]:
        return {_key(name): label for name, label in self.classes}


NOT_STATED = Labelling()


def _key(name: str) -> str:
    """Names are compared without case, and accents as one character: macOS stores them as two."""
    return unicodedata.normalize("NFC", name).strip().casefold()


def _parse_classes(text: str) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for cell in _cells(text):
        name, equals, label = cell.rpartition("=")
        if not equals or not name.strip():
            raise DatasetError(
                f"classes must be NAME=LABEL, separated by commas, such as 0=Cyst,1=Normal; it has “{cell}”."
            )
        if _key(name) in {_key(earlier) for earlier, _ in pairs}:
            raise DatasetError(f"classes names “{name.strip()}” twice. Give it one label.")
        pairs.append((name.strip(), canonical_label(label)))
    return tuple(pairs)


def _parse_table(text: str) -> tuple[str, ...]:
    cells = _cells(text)
    if len(cells) not in (0, 1, 3) or (cells and not cells[0]):
        raise DatasetError(
            f"table must be a CSV file below the folder, or FILE,PATHS,CLASSES with its two columns; it is “{text}”."
        )
    return (*cells, "", "")[:3] if cells else ()


def _cells(text: str) -> list[str]:
    """The comma-separated cells of a text; quotes keep a comma within a cell."""
    if "\n" in text or "\r" in text or "\0" in text:
        raise DatasetError("classes and table must be one line of text.")
    try:
        rows = list(csv.reader([text], skipinitialspace=True, strict=True)) if text.strip() else []
    except csv.Error as error:
        raise DatasetError(f"“{text[:200]}” cannot be read ({error}). Close its quotes.") from error
    return [cell.strip() for row in rows for cell in row]


def _row(cells: list[str]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="").writerow(cells)
    return file.getvalue()
