"""Pairs of pictures that lie on each other and are of one scan: neighbours, contrast-equalised copies, and renamed ones.

Augmented exports and re-saved datasets hold copies; on both sides of a split they are leakage. Those that were moved are found by
`registration`. Thresholds were measured on 6,931 slices of the public dataset and their equalised copies: none of the links
below joins scans that the likeness of neighbours does not join.
"""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

LINKED = 0.95  # correlation of thumbnails from which two pictures are of one scan; see `series`
_ALIKE, _EQUALLY_RANKED = 0.88, 0.985  # correlations of grey values, and of their ranks, of an equalised copy
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
    return _pairs(unit, LINKED)


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


def by_equalising(thumbnails: np.ndarray) -> Links:
    """Pairs that are alike and nearly equal when only the order of their grey values counts, whatever was done to the contrast."""
    flat = thumbnails.reshape(len(thumbnails), -1)
    ranks = np.empty(flat.shape, np.float32)
    for start in range(0, len(flat), _BLOCK):
        ranks[start : start + _BLOCK] = flat[start : start + _BLOCK].argsort(axis=1, kind="stable").argsort(axis=1)
    unit, ranked = unit_vectors(thumbnails), unit_vectors(ranks)
    starts, ends = _pairs(ranked, _EQUALLY_RANKED)
    alike = _correlations(unit, starts, ends) > _ALIKE
    return starts[alike], ends[alike]


def unit_vectors(thumbnails: np.ndarray) -> np.ndarray:
    """(N, ...) -> (N, D) float32 with zero mean and unit norm, so that a dot product is a correlation."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.maximum(norm, np.float32(1e-6))  # a constant image correlates with nothing


def _pairs(unit: np.ndarray, above: float) -> Links:
    """Positions i and j, each pair once or twice, with `unit[i] @ unit[j]` above a correlation."""
    starts, ends = [], []
    for start in range(0, len(unit), _BLOCK):
        is_above = unit[start : start + _BLOCK] @ unit[start:].T > above
        rows, columns = np.divmod(np.flatnonzero(is_above), is_above.shape[1])  # np.nonzero takes far longer
        kept = rows != columns
        starts.append(rows[kept] + start)
        ends.append(columns[kept] + start)
    return np.concatenate(starts), np.concatenate(ends)


def _correlations(unit: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(K,) `unit[starts] @ unit[ends]` pair by pair, in blocks: the pictures of millions of pairs would fill the memory."""
    found = np.empty(len(starts), np.float32)
    for part in range(0, len(starts), 32 * _BLOCK):
        rows = slice(part, part + 32 * _BLOCK)
        found[rows] = np.einsum("ij,ij->i", unit[starts[rows]], unit[ends[rows]])
    return found
