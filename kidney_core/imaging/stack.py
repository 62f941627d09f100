"""Uploaded files -> stacks of slices in the order in which they lie in the body.

A stack is one DICOM series in one orientation, or all raster images in the order of their names. The bytes are held
once, those of a zip packed as they came; a slice is unpacked and decoded when it is asked for.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from kidney_core import archive, dicom, slices
from kidney_core.archive import Member
from kidney_core.dataset import natural_key
from kidney_core.dicom_place import Place, read_places
from kidney_core.errors import SliceError
from kidney_core.slices import Slice

BY_POSITION, BY_LOCATION, BY_NUMBER = "position", "slice location", "instance number"
BY_FRAME, BY_NAME = "frame number", "file name"
_SAME_DIRECTION = 0.02  # largest difference of direction cosines, about 1 degree


@dataclass(frozen=True)
class StackItem:
    """One slice of a stack, not decoded.

    Attributes:
        name: of the file, and the frame where it holds several; shown, never used as a path.
        read: gives the file's bytes, which the frames of one file share.
        frame: which image of the file, from 0.
        position_mm: along the stack; None where the order comes from numbers or names.
        sha256: of the content, in hexadecimal.
    """

    name: str
    read: Callable[[], bytes] = field(repr=False, compare=False)
    frame: int
    position_mm: float | None
    sha256: str

    @property
    def content(self) -> bytes:
        """The bytes of the file."""
        return self.read()


@dataclass(frozen=True)
class Stack:
    """Slices in order; `ordered_by` says what gave it: BY_POSITION, BY_LOCATION, BY_NUMBER, BY_FRAME or BY_NAME."""

    title: str
    items: tuple[StackItem, ...]
    ordered_by: str

    @property
    def fingerprint(self) -> str:
        """The same for the same slices in the same order, whatever their files are called."""
        told = "".join(f"{item.sha256}:{item.frame}\n" for item in self.items)
        return hashlib.sha256(told.encode()).hexdigest()


@dataclass(frozen=True)
class Opened:
    """What an upload holds: its stacks, the longest first, and a sentence for each file that is in none."""

    stacks: tuple[Stack, ...]
    problems: tuple[str, ...]


def open_stacks(uploads: Iterable[tuple[str, bytes]]) -> Opened:
    """Sort uploaded files into stacks; zips are opened, and a file that is there twice counts once.

    Args:
        uploads: (name, content) of each; the content tells the kind.

    Raises: ArchiveError for a zip that cannot be used. A file that cannot be used becomes a problem instead.
    """
    placed: list[tuple[StackItem, Place]] = []
    unplaced: list[StackItem] = []
    problems: list[str] = []
    known: dict[str, str] = {}
    for file in _files(uploads):
        name, content = file.name, file.content
        if content is None:
            problems.append(file.problem)
            continue
        digest = hashlib.sha256(content).hexdigest()
        if digest in known:
            problems.append(f"“{name}” is the same file as “{known[digest]}” and is counted once.")
            continue
        try:
            if slices.is_dicom(content):
                places = read_places(content, name=name)
                placed += zip(_items(file, digest, "frame", len(places)), places, strict=True)
            else:
                unplaced += _items(file, digest, "page", slices.count_images(content, name=name))
        except SliceError as error:
            problems.append(str(error))
            continue
        known[digest] = name
    stacks = _dicom_stacks(placed)
    if unplaced:
        unplaced.sort(key=lambda item: (natural_key(item.name), item.frame))
        stacks.append(Stack(f"Images ({_counted(len(unplaced))})", tuple(unplaced), BY_NAME))
    return Opened(tuple(sorted(stacks, key=lambda stack: -len(stack.items))), tuple(problems))


def open_item(item: StackItem) -> Slice:
    """Decode one slice. Raises SliceError as `slices.read_slice`."""
    return slices.read_slice(item.content, name=item.name, frame=item.frame)


def _files(uploads: Iterable[tuple[str, bytes]]) -> Iterator[Member]:
    """Each upload, and each file of the zips among them."""
    total = 0
    for name, content in uploads:
        if archive.is_zip(content):
            for inner in archive.read_files(content, name=name, already=total):
                total += len(inner.content or b"")
                if inner.content is not None and archive.is_zip(inner.content):
                    yield Member(
                        inner.name,
                        problem=f"“{inner.name}” is a zip within “{name}”. Unpack it and upload it alone.",
                    )
                else:
                    yield inner
        elif not archive.is_skipped(name):
            yield Member(name, content, again=functools.partial(bytes, content))  # the same object, not a copy


def _items(file: Member, digest: str, word: str, n_images: int) -> list[StackItem]:
    if n_images == 1:
        return [StackItem(file.name, file.again, 0, None, digest)]
    return [StackItem(f"{file.name}, {word} {frame + 1}", file.again, frame, None, digest) for frame in range(n_images)]


def _dicom_stacks(placed: list[tuple[StackItem, Place]]) -> list[Stack]:
    """One stack for each series, and for each orientation where a series has several."""
    by_series: dict[str, list[list[tuple[StackItem, Place]]]] = {}
    for item, place in placed:
        parts = by_series.setdefault(place.series, [])
        part = next((part for part in parts if _go_together(part[0][1], place)), None)
        if part is None:
            parts.append([(item, place)])
        else:
            part.append((item, place))
    stacks = []
    for number, parts in enumerate(by_series.values(), start=1):
        for letter, part in enumerate(sorted(parts, key=len, reverse=True), start=1):
            shown = f"{number}.{letter}" if len(parts) > 1 else str(number)
            items, ordered_by = _in_order(part)
            stacks.append(Stack(_title(shown, part[0][1], items), items, ordered_by))
    return stacks


def _go_together(one: Place, other: Place) -> bool:
    if one.is_localizer != other.is_localizer or (one.orientation is None) != (other.orientation is None):
        return False
    if one.orientation is None or other.orientation is None:
        return True
    return max(abs(a - b) for a, b in zip(one.orientation, other.orientation, strict=True)) < _SAME_DIRECTION


def _in_order(part: list[tuple[StackItem, Place]]) -> tuple[tuple[StackItem, ...], str]:
    """The slices by the best measure that all of them have and that tells them apart, and its name."""
    kept = sorted(part, key=lambda each: (natural_key(each[0].name), each[0].frame))
    for ordered_by, tag in ((BY_POSITION, "position_mm"), (BY_LOCATION, "location_mm"), (BY_NUMBER, "number")):
        values = [getattr(place, tag) for _, place in kept]
        if None in values or (len(values) > 1 and len(set(values)) == 1):
            continue
        # Slices at one place, such as of two phases, keep the order in which they were taken.
        numbers = [place.number or 0 for _, place in kept]
        order = sorted(range(len(kept)), key=lambda i: (values[i], numbers[i]))
        is_mm = ordered_by != BY_NUMBER
        return tuple(replace(kept[i][0], position_mm=values[i] if is_mm else None) for i in order), ordered_by
    one_file = len({item.sha256 for item, _ in kept}) == 1
    return tuple(item for item, _ in kept), BY_FRAME if one_file else BY_NAME


def _title(number: str, place: Place, items: tuple[StackItem, ...]) -> str:
    """What a user can choose by, such as “DICOM series 1 (axial, 120 slices, 2.5 mm apart)”."""
    facts = [dicom.plane_of(list(place.orientation))] if place.orientation else []
    facts = [*(["localizer"] if place.is_localizer else []), *(fact for fact in facts if fact), _counted(len(items))]
    positions = [item.position_mm for item in items if item.position_mm is not None]
    steps = np.diff(positions)
    if len(positions) == len(items) and (steps > 0).any():
        facts.append(f"{np.median(steps[steps > 0]):.3g} mm apart")
    return f"DICOM series {number} ({', '.join(facts)})"


def _counted(n: int) -> str:
    return f"{n} slice{'' if n == 1 else 's'}"
