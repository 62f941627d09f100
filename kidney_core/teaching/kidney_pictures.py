"""Simulated kidneys, each cut out as a square: what a small network learns from in seconds."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from kidney_core.common.labels import LABELS
from kidney_core.imaging.framing import EACH_KIDNEY, View
from kidney_core.kidneys.found import FoundKidneys
from kidney_core.simulation import phantom
from kidney_core.simulation.phantom import PhantomSlice

VIEW = View(64, EACH_KIDNEY)
N_SCANS, N_SLICES = 12, 3  # simulated, for each label
FIRST_SEED = 6_500_000  # far from the seeds of other simulated slices
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Pictures:
    """Simulated kidneys: a table with the columns `label` and `series`, and (N, S, S) uint8 squares."""

    table: pd.DataFrame = field(repr=False)
    squares: np.ndarray = field(repr=False)


def draw_pictures(*, n_scans: int = N_SCANS, n_slices: int = N_SLICES, progress: Progress | None = None) -> Pictures:
    """Simulated kidneys, the same each time: the one with the lesion, and of Normal one side in turn."""
    rows: list[tuple[str, int]] = []
    squares = []
    for label in LABELS:
        for number in range(n_scans):
            for drawn in phantom.draw_series(label, FIRST_SEED + number, n_slices=n_slices):
                rows.append((label, len(rows) // n_slices))
                squares.append(_square_of(drawn, turn=number % 2))
            if progress:
                progress(len(rows), len(LABELS) * n_scans * n_slices)
    return Pictures(pd.DataFrame(rows, columns=["label", "series"]), np.stack(squares))


def _square_of(drawn: PhantomSlice, *, turn: int) -> np.ndarray:
    """One kidney of a phantom, (S, S) uint8; `turn` is its place where there is no lesion."""
    grey = drawn.as_slice("simulated").network_grey8()
    is_right_of_picture = (drawn.left & drawn.lesion).sum() > (drawn.right & drawn.lesion).sum()
    place = int(is_right_of_picture) if drawn.lesion.any() else turn
    frames = VIEW.frames(grey, FoundKidneys(drawn.right, drawn.left).boxes(grey))
    return next((each.square for each in frames if each.place == place), frames[0].square)
