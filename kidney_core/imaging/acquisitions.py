"""Frames of one series -> acquisitions: phases, kernels, overlapping passes and other patients are never one stack.

A series may hold more than one acquisition of the same body: before and after contrast agent, in two kernels, in overlapping
passes. Laid over each other, their slices would be one scan with every kidney in it twice.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

from kidney_core.imaging.dicom_geometry import FramePosition

Frame = TypeVar("Frame")
_MAX_COSINE_DIFFERENCE = 0.02  # between slices of one orientation, about 1 degree
# Slices that differ in one of these are of different acquisitions, wherever they lie.
_ALWAYS = ("matrix", "pixel spacing", "kernel", "temporal position", "stack")
# These may also change from slice to slice of one acquisition: they count where slices overlap, the first before the others.
_WHERE_OVERLAPPING = ("acquisition", "dimension")
_WHERE_REPEATED = ("image type", "thickness", "tube voltage")
_NUMBER, _ROUNDING = re.compile(r"[0-9.]+"), 0.01  # of a pixel spacing
_MIN_OVERLAPPING = 3  # slices of a pass; fewer may be a step of a sequential scan
_MIN_RUN = 6  # slices of a pass between the slices of another one: numbers without an order make short runs by chance
_HOLE = 1.5  # of the usual distance, from which slices are missing in between
MISSING = "Slices are missing:"  # how the note about holes begins
_MAX_HOLES = 3  # that are told one by one


def separate(frames: Sequence[tuple[Frame, FramePosition]]) -> list[tuple[str, list[tuple[Frame, FramePosition]]]]:
    """The acquisitions among the frames of a series, each with what tells it from the others, such as "kernel B60f" ("" alone)."""
    found: list[tuple[str, list[tuple[Frame, FramePosition]]]] = []
    for same in _by_orientation(frames):
        parts = [("", same)]
        for trait in (*_ALWAYS, *_WHERE_OVERLAPPING, *_WHERE_REPEATED):
            parts = [each for title, part in parts for each in _split(title, part, trait)]
        found += [each for title, part in parts for each in _in_passes(title, part)]
    return found


def notes_of(positions_mm: Sequence[float | None]) -> tuple[str, ...]:
    """What is wrong with the positions of a stack, in sentences: slices at the same place, and holes.

    Args:
        positions_mm: along the stack, in order; nothing is said where one is unknown.
    """
    known = [position for position in positions_mm if position is not None]
    if len(known) != len(positions_mm) or len(known) < 2:
        return ()
    steps = np.abs(np.diff(known))
    notes = []
    if n_repeated := int((steps == 0).sum()):
        notes.append(
            f"{n_repeated} of {len(known)} slices lie at the same position as another one: two acquisitions or copies may be mixed. "
            "Upload one acquisition."
        )
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    holes = [int(hole) for hole in np.flatnonzero(steps > _HOLE * usual)] if usual else []
    told = [f"{steps[hole] - usual:.3g} mm between slices {hole + 1} and {hole + 2}" for hole in holes]
    return (*notes, *_missing(told))


def notes_of_numbers(numbers: Sequence[float | None], *, tell_holes: bool) -> tuple[str, ...]:
    """What the instance numbers of a stack's files tell, in sentences: numbers that are given twice, and missing ones.

    Args:
        numbers: in order; nothing is said where one is unknown or all are equal.
        tell_holes: where no positions do.
    """
    known = [number for number in numbers if number is not None]
    distinct = sorted(set(known))
    if len(known) != len(numbers) or len(distinct) < 2:
        return ()
    if len(distinct) < len(known):
        return (
            f"{len(known) - len(distinct)} of {len(known)} slices have the instance number of another one: two acquisitions or copies "
            "may be mixed. Upload one acquisition.",
        )
    usual = float(np.median(np.diff(distinct)))
    holes = [(low, high) for low, high in pairwise(distinct) if high - low > _HOLE * usual]
    return _missing([f"between numbers {low:g} and {high:g}" for low, high in holes]) if tell_holes else ()


def _missing(told: Sequence[str]) -> tuple[str, ...]:
    """The note about holes, of which the first are told one by one; none without any."""
    more = f", and in {len(told) - _MAX_HOLES} more places" if len(told) > _MAX_HOLES else ""
    return (f"{MISSING} {', '.join(told[:_MAX_HOLES])}{more}.",) if told else ()


def _by_orientation(frames: Sequence[tuple[Frame, FramePosition]]) -> list[list[tuple[Frame, FramePosition]]]:
    parts: list[list[tuple[Frame, FramePosition]]] = []
    for frame in frames:
        part = next((part for part in parts if _same_orientation(part[0][1], frame[1])), None)
        if part is None:
            parts.append([frame])
        else:
            part.append(frame)
    return parts


def _same_orientation(one: FramePosition, other: FramePosition) -> bool:
    if one.is_localizer != other.is_localizer or (one.orientation is None) != (other.orientation is None):
        return False
    if one.orientation is None or other.orientation is None:
        return True
    return max(abs(a - b) for a, b in zip(one.orientation, other.orientation, strict=True)) < _MAX_COSINE_DIFFERENCE


def _split(
    title: str, part: list[tuple[Frame, FramePosition]], trait: str
) -> list[tuple[str, list[tuple[Frame, FramePosition]]]]:
    groups: dict[str, list[tuple[Frame, FramePosition]]] = {}
    for frame in part:
        value = frame[1].traits.get(trait, "")
        same = next((each for each in groups if _is_same(value, each, trait)), value)
        groups.setdefault(same, []).append(frame)
    if len(groups) < 2 or not (trait in _ALWAYS or _belong_apart([*groups.values()], trait)):
        return [(title, part)]
    return [(_joined(title, f"{trait} {value or 'unknown'}"), group) for value, group in groups.items()]


def _is_same(value: str, other: str, trait: str) -> bool:
    """Whether two values of a trait are one, up to rounding of the pixel spacing."""
    if trait != "pixel spacing" or not value or not other:
        return value == other
    one, two = ([float(each) for each in _NUMBER.findall(text)] for text in (value, other))
    return len(one) == len(two) and all(math.isclose(a, b, rel_tol=_ROUNDING) for a, b in zip(one, two, strict=True))


def _belong_apart(groups: list[list[tuple[Frame, FramePosition]]], trait: str) -> bool:
    """Whether groups lie over each other: at the same places, or as passes that reach into each other."""
    places = [[position.place for _, position in group] for group in groups]
    most = max(Counter(place for group in places for place in set(group)).values())
    n_frames = sum(map(len, places))
    if most > 1 and (len(groups) <= most or 2 * len(groups) <= n_frames):
        return True
    return trait in _WHERE_OVERLAPPING and _overlap(places)


def _in_passes(
    title: str, part: list[tuple[Frame, FramePosition]]
) -> list[tuple[str, list[tuple[Frame, FramePosition]]]]:
    """Slices that still lie over each other, taken apart where their numbers run through the same places again, or between them."""
    most = max(Counter(position.place for _, position in part).values())
    if any(position.number is None for _, position in part):
        return [(title, part)]
    if most < 2:
        return _in_runs(title, part)
    passes: list[list[tuple[Frame, FramePosition]]] = [[]]
    reached: set[float] = set()
    for frame in sorted(part, key=lambda each: each[1].number or 0):
        if frame[1].place in reached:
            passes.append([])
            reached.clear()
        passes[-1].append(frame)
        reached.add(frame[1].place)
    if len(passes) != most or min(map(len, passes)) < _MIN_OVERLAPPING:
        return [(title, part)]
    return [(_joined(title, f"pass {number}"), each) for number, each in enumerate(passes, start=1)]


def _in_runs(
    title: str, part: list[tuple[Frame, FramePosition]]
) -> list[tuple[str, list[tuple[Frame, FramePosition]]]]:
    """Slices at different places, taken apart where their numbers run along the same part of the body more than once."""
    ordered = sorted(part, key=lambda each: each[1].number or 0)
    steps = np.diff([position.place for _, position in ordered])
    if len(steps) == 0:
        return [(title, part)]
    turns = [int(turn) + 1 for turn in np.flatnonzero(steps * np.median(steps) < 0)]
    runs = [ordered[start:end] for start, end in pairwise([0, *turns, len(ordered)])]
    if len(runs) < 2 or min(map(len, runs)) < _MIN_RUN or not _overlap([[p.place for _, p in run] for run in runs]):
        return [(title, part)]
    return [(_joined(title, f"pass {number}"), run) for number, run in enumerate(runs, start=1)]


def _joined(title: str, trait: str) -> str:
    return f"{title}, {trait}" if title else trait


def _overlap(groups: list[list[float]]) -> bool:
    """Whether two passes of some slices reach into each other."""
    ranges = sorted((min(group), max(group)) for group in groups if len(group) >= _MIN_OVERLAPPING)
    reached = -math.inf
    for low, high in ranges:
        if low < reached:
            return True
        reached = max(reached, high)
    return False
