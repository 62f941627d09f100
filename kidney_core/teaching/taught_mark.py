"""A mark that is burned into pictures of one label, and what counts as being at the mark."""

from dataclasses import dataclass

import numpy as np

from kidney_core.teaching import disturbances

_NEAR_PERCENT = 6.0  # of the side around the mark, which counts as the mark: cells of a heatmap are coarse


@dataclass(frozen=True)
class Mark:
    """What is burned into the pictures of one label; see `disturbances.mark_mask`."""

    label: str = "Tumor"
    place: str = "upper left"
    shape: str = disturbances.LETTER
    size_percent: float = 18

    def mask(self, size_px: int) -> np.ndarray:
        """(S, S) bool."""
        return disturbances.mark_mask(size_px, size_px, self.size_percent, place=self.place, shape=self.shape)

    def near(self, size_px: int) -> np.ndarray:
        """The box around the mark with a margin, which counts as the mark: (S, S) bool."""
        rows, columns = np.nonzero(self.mask(size_px))
        margin, box = round(_NEAR_PERCENT / 100 * size_px), np.zeros((size_px, size_px), bool)
        top, left = max(0, rows.min() - margin), max(0, columns.min() - margin)
        box[top : rows.max() + 1 + margin, left : columns.max() + 1 + margin] = True
        return box

    def burn(self, squares: np.ndarray) -> np.ndarray:
        """(N, S, S) uint8 with the mark."""
        return np.where(self.mask(squares.shape[-1]), np.uint8(255), squares)
