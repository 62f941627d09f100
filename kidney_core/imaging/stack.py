"""Uploaded files -> stacks of slices in anatomical order.

A stack is one DICOM series in one orientation, or all raster images in the order of their names. The bytes are held only
once, packed or as a zip was uploaded, and those of files on this machine not at all; a slice is read and decoded only when it is
needed.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from kidney_core.common.errors import SliceError, UnsupportedSlice
from kidney_core.common.files import natural_key
from kidney_core.imaging import acquisitions, archive, dicom, slices, volume_file
from kidney_core.imaging.archive import Member
from kidney_core.imaging.dicom_geometry import FramePosition, read_positions
from kidney_core.imaging.file_content import FileContent
from kidney_core.imaging.slices import Slice

BY_POSITION, BY_LOCATION, BY_NUMBER = "position", "slice location", "instance number"
BY_FRAME, BY_NAME = "frame number", "file name"


@dataclass(frozen=True)
class StackItem:
    """One slice of a stack, not decoded yet.

    Attributes:
        name: name of the file, with the frame where it holds several; shown, never used as a path.
        file: what the frames of one file share.
        frame: index of the image in the file, from 0.
        position_mm: position along the stack; None where the order comes from numbers or names.
        as_grey: its numbers are taken for grey values though they look like Hounsfield units: the user knows better.
    """

    name: str
    file: FileContent = field(repr=False, compare=False)
    frame: int
    position_mm: float | None
    as_grey: bool = False

    @property
    def content(self) -> bytes:
        """The bytes of the file. Raises SliceError where it cannot be read any more."""
        return self.file.read()

    @property
    def sha256(self) -> str:
        """Digest of the file, in hexadecimal; reads the file where nobody has yet. Raises SliceError."""
        return self.file.sha256


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
        """A SHA-256 that depends on the slices and their order, not on the names of their files.

        Files that nobody has read whole stand for themselves, so that telling stacks apart does not read them.
        """
        return self._digest([item.file.identity for item in self.items])

    @property
    def sha256(self) -> str:
        """The same of the bytes of all files, whatever way they came; reads those that nobody has read yet.

        Raises: SliceError where one cannot be read any more.
        """
        return self._digest([item.sha256 for item in self.items])

    def _digest(self, files: list[str]) -> str:
        pairs = zip(files, self.items, strict=True)
        lines = "".join(f"{file}:{item.frame}{':grey' * item.as_grey}\n" for file, item in pairs)
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
    """`open_files` for files whose bytes are at hand: (name, content) of each."""
    return open_files(Member.of_bytes(name, content) for name, content in uploads)


def open_files(files: Iterable[Member]) -> UploadContents:
    """Sort files into stacks; zips are unpacked, and of identical files only one is used.

    Args:
        files: recognised by their first bytes; more of them is read where these do not hold the whole header.

    Raises: ArchiveError for a zip that cannot be used. Any other unusable file becomes an entry of `problems` instead.
    """
    positioned: list[tuple[StackItem, FramePosition]] = []
    images: list[StackItem] = []
    volumes: list[Stack] = []
    problems: list[str] = []
    taken: dict[str, list[Member]] = {}  # by their first bytes
    n_missing = 0  # files that may be slices of a scan
    for file in _without_zips(files):
        name, content = file.name, file.content
        if content is None:
            problems.append(file.problem)
            n_missing += 1
            continue
        rest = file.head if content.size > len(file.head) else None
        try:
            if (same := _same_as(file, taken)) is not None:
                problems.append(f"“{name}” is the same file as “{same.name}” and is counted once.")
                continue
            slices.check_content(file.head, name, size=content.size)
            if volume_file.is_volume(file.head):
                volumes += _volume_stacks(file)
            elif slices.is_dicom(file.head):
                positions = read_positions(content, name=name, head=rest)
                positioned += zip(_items(file, "frame", len(positions)), positions, strict=True)
            else:
                images += _items(file, "page", slices.count_images(content, name=name, head=rest))
        except SliceError as error:
            problems.append(str(error))
            n_missing += slices.is_dicom(file.head) and not isinstance(error, UnsupportedSlice)
            continue
        taken.setdefault(_likeness(content), []).append(replace(file, head=b""))
    stacks = [*_dicom_stacks(positioned), *volumes]
    if images:
        images.sort(key=lambda item: (natural_key(item.name), item.frame))
        stacks.append(Stack(f"Images ({_slice_count(len(images))})", tuple(images), BY_NAME))
    stacks.sort(key=lambda stack: (stack in volumes and stack is not volumes[0], -len(stack.items)))
    opened = UploadContents(tuple(stacks), tuple(problems))
    return opened.with_note(_missing_note(n_missing)) if n_missing else opened


def _likeness(content: FileContent) -> str:
    """Equal files have it in common; different ones hardly ever."""
    return f"{content.size}-{content.head_digest}"


def _same_as(file: Member, taken: dict[str, list[Member]]) -> Member | None:
    """The file taken before that is the same; files that begin alike are read whole. Raises SliceError."""
    assert file.content is not None
    for other in taken.get(_likeness(file.content), ()):
        if other.content and other.content.sha256 == file.content.sha256:
            return other
    return None


def _missing_note(n_files: int) -> str:
    what = "One file of this upload" if n_files == 1 else f"{n_files:,} files of this upload"
    return f"{what} could not be used: slices may be missing."


def open_item(item: StackItem) -> Slice:
    """Decode one slice. Raises SliceError as `slices.read_slice`."""
    image = slices.read_slice(item.file, name=item.name, frame=item.frame)
    return image.as_grey() if item.as_grey and image.recognised_as_hu else image


def file_and_frame(item_name: str) -> tuple[str, int]:
    """The file and the index of the image in it that an item of a stack is called by: "a.nii.gz, axial 3" -> ("a.nii.gz", 2)."""
    found = re.fullmatch(r"(.+), (?:frame|page|axial) (\d+)", item_name)
    return (found[1], int(found[2]) - 1) if found else (item_name, 0)


def _without_zips(files: Iterable[Member]) -> Iterator[Member]:
    """Each file, and those of a zip in its place."""
    total = 0
    for file in files:
        if file.content is not None and archive.is_zip(file.head):
            for inner in archive.read_files(file, already=total):
                total += inner.content.size if inner.content else 0
                if inner.content is not None and archive.is_zip(inner.head):
                    yield Member(
                        inner.name,
                        problem=f"“{inner.name}” is a zip within “{file.name}”. Unpack it and upload it separately.",
                    )
                else:
                    yield inner
        elif not archive.is_skipped(file.name):
            yield file


def _items(file: Member, word: str, n_images: int) -> list[StackItem]:
    assert file.content is not None
    if n_images == 1:
        return [StackItem(file.name, file.content, 0, None)]
    return [StackItem(f"{file.name}, {word} {frame + 1}", file.content, frame, None) for frame in range(n_images)]


def _volume_stacks(file: Member) -> list[Stack]:
    """The three ways to cut a volume, the axial one first whatever their lengths. Raises SliceError."""
    content = file.content
    assert content is not None
    # What is at hand is parsed whole, which shows damage at once.
    is_here = bool(content.known_sha256)
    counts = volume_file.read_counts(content if is_here else file.head, name=file.name, size=content.size)
    stacks, first = [], 0
    for each in counts:
        items = tuple(
            StackItem(f"{file.name}, {each.plane} {i + 1}", content, first + i, i * each.distance_mm)
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
            notes = _notes(part, items, ordered_by)
            stacks.append(Stack(_title(title_number, trait, part[0][1], items), items, ordered_by, notes))
    return stacks


def _notes(
    part: list[tuple[StackItem, FramePosition]], items: tuple[StackItem, ...], ordered_by: str
) -> tuple[str, ...]:
    """What may be wrong with an acquisition, by the positions of its slices and the numbers of its files."""
    by_place = acquisitions.notes_of([item.position_mm for item in items])
    if any(not note.startswith(acquisitions.MISSING) for note in by_place):
        return by_place
    of_file = {id(item.file): position.number for item, position in part}  # the frames of a file share one
    by_number = acquisitions.notes_of_numbers([*of_file.values()], tell_holes=ordered_by == BY_NUMBER)
    # Of two acquisitions laid into each other, the distances between slices mean nothing.
    return by_number or by_place


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
    is_one_file = len({id(item.file) for item, _ in by_name}) == 1
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
