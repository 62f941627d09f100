"""Uploaded files -> stacks of slices in anatomical order.

A stack is one DICOM series in one orientation, or all raster images in the order of their names. The bytes are held only
once, those of a zip as uploaded; a slice is unpacked and decoded only when it is needed.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from kidney_core.common.errors import SliceError, UnsupportedSlice
from kidney_core.common.files import natural_key
from kidney_core.imaging import acquisitions, archive, dicom, slices, volume_file
from kidney_core.imaging.archive import Member
from kidney_core.imaging.dicom_geometry import FramePosition, read_positions
from kidney_core.imaging.slices import Slice
from kidney_core.imaging.volume_file import PlaneCount

BY_POSITION, BY_LOCATION, BY_NUMBER = "position", "slice location", "instance number"
BY_FRAME, BY_NAME = "frame number", "file name"


@dataclass(frozen=True)
class StackItem:
    """One slice of a stack, not decoded yet.

    Attributes:
        name: name of the file, with the frame where it holds several; shown, never used as a path.
        read: returns the file's bytes, which the frames of one file share.
        frame: index of the image in the file, from 0.
        position_mm: position along the stack; None where the order comes from numbers or names.
        sha256: digest of the file, in hexadecimal.
        as_grey: its numbers are taken for grey values though they look like Hounsfield units: the user knows better.
    """

    name: str
    read: Callable[[], bytes] = field(repr=False, compare=False)
    frame: int
    position_mm: float | None
    sha256: str
    as_grey: bool = False

    @property
    def content(self) -> bytes:
        """The bytes of the file."""
        return self.read()


@dataclass(frozen=True)
class Stack:
    """Slices of one acquisition in order.

    Attributes:
        ordered_by: BY_POSITION, BY_LOCATION, BY_NUMBER, BY_FRAME or BY_NAME.
        notes: what may be wrong with it, in sentences: holes, slices at the same place, files that could not be used.
    """

    title: str
    items: tuple[StackItem, ...]
    ordered_by: str
    notes: tuple[str, ...] = ()

    def as_grey(self) -> "Stack":
        """The same stack with recognised Hounsfield units taken for grey values."""
        return replace(self, items=tuple(replace(item, as_grey=True) for item in self.items))

    @property
    def fingerprint(self) -> str:
        """A SHA-256 that depends on the slices and their order, not on the names of their files."""
        lines = "".join(f"{item.sha256}:{item.frame}{':grey' * item.as_grey}\n" for item in self.items)
        return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True)
class UploadContents:
    """The stacks of an upload, the longest first, and a sentence for each file that could not be used."""

    stacks: tuple[Stack, ...]
    problems: tuple[str, ...]

    def with_note(self, note: str) -> "UploadContents":
        """The same with a note for every stack of DICOM files, whose slices belong together."""
        stacks = (
            stack if stack.ordered_by == BY_NAME else replace(stack, notes=(*stack.notes, note))
            for stack in self.stacks
        )
        return replace(self, stacks=tuple(stacks))


def open_stacks(uploads: Iterable[tuple[str, bytes]]) -> UploadContents:
    """Sort uploaded files into stacks; zips are unpacked, and of identical files only one is used.

    Args:
        uploads: (name, content) of each file; its kind is recognised by its content.

    Raises: ArchiveError for a zip that cannot be used. Any other unusable file becomes an entry of `problems` instead.
    """
    positioned: list[tuple[StackItem, FramePosition]] = []
    images: list[StackItem] = []
    volumes: list[Stack] = []
    problems: list[str] = []
    name_by_digest: dict[str, str] = {}
    n_missing = 0  # files that may be slices of a scan
    for file in _files(uploads):
        name, content = file.name, file.content
        if content is None:
            problems.append(file.problem)
            n_missing += 1
            continue
        digest = hashlib.sha256(content).hexdigest()
        if digest in name_by_digest:
            problems.append(f"“{name}” is the same file as “{name_by_digest[digest]}” and is counted once.")
            continue
        try:
            if volume_file.is_volume(content):
                volumes += _volume_stacks(file, digest, volume_file.read_counts(content, name=name))
            elif slices.is_dicom(content):
                positions = read_positions(content, name=name)
                positioned += zip(_items(file, digest, "frame", len(positions)), positions, strict=True)
            else:
                images += _items(file, digest, "page", slices.count_images(content, name=name))
        except SliceError as error:
            problems.append(str(error))
            n_missing += slices.is_dicom(content) and not isinstance(error, UnsupportedSlice)
            continue
        name_by_digest[digest] = name
    stacks = [*_dicom_stacks(positioned), *volumes]
    if images:
        images.sort(key=lambda item: (natural_key(item.name), item.frame))
        stacks.append(Stack(f"Images ({_slice_count(len(images))})", tuple(images), BY_NAME))
    stacks.sort(key=lambda stack: (stack in volumes and stack is not volumes[0], -len(stack.items)))
    opened = UploadContents(tuple(stacks), tuple(problems))
    return opened.with_note(_missing_note(n_missing)) if n_missing else opened


def _missing_note(n_files: int) -> str:
    what = "One file of this upload" if n_files == 1 else f"{n_files:,} files of this upload"
    return f"{what} could not be used: slices may be missing."


def open_item(item: StackItem) -> Slice:
    """Decode one slice. Raises SliceError as `slices.read_slice`."""
    image = slices.read_slice(item.content, name=item.name, frame=item.frame)
    return image.as_grey() if item.as_grey and image.recognised_as_hu else image


def file_and_frame(item_name: str) -> tuple[str, int]:
    """The file and the index of the image in it that an item of a stack is called by: "a.nii.gz, axial 3" -> ("a.nii.gz", 2)."""
    found = re.fullmatch(r"(.+), (?:frame|page|axial) (\d+)", item_name)
    return (found[1], int(found[2]) - 1) if found else (item_name, 0)


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
                        problem=f"“{inner.name}” is a zip within “{name}”. Unpack it and upload it separately.",
                    )
                else:
                    yield inner
        elif not archive.is_skipped(name):
            yield Member(name, content, reread=functools.partial(bytes, content))  # the same object, not a copy


def _items(file: Member, digest: str, word: str, n_images: int) -> list[StackItem]:
    if n_images == 1:
        return [StackItem(file.name, file.reread, 0, None, digest)]
    return [
        StackItem(f"{file.name}, {word} {frame + 1}", file.reread, frame, None, digest) for frame in range(n_images)
    ]


def _volume_stacks(file: Member, digest: str, counts: list[PlaneCount]) -> list[Stack]:
    """The three ways to cut a volume, the axial one first whatever their lengths."""
    stacks, first = [], 0
    for each in counts:
        items = tuple(
            StackItem(f"{file.name}, {each.plane} {i + 1}", file.reread, first + i, i * each.distance_mm, digest)
            for i in range(each.n_slices)
        )
        first += each.n_slices
        title = f"{file.name} ({each.plane}, {_slice_count(each.n_slices)}, {each.distance_mm:.3g} mm apart)"
        stacks.append(Stack(title, items, BY_POSITION))
    return stacks


def _dicom_stacks(positioned: list[tuple[StackItem, FramePosition]]) -> list[Stack]:
    """One stack for each acquisition of each series."""
    by_series: dict[str, list[tuple[StackItem, FramePosition]]] = {}
    for item, position in positioned:
        by_series.setdefault(position.series, []).append((item, position))
    stacks = []
    for number, frames in enumerate(by_series.values(), start=1):
        parts = sorted(acquisitions.separate(frames), key=lambda part: -len(part[1]))
        for part_number, (trait, part) in enumerate(parts, start=1):
            title_number = f"{number}.{part_number}" if len(parts) > 1 else str(number)
            items, ordered_by = _sort_items(part)
            notes = acquisitions.notes_of([item.position_mm for item in items])
            stacks.append(Stack(_title(title_number, trait, part[0][1], items), items, ordered_by, notes))
    return stacks


def _sort_items(part: list[tuple[StackItem, FramePosition]]) -> tuple[tuple[StackItem, ...], str]:
    """The slices sorted by the best measure that all of them have and that distinguishes them, and its name."""
    by_name = sorted(part, key=lambda each: (natural_key(each[0].name), each[0].frame))
    for ordered_by, attribute in ((BY_POSITION, "position_mm"), (BY_LOCATION, "location_mm"), (BY_NUMBER, "number")):
        values = [getattr(position, attribute) for _, position in by_name]
        if None in values or (len(values) > 1 and len(set(values)) == 1):
            continue
        # Slices at the same position, for example of two phases, keep their order of acquisition.
        numbers = [position.number or 0 for _, position in by_name]
        order = sorted(range(len(by_name)), key=lambda i: (values[i], numbers[i]))
        is_mm = ordered_by != BY_NUMBER
        return tuple(replace(by_name[i][0], position_mm=values[i] if is_mm else None) for i in order), ordered_by
    is_one_file = len({item.sha256 for item, _ in by_name}) == 1
    return tuple(item for item, _ in by_name), BY_FRAME if is_one_file else BY_NAME


def _title(number: str, trait: str, position: FramePosition, items: tuple[StackItem, ...]) -> str:
    """The title of a stack for the user, such as “DICOM series 1 (axial, 120 slices, 2.5 mm apart)”."""
    plane = dicom.plane_of(list(position.orientation)) if position.orientation else None
    facts = ["localizer"] if position.is_localizer else []
    facts += [each for each in (plane, trait) if each]
    facts.append(_slice_count(len(items)))
    positions = [item.position_mm for item in items if item.position_mm is not None]
    steps = np.diff(positions)
    if len(positions) == len(items) and (steps > 0).any():
        facts.append(f"{np.median(steps[steps > 0]):.3g} mm apart")
    return f"DICOM series {number} ({', '.join(facts)})"


def _slice_count(n: int) -> str:
    return f"{n} slice{'' if n == 1 else 's'}"
