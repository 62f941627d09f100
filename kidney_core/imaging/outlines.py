"""SVG paths in the pixel coordinates of a slice: outlines of masks and marks of points, sharp at any zoom."""

import numpy as np


def outline(mask: np.ndarray) -> str:
    """The border of a mask along the edges of its pixels: (H, W) bool -> an SVG path, "" for an empty mask."""
    padded = np.pad(mask, 1).astype(np.int8)
    across = np.abs(np.diff(padded[:, 1:-1], axis=0))  # (H + 1, W): edge above row y
    down = np.abs(np.diff(padded[1:-1], axis=1))  # (H, W + 1): edge left of column x
    lines = [f"M{start} {y}h{length}" for y, start, length in _runs(across)]
    lines += [f"M{x} {start}v{length}" for x, start, length in _runs(down.T)]
    return "".join(lines)


def diamond(x: float, y: float, radius: float) -> str:
    """An SVG path of a square that stands on its corner, around the centre of the pixel (x, y)."""
    return f"M{x + 0.5 - radius:g} {y + 0.5:g}l{radius:g} {-radius:g}l{radius:g} {radius:g}l{-radius:g} {radius:g}Z"


def cross(x: float, y: float, radius: float) -> str:
    """An SVG path of an upright cross around the centre of the pixel (x, y), open in the middle so as not to cover it."""
    x, y, gap = x + 0.5, y + 0.5, radius / 3
    arms = ((x - radius, y, "h"), (x + gap, y, "h"), (x, y - radius, "v"), (x, y + gap, "v"))
    return "".join(f"M{left:g} {top:g}{command}{radius - gap:g}" for left, top, command in arms)


def _runs(edges: np.ndarray) -> list[tuple[int, int, int]]:
    """(row, start, length) of each run of ones."""
    runs = []
    for row in np.flatnonzero(edges.any(axis=1)):
        steps = np.diff(np.pad(edges[row], 1))
        starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
        runs += [(int(row), int(start), int(end - start)) for start, end in zip(starts, ends, strict=True)]
    return runs
