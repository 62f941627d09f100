"""Pairs of pictures that show one slice, found by image registration: shifted, cropped, padded, rotated, scaled or turned copies.

Thumbnails are compared by their local contrast, as whole pictures and cut to the body, rotated, mirrored and turned. The best
matches are registered by an affine transform, and are copies where their local contrast correlates above 0.95. Measured on 6,931
slices of 127 scans of the public dataset: other patients reach 0.90, another scan of the same patient 0.94, and moved copies 0.96
to 0.99. `python -m benchmarks.copies` measures how many are found.

Source: Evangelidis and Psarakis, Parametric image alignment using enhanced correlation coefficient maximization, IEEE TPAMI 30
(2008) 1858-1865; cv2.findTransformECC.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
import pandas as pd
from scipy import linalg

from kidney_core.common.threads import thread_pool
from kidney_core.data.copies import Links, unit_vectors

_COPY, _INSIDE = 0.95, 0.91  # correlation of local contrast from which two registered pictures are one slice: as a
# whole, and of what is not air, since outlines are much alike
_NEARLY = 0.8  # from which another slice of the same scan may be the one
_LEAST_ALIKE = 0.4  # of two pictures before they are registered
_ANGLES_DEG, _ZOOM = (-10, 0, 10), 0.9
_ORIENTATIONS = tuple(product(range(4), (False, True)))  # quarter turns, mirrored before them
_N_KEPT, _MOST_TRIED = 3, 8  # matches of a picture, as a whole and cut to its body; pairs of two groups
_MOST_REGISTERED = 30_000  # pairs, which takes about 20 seconds on two cores; few datasets have as many
_N_COMPONENTS, _LEAST_COMPRESSED = 64, 3_000  # numbers that a thumbnail is compressed to, of so many thumbnails
_BLUR_PX, _NOISE = 3.0, 10.0  # of local contrast: what is around a pixel, and grey levels that are no contrast
_AIR, _LEAST_BODY, _LEAST_BODY_PX = 24, 0.06, 8  # grey value; share of a line, and lines, that a body has at least
_LEAST_OVERLAP, _LARGEST_AREA = 0.3, 3.3  # share of a picture that the other covers; how much larger it may be drawn
_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
_BLOCK = 256
N_STEPS = 3 * len(_ANGLES_DEG) * len(_ORIENTATIONS)  # of `by_registering`


@dataclass(frozen=True)
class _View:
    """All pictures seen in one way: (N, S, S) uint8, and (N, 3, 3) maps of its pixels (x, y, 1) to those of the picture."""

    seen: np.ndarray
    maps: np.ndarray


@dataclass(frozen=True)
class _Match:
    """Picture `start`, seen in a view and an orientation, resembles picture `end`; `transform` maps pixels of `end` to `start`."""

    start: int
    end: int
    transform: np.ndarray


@dataclass(frozen=True)
class _Registered:
    """How similar two registered pictures are, whether they are one slice, and the (2, 3) map from the first to the second."""

    similarity: float
    is_copy: bool
    transform: np.ndarray


def by_registering(
    thumbnails: np.ndarray, groups: np.ndarray, *, progress: Callable[[int], None] = lambda done: None
) -> Links:
    """Pairs of different groups of which one is a copy of the other.

    Args:
        thumbnails: (N, S, S) uint8.
        groups: (N,) numbers; pairs within a group are linked already.
        progress: called with the steps that are done, of `N_STEPS`.
    """
    order = np.argsort(groups, kind="stable")
    spans = _spans(groups, groups[order])
    matches = _matches(thumbnails, groups, order, spans, progress) if len(np.unique(groups)) > 1 else []
    contrasts = unit_vectors(_local_contrasts(thumbnails))

    def checked(match: _Match) -> tuple[int, int] | None:
        group = order[slice(*spans[match.end])]
        end = _copy_in_group(thumbnails, contrasts, group, match)
        return None if end is None else (match.start, end)

    with thread_pool() as pool:
        found = [pair for pair in pool.map(checked, matches) if pair]
    starts, ends = np.array(found, np.int64).reshape(-1, 2).T
    return starts, ends


def _copy_in_group(thumbnails: np.ndarray, contrasts: np.ndarray, group: np.ndarray, match: _Match) -> int | None:
    """Which slice the matched picture is a copy of: the one it was matched with, or else the most similar of its group."""
    picture = thumbnails[match.start]
    first = _register(thumbnails[match.end], picture, match.transform)
    if first.is_copy or first.similarity < _NEARLY:
        return match.end if first.is_copy else None
    moved, is_covered = _moved(picture.astype(np.float32), first.transform)
    wanted, offered = _local_contrast(moved)[is_covered], contrasts[group][:, is_covered.ravel()]
    other = int(group[int((unit_vectors(offered) @ unit_vectors(wanted[None])[0]).argmax())])
    if other == match.end or not _register(thumbnails[other], picture, first.transform).is_copy:
        return None
    return other


def _register(template: np.ndarray, picture: np.ndarray, transform: np.ndarray) -> _Registered:
    """Lay a picture on another one, and compare them.

    Args:
        template, picture: (S, S) uint8.
        transform: (2, 3) of pixels (x, y, 1) of the template to those of the picture, roughly.
    """
    template, picture = template.astype(np.float32), picture.astype(np.float32)
    failed = _Registered(-1.0, is_copy=False, transform=transform)
    try:
        _, found = cv2.findTransformECC(
            template, picture, transform.astype(np.float32), cv2.MOTION_AFFINE, _STOP, _everywhere(template), 3
        )
    except cv2.error:  # it does not converge
        return failed
    area = abs(float(linalg.det(found[:, :2])))
    if not 1 / _LARGEST_AREA < area < _LARGEST_AREA:
        return failed
    fine, coarse, onto = template, picture, cv2.invertAffineTransform(found)  # where the template has the finer pixels
    if area >= 1:
        fine, coarse, onto = picture, template, found
    moved, is_covered = _moved(fine, onto)
    if is_covered.mean() < _LEAST_OVERLAP:
        return failed
    similarity = _similarity(coarse, moved, is_covered)
    is_copy = (
        similarity > _COPY and _similarity(coarse, moved, is_covered & (np.maximum(coarse, moved) > _AIR)) > _INSIDE
    )
    return _Registered(similarity, is_copy, found)


def _similarity(one: np.ndarray, other: np.ndarray, is_compared: np.ndarray) -> float:
    """Correlation of the local contrast of two pictures in some pixels."""
    unit = unit_vectors(np.stack([_local_contrast(each)[is_compared] for each in (one, other)]))
    return float(unit[0] @ unit[1])


def _moved(picture: np.ndarray, transform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A picture drawn on the pixels of a template, and (S, S) bool, where it covers them and its edge is not near."""
    size = picture.shape
    moved = cv2.warpAffine(
        picture, transform, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    covered = cv2.warpAffine(_everywhere(picture), transform, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    return moved, cv2.erode(covered, np.ones((3, 3), np.uint8), borderValue=255) > 0


def _everywhere(picture: np.ndarray) -> np.ndarray:
    return np.full(picture.shape, 255, np.uint8)


def _matches(
    thumbnails: np.ndarray, groups: np.ndarray, order: np.ndarray, spans: np.ndarray, progress: Callable[[int], None]
) -> list[_Match]:
    """The pairs of different groups that are worth a registration, the most alike first.

    Args:
        order, spans: (N,) the pictures group by group, and (N, 2) where the group of each begins and ends there.
    """
    found: list[
        tuple[np.ndarray, np.ndarray]
    ] = []  # the best match of each picture in each way, and how alike they are
    maps: list[np.ndarray] = []
    is_cut: list[bool] = []
    bases = {cut: _view(thumbnails, 0, 1.0, is_cut=cut) for cut in (False, True)}
    for cut, base in bases.items():
        described = unit_vectors(_local_contrasts(base.seen))
        axes = _main_axes(described) if len(described) > _LEAST_COMPRESSED else None
        described = _compressed(described, axes)[order]
        for angle, zoom in product(_ANGLES_DEG, (1.0,) if cut else (1.0, _ZOOM)):
            view = _view(thumbnails, angle, zoom, is_cut=cut)
            contrasts = unit_vectors(_local_contrasts(view.seen)).reshape(view.seen.shape)
            for turns, mirrored in _ORIENTATIONS:
                seen = _oriented(contrasts, turns, mirrored).reshape(len(contrasts), -1)
                best, likeness = _best(_compressed(seen, axes), described, spans)
                found.append((order[best], likeness))
                maps.append(view.maps @ _orientation(turns, mirrored, len(thumbnails[0])))
                is_cut.append(cut)
                progress(len(found))
    ends, alike = (np.stack(each, axis=1) for each in zip(*found, strict=True))
    orientations = np.arange(len(found)) % len(_ORIENTATIONS)
    chosen = pd.concat(
        [_chosen(ends, np.where(np.array(is_cut) == cut, alike, -1), orientations) for cut in bases], ignore_index=True
    )
    chosen = chosen[chosen["likeness"] > _LEAST_ALIKE].sort_values("likeness", ascending=False, kind="stable")
    pair = np.sort(np.stack([groups[chosen["start"]], groups[chosen["end"]]]), axis=0)
    chosen = chosen[chosen.groupby([*pair]).cumcount() < _MOST_TRIED].head(_MOST_REGISTERED)
    return [
        _Match(start, end, (maps[way][start] @ linalg.inv(bases[is_cut[way]].maps[end]))[:2])
        for start, end, way in chosen[["start", "end", "way"]].to_numpy().tolist()
    ]


def _chosen(ends: np.ndarray, likeness: np.ndarray, orientations: np.ndarray) -> pd.DataFrame:
    """Rows `start`, `end`, `way` and `likeness` of the best matches of each picture: other pictures, or other orientations.

    Args:
        ends, likeness: (N, W) the best match of each picture in each way, and how alike they are.
        orientations: (W,) their numbers; abdomens look much like their mirror image, so that the best is not always right.
    """
    left, starts, rows = likeness, np.arange(len(likeness)), []
    for _ in range(_N_KEPT):
        way = left.argmax(axis=1)
        end = ends[starts, way]
        rows.append(pd.DataFrame({"start": starts, "end": end, "way": way, "likeness": left[starts, way]}))
        is_taken = (ends == end[:, None]) & (orientations == orientations[way][:, None])
        left = np.where(is_taken, -1, left)
    return pd.concat(rows)


def _spans(groups: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """(N, 2) where the group of each picture begins and ends in the ordered numbers."""
    return np.column_stack([np.searchsorted(ordered, groups, side) for side in ("left", "right")])


def _best(seen: np.ndarray, described: np.ndarray, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best match of each picture outside its own span of positions, and how alike they are."""
    best, likeness = np.empty(len(seen), np.int64), np.empty(len(seen), np.float32)
    for start in range(0, len(seen), _BLOCK):
        rows = slice(start, start + _BLOCK)
        block = seen[rows] @ described.T
        for row, (first, end) in zip(block, spans[rows].tolist(), strict=True):
            row[first:end] = -1
        best[rows] = block.argmax(axis=1)
        likeness[rows] = np.take_along_axis(block, best[rows, None], axis=1)[:, 0]
    return best, likeness


def _main_axes(described: np.ndarray) -> np.ndarray:
    """(D, 64) the directions that most of a dataset's thumbnails lie in."""
    n = described.shape[1]
    return linalg.eigh(described.T @ described, subset_by_index=(n - _N_COMPONENTS, n - 1))[1]


def _compressed(described: np.ndarray, axes: np.ndarray | None) -> np.ndarray:
    return described if axes is None else described @ axes


def _view(thumbnails: np.ndarray, angle_deg: float, zoom: float, *, is_cut: bool) -> _View:
    """Pictures rotated counter-clockwise about their middle, zoomed, and then cut to their body."""
    n, size = thumbnails.shape[:2]
    middle = (size - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), angle_deg, zoom)
    seen, maps = thumbnails, np.tile(_homogeneous(cv2.invertAffineTransform(matrix)), (n, 1, 1))
    if angle_deg or zoom != 1:
        seen = np.stack([cv2.warpAffine(each, matrix, (size, size)) for each in thumbnails])
    if not is_cut:
        return _View(seen, maps)
    boxes = _body_boxes(seen)
    cut = [
        cv2.resize(each[top:bottom, left:right], (size, size))
        for each, (top, bottom, left, right) in zip(seen, boxes, strict=True)
    ]
    return _View(np.stack(cut), maps @ np.stack([_box_map(box, size) for box in boxes]))


def _body_boxes(pictures: np.ndarray) -> np.ndarray:
    """(N, 4) top, bottom, left and right of what is not air; the whole picture where that is too small."""
    is_body, found = pictures > _AIR, []
    for axis in (2, 1):
        is_line = is_body.mean(axis=axis) > _LEAST_BODY
        first, end = is_line.argmax(axis=1), pictures.shape[1] - is_line[:, ::-1].argmax(axis=1)
        is_small = end - first < _LEAST_BODY_PX
        found += [np.where(is_small, 0, first), np.where(is_small, pictures.shape[1], end)]
    return np.column_stack(found)


def _box_map(box: np.ndarray, size: int) -> np.ndarray:
    """(3, 3) from pixels of a box that was drawn in this size to those of its picture."""
    top, bottom, left, right = box
    across, down = (right - left) / size, (bottom - top) / size
    return np.array([[across, 0, left + across / 2 - 0.5], [0, down, top + down / 2 - 0.5], [0, 0, 1]])


def _oriented(pictures: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """(N, S, S) mirrored left to right, and then turned counter-clockwise by quarters."""
    return np.rot90(pictures[:, :, ::-1] if mirrored else pictures, turns, axes=(1, 2))


def _orientation(turns: int, mirrored: bool, size: int) -> np.ndarray:
    """(3, 3) from pixels of an oriented picture to those of the picture."""
    turn = np.array([[0.0, -1, size - 1], [1, 0, 0], [0, 0, 1]])
    mirror = np.array([[-1.0, 0, size - 1], [0, 1, 0], [0, 0, 1]]) if mirrored else np.eye(3)
    return mirror @ np.linalg.matrix_power(turn, turns)


def _homogeneous(transform: np.ndarray) -> np.ndarray:
    return np.vstack([transform, [0, 0, 1]])


def _local_contrasts(pictures: np.ndarray) -> np.ndarray:
    return np.stack([_local_contrast(each) for each in pictures])


def _local_contrast(picture: np.ndarray) -> np.ndarray:
    """(S, S) float32: what stands out from its surroundings, in parts of what usually does there."""
    picture = picture.astype(np.float32)
    detail = picture - cv2.GaussianBlur(picture, (0, 0), _BLUR_PX)
    return detail / np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), _BLUR_PX) + _NOISE**2)
