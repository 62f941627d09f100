"""The kidneys along a stack of slices: neighbouring slices agree, so that a spot on one slice alone is no kidney."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from kidney_core.imaging.framing import Frame
from kidney_core.kidneys.found import LIKELY, FoundKidneys, KidneyMap, side_names

GRID_PX = 128  # side of the square that a slice is reduced to
_SMOOTHED_MM = 2.5  # standard deviation of the smoothing along the stack
_TRUNCATED = 4  # standard deviations at which SciPy's filter ends
_MIN_SLICES, _MIN_LENGTH_MM = 3, 20.0  # a shorter kidney is none, unless the stack ends within it
_NEAR_CELLS = 2  # how far pixels of a slice may lie from the kidney of the stack that they belong to
_MIN_SHARE = 0.15  # of the largest region of the stack, that a kidney's region has at least


@dataclass(frozen=True)
class SmallMap:
    """A `KidneyMap` reduced to a grid that begins at the upper left of the slice, as it is kept for a stack.

    Attributes:
        kidney, picture_left: (128, 128) uint8, probabilities times 255.
        cell_px: side of a cell in pixels of the slice.
    """

    kidney: np.ndarray = field(repr=False)
    picture_left: np.ndarray = field(repr=False)
    cell_px: float


@dataclass(frozen=True)
class KidneyAlongStack:
    """One kidney of a stack.

    Attributes:
        side: "right", "left" or "side unknown".
        first, last: the slices it begins and ends on.
        areas_mm2: (Z,) its area on each slice; in cells of the grid where the pixel spacing is unknown.
        length_mm: along the stack; None where the distance of the slices is unknown.
        volume_ml: None where a spacing is unknown.
        cells: (Z, 128, 128) bool, where it is on each slice, see `SmallMap`.
    """

    side: str
    first: int
    last: int
    areas_mm2: np.ndarray = field(repr=False)
    length_mm: float | None
    volume_ml: float | None
    cells: np.ndarray = field(repr=False, compare=False)


@dataclass(frozen=True)
class StackKidneys:
    """The kidneys of a stack, right before left.

    Attributes:
        cell_px: side of a cell in pixels of the slices.
    """

    kidneys: tuple[KidneyAlongStack, ...]
    cell_px: float = 1.0

    @property
    def range(self) -> tuple[int, int] | None:
        """First and last slice that shows a kidney; None where none does."""
        if not self.kidneys:
            return None
        return min(each.first for each in self.kidneys), max(each.last for each in self.kidneys)

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides that were found."""
        return tuple(each.side for each in self.kidneys)

    def sides_at(self, index: int) -> tuple[str, ...]:
        """The sides that slice `index` shows."""
        return tuple(each.side for each in self.kidneys if each.areas_mm2[index] > 0)

    def masks_at(self, index: int, found: FoundKidneys) -> dict[str, np.ndarray]:
        """The mask of each kidney that slice `index` shows: side -> (H, W) bool.

        Args:
            found: what the finder sees on this slice, of whose pixels those near the kidneys of the stack count.
        """
        rows, columns = (np.minimum(np.arange(n) / self.cell_px, GRID_PX - 1).astype(int) for n in found.mask.shape)
        masks: dict[str, np.ndarray] = {}
        free = found.mask.copy()
        for kidney in self.kidneys:
            if kidney.areas_mm2[index] > 0:
                near = ndimage.binary_dilation(kidney.cells[index], iterations=_NEAR_CELLS)
                masks[kidney.side] = free & near[np.ix_(rows, columns)]
                free &= ~masks[kidney.side]
        return {side: mask for side, mask in masks.items() if mask.any()}


def reduce_map(found: KidneyMap) -> SmallMap:
    """A slice's map as it is kept for a stack."""
    cell_px = max(found.framed.shape) / GRID_PX
    small = replace(found.framed, frame=_scaled(found.framed.frame, cell_px), shape=(GRID_PX, GRID_PX))
    kidney, left = (np.rint(255 * small.to_image(each)).astype(np.uint8) for each in (found.kidney, found.picture_left))
    return SmallMap(kidney, left, cell_px)


def _scaled(frame: Frame, cell_px: float) -> Frame:
    """A frame in cells of the grid, at least one, none outside."""
    top, left = (min(GRID_PX - 1, round(each / cell_px)) for each in (frame.top, frame.left))
    height = min(GRID_PX - top, max(1, round(frame.height / cell_px)))
    return Frame(top, left, height, min(GRID_PX - left, max(1, round(frame.width / cell_px))))


def along_stack(
    maps: Sequence[SmallMap | None],
    *,
    positions_mm: Sequence[float | None] = (),
    pixel_mm2: float | None = None,
    letters: dict[str, str] | None = None,
) -> StackKidneys:
    """The kidneys of a stack.

    Args:
        maps: of the slices in order; None where one cannot be read.
        positions_mm: along the stack, where they are known.
        pixel_mm2: area of a pixel of the slices.
        letters: of the slices, see `found.side_names`.
    """
    gap_mm = slice_distance(positions_mm)
    sigma = _SMOOTHED_MM / gap_mm if gap_mm else 0.8
    begin, end = _part_with_kidneys(maps, math.ceil(_TRUNCATED * sigma))
    place = _place_of_kidneys(maps[begin:end])
    empty = np.zeros((GRID_PX, GRID_PX), np.uint8)
    kidney = np.stack([(each.kidney if each else empty)[place] for each in maps[begin:end]]) / np.float32(255)
    left = np.stack([(each.picture_left if each else empty)[place] for each in maps[begin:end]]) / np.float32(255)
    smooth = ndimage.gaussian_filter1d(kidney, sigma, axis=0) if len(maps) >= _MIN_SLICES else kidney
    regions, n = ndimage.label(smooth > LIKELY)
    by_place: dict[int, list[int]] = {0: [], 1: []}
    slices_of = ndimage.find_objects(regions)
    volumes = np.bincount(regions.ravel(), minlength=n + 1)
    is_left = ndimage.mean(left, regions, np.arange(n + 1)) > 0.5
    for region in np.argsort(-volumes[1:]) + 1:
        depth = slices_of[region - 1][0]
        n_slices = depth.stop - depth.start
        is_short = n_slices * gap_mm < _MIN_LENGTH_MM if gap_mm else n_slices < _MIN_SLICES
        is_whole = begin + depth.start > 0 and begin + depth.stop < len(maps)  # otherwise it may go on beyond the stack
        if volumes[region] >= _MIN_SHARE * volumes[1:].max() and not (is_short and is_whole):
            by_place[0 if is_left[region] else 1].append(int(region))
    names = side_names(letters or {})
    if names[0] == names[1]:
        by_place = {0: by_place[0] + by_place[1], 1: []}
    found = sorted(((names[place], members) for place, members in by_place.items() if members), reverse=True)
    cell, rest = (
        _cell_area(maps, pixel_mm2),
        (
            (begin, len(maps) - end),
            *((each.start, GRID_PX - each.stop) for each in place),
        ),
    )
    return StackKidneys(
        tuple(
            _measure(side, np.pad(np.isin(regions, members), rest), gap_mm, cell, has_mm=pixel_mm2 is not None)
            for side, members in found
        ),
        next((each.cell_px for each in maps if each), 1.0),
    )


def _part_with_kidneys(maps: Sequence[SmallMap | None], margin: int) -> tuple[int, int]:
    """First and last + 1 of the slices that matter: those with something like a kidney, and a margin; at least one."""
    shows = np.flatnonzero([each is not None and each.kidney.max() > 255 * LIKELY / 2 for each in maps])
    return (max(0, int(shows[0]) - margin), min(len(maps), int(shows[-1]) + 1 + margin)) if len(shows) else (0, 1)


def _place_of_kidneys(maps: Sequence[SmallMap | None]) -> tuple[slice, slice]:
    """The rows and columns with a likely kidney on any slice; smoothing along the stack adds none. Of a long stack it saves 200 MB."""
    shows = np.zeros((GRID_PX, GRID_PX), bool)
    for each in maps:
        if each:
            shows |= each.kidney > 255 * LIKELY
    if not shows.any():
        return slice(0, 1), slice(0, 1)
    rows, columns = (np.flatnonzero(shows.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _measure(side: str, mask: np.ndarray, gap_mm: float | None, cell: float, *, has_mm: bool) -> KidneyAlongStack:
    areas = mask.sum(axis=(1, 2)) * cell
    shown = np.flatnonzero(areas)
    return KidneyAlongStack(
        side,
        int(shown[0]),
        int(shown[-1]),
        areas,
        length_mm=gap_mm * len(shown) if gap_mm else None,
        volume_ml=float(areas.sum()) * gap_mm / 1000 if gap_mm and has_mm else None,
        cells=mask,
    )


def _cell_area(maps: Sequence[SmallMap | None], pixel_mm2: float | None) -> float:
    cell_px = next((each.cell_px for each in maps if each), 1.0)
    return cell_px**2 * pixel_mm2 if pixel_mm2 else 1.0


def slice_distance(positions_mm: Sequence[float | None]) -> float | None:
    """The distance of neighbouring slices in mm; None where a position is unknown."""
    known = np.array([each for each in positions_mm if each is not None], dtype=float)
    steps = np.abs(np.diff(known))
    return float(np.median(steps[steps > 0])) if len(known) == len(positions_mm) and (steps > 0).any() else None
