"""Pairs of pictures that are copies of one slice: flipped, turned, slightly rotated or scaled, contrast-equalised, renamed.

Augmented exports and re-saved datasets hold such copies; on both sides of a split they are leakage that plain likeness misses.
Thresholds were measured on 6,931 slices of the public dataset and their equalised copies: none of the links below joins scans that
the likeness of neighbours does not join, and of 200 copies rotated by up to 15 degrees and scaled by 0.87 to 1.15 all but a few are
found.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

LINKED = 0.95  # correlation of thumbnails from which two pictures are of one scan; see `series`
_ALIKE, _EQUALLY_RANKED = 0.88, 0.985  # correlations of grey values, and of their ranks, of an equalised copy
_NEAR, _NEARER, _ALIGNED = 0.9, 0.935, 0.98  # of compressed thumbnails, of coarsely and of finely aligned ones
_ANGLES_DEG, _SCALES = (-15, -10, -5, 0, 5, 10, 15), (0.87, 0.93, 1.0, 1.07, 1.15)
_FINE_ANGLES_DEG, _FINE_SCALES = (-3, -2, -1, 0, 1, 2, 3), (-0.05, -0.025, 0.0, 0.025, 0.05)
_FINE_SHIFTS_PX = (-0.8, -0.4, 0.0, 0.4, 0.8)
_MOST_TRIED = 20  # pairs of two groups that are aligned finely
_N_COMPONENTS = 96  # numbers that a thumbnail is compressed to where every pair is compared in many ways,
_LEAST_COMPRESSED = 3_000  # of so many thumbnails
N_TURNED, N_ALIGNED = 6, 2 * len(_ANGLES_DEG) * len(_SCALES)  # steps of `by_turning` and `by_aligning`
_BLOCK = 256
# What Roboflow makes of NAME.jpg, and what tools add to the names of augmented copies.
_ROBOFLOW = re.compile(r"_(?:jpe?g|png|bmp|tiff?)\.rf\.[0-9a-f]{8,}$", re.IGNORECASE)
_ADDED = re.compile(
    r"[ _-]+\(?(?:copy|aug(?:mented)?|[hv]?flip(?:ped)?|mirror(?:ed)?|rot(?:ated)?|clahe|eq(?:ualized)?|noise|blur|zoom|scaled)"
    r"[ _-]*\d*\)?$",
    re.IGNORECASE,
)

Links = tuple[np.ndarray, np.ndarray]


def components(n: int, links: Sequence[Links]) -> np.ndarray:
    """(n,) numbers of the groups that pairs of positions link."""
    starts = np.concatenate([np.empty(0, np.int64), *(each[0] for each in links)])
    ends = np.concatenate([np.empty(0, np.int64), *(each[1] for each in links)])
    graph = coo_array((np.ones(len(starts), bool), (starts, ends)), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def alike(thumbnails: np.ndarray) -> Links:
    """Pairs that correlate above 0.95 as they are: copies, and neighbours of one scan; of (N, S, S) uint8."""
    unit = unit_vectors(thumbnails)
    return _pairs(unit, unit, LINKED)


def by_name(paths: Sequence[str]) -> Links:
    """Pairs of files whose names tell that one is a copy of the other: `a_jpg.rf.0f3c….jpg`, or `a_flip.png` beside `a.png`."""
    stems = [PurePosixPath(path).name.removesuffix(PurePosixPath(path).suffix) for path in paths]
    starts, ends = [], []
    originals = {_ROBOFLOW.sub("", stem): position for position, stem in reversed(list(enumerate(stems)))}
    for position, stem in enumerate(stems):
        original = _ROBOFLOW.sub("", stem)
        while (shorter := _ADDED.sub("", original)) != original and shorter:
            if shorter in originals:
                starts.append(originals[shorter])
                ends.append(position)
            original = shorter
        if _ROBOFLOW.search(stem):
            starts.append(originals[_ROBOFLOW.sub("", stem)])
            ends.append(position)
    return np.array(starts, np.int64), np.array(ends, np.int64)


def by_turning(thumbnails: np.ndarray) -> Iterator[Links]:
    """Pairs of which one is the other flipped or turned by 90, 180 or 270 degrees: of (N, S, S) uint8."""
    unit = unit_vectors(thumbnails)
    for mirrored in (False, True):
        shown = thumbnails[:, :, ::-1] if mirrored else thumbnails
        for turns in range(1 - mirrored, 4):
            if not mirrored and turns == 3:
                continue  # the same pairs as one turn the other way
            turned = unit_vectors(np.ascontiguousarray(np.rot90(shown, turns, axes=(1, 2))))
            yield _pairs(turned, unit, LINKED)


def by_equalising(thumbnails: np.ndarray) -> Links:
    """Pairs that are alike and nearly equal when only the order of their grey values counts, whatever was done to the contrast."""
    flat = thumbnails.reshape(len(thumbnails), -1)
    ranks = np.empty(flat.shape, np.float32)
    for start in range(0, len(flat), _BLOCK):
        ranks[start : start + _BLOCK] = flat[start : start + _BLOCK].argsort(axis=1, kind="stable").argsort(axis=1)
    unit, ranked = unit_vectors(thumbnails), unit_vectors(ranks)
    starts, ends = _pairs(ranked, ranked, _EQUALLY_RANKED)
    alike = _correlations(unit, starts, unit, ends) > _ALIKE
    return starts[alike], ends[alike]


def by_aligning(
    thumbnails: np.ndarray, groups: np.ndarray, *, progress: Callable[[int], None] = lambda done: None
) -> Links:
    """Pairs of different groups of which one is the other rotated by up to 15 degrees, scaled, or mirrored as well.

    Args:
        thumbnails: (N, S, S) uint8.
        groups: (N,) numbers; pairs within a group are linked already.
        progress: called with the steps that are done, of `N_ALIGNED`.
    """
    disc = _disc(thumbnails.shape[1])
    unit = unit_vectors(thumbnails, disc)
    axes = _main_axes(unit)
    small = unit @ axes
    found: list[np.ndarray] = []
    for mirrored in (False, True):
        shown = np.ascontiguousarray(thumbnails[:, :, ::-1]) if mirrored else thumbnails
        for angle in _ANGLES_DEG:
            for scale in _SCALES:
                moved = unit_vectors(np.stack([_moved(each, angle, scale) for each in shown]), disc)
                starts, ends = _pairs(moved @ axes, small, _NEAR, apart=groups, one_way=False)
                likeness = _correlations(moved, starts, unit, ends)
                near = likeness > _NEARER
                ways = np.broadcast_to([angle, scale, mirrored], (int(near.sum()), 3))
                found.append(np.column_stack([likeness[near], starts[near], ends[near], ways]))
                progress(len(found))
    return _verified(thumbnails, groups, np.concatenate(found), disc)


def _main_axes(unit: np.ndarray) -> np.ndarray:
    """(D, 96) the directions that most of a dataset's thumbnails lie in; (D, D), all of them, for a small dataset."""
    if len(unit) < _LEAST_COMPRESSED:
        return np.eye(unit.shape[1], dtype=np.float32)
    return np.linalg.eigh(unit.T @ unit)[1][:, -_N_COMPONENTS:].astype(np.float32)


def _verified(thumbnails: np.ndarray, groups: np.ndarray, found: np.ndarray, disc: np.ndarray) -> Links:
    """Those coarse matches that are nearly equal when they are aligned finely; the best first, one of two groups is enough.

    Args:
        found: (K, 6) likeness, two positions, and how the first was moved: angle, scale, mirrored.
    """
    joined = np.arange(int(groups.max()) + 1 if len(groups) else 0)
    starts, ends, n_tried = [], [], Counter[tuple[int, int]]()
    for likeness, start, end, angle, scale, mirrored in found[np.argsort(-found[:, 0], kind="stable")].tolist():
        one, other = int(joined[groups[int(start)]]), int(joined[groups[int(end)]])
        if one == other or n_tried[one, other] >= _MOST_TRIED:
            continue
        n_tried[one, other] += 1
        if likeness > _ALIGNED or _aligned(
            thumbnails[int(start)], thumbnails[int(end)], angle, scale, bool(mirrored), disc
        ):
            joined[joined == one] = other
            starts.append(int(start))
            ends.append(int(end))
    return np.array(starts, np.int64), np.array(ends, np.int64)


def _aligned(
    picture: np.ndarray, other: np.ndarray, angle_deg: float, scale: float, mirrored: bool, disc: np.ndarray
) -> bool:
    """Whether a picture, moved as stated or nearly so, is another one: (S, S) uint8 each."""
    shown = np.ascontiguousarray(picture[:, ::-1]) if mirrored else picture
    tried = np.stack(
        [
            _moved(shown, angle_deg + more, scale + larger, (down, across))
            for more in _FINE_ANGLES_DEG
            for larger in _FINE_SCALES
            for down in _FINE_SHIFTS_PX
            for across in _FINE_SHIFTS_PX
        ]
    )
    return float((unit_vectors(tried, disc) @ unit_vectors(other[None], disc)[0]).max()) > _ALIGNED


def unit_vectors(thumbnails: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """(N, h, w) -> (N, h * w) float32 with zero mean and unit norm, so that a dot product is a correlation.

    Args:
        mask: (h * w,) bool, the pixels that count; all by default.
    """
    flat = thumbnails.reshape(len(thumbnails), -1)
    flat = (flat if mask is None else flat[:, mask]).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.maximum(norm, np.float32(1e-6))  # a constant image correlates with nothing


def _pairs(
    one: np.ndarray, other: np.ndarray, above: float, *, apart: np.ndarray | None = None, one_way: bool = True
) -> Links:
    """Positions (i, j) with `one[i] @ other[j]` above a correlation.

    Args:
        apart: (N,) numbers that must differ between the two.
        one_way: the matrix is symmetric, so that half of it is enough.
    """
    starts, ends = [], []
    for start in range(0, len(one), _BLOCK):
        first = start if one_way else 0
        is_above = one[start : start + _BLOCK] @ other[first:].T > above
        rows, columns = np.divmod(np.flatnonzero(is_above), is_above.shape[1])  # np.nonzero takes far longer
        rows, columns = rows + start, columns + first
        kept = rows != columns if apart is None else apart[rows] != apart[columns]
        starts.append(rows[kept])
        ends.append(columns[kept])
    return np.concatenate(starts), np.concatenate(ends)


def _correlations(one: np.ndarray, starts: np.ndarray, other: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(K,) `one[starts] @ other[ends]` pair by pair, in blocks: the pictures of millions of pairs would fill the memory."""
    found = np.empty(len(starts), np.float32)
    for part in range(0, len(starts), 32 * _BLOCK):
        rows = slice(part, part + 32 * _BLOCK)
        found[rows] = np.einsum("ij,ij->i", one[starts[rows]], other[ends[rows]])
    return found


def _disc(size: int) -> np.ndarray:
    """(size * size,) bool: the pixels that stay in the picture when it is rotated."""
    down, across = np.mgrid[:size, :size] - (size - 1) / 2
    return np.asarray(down**2 + across**2 < (size / 2 - 0.5) ** 2).ravel()


def _moved(
    picture: np.ndarray, angle_deg: float, scale: float, shift_px: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """A square picture rotated counter-clockwise about its middle, scaled and shifted (down, across): (S, S) uint8 -> the same."""
    middle = (len(picture) - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), angle_deg, scale)
    matrix[:, 2] += np.array([shift_px[1], shift_px[0]])
    return cv2.warpAffine(picture, matrix, picture.shape, flags=cv2.INTER_LINEAR)
