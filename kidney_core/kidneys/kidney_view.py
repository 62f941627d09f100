"""Slices as a network sees them, whose view may need to know where the kidneys are."""

from collections.abc import Sequence

import numpy as np

from kidney_core.common.errors import CheckpointError
from kidney_core.imaging.framing import FramedImage, View
from kidney_core.kidneys.finder import KidneyFinder
from kidney_core.kidneys.found import FoundKidneys


def frame_slices(
    view: View,
    greys: Sequence[np.ndarray],
    finder: KidneyFinder | None,
    *,
    found: Sequence[FoundKidneys] | None = None,
) -> list[tuple[FramedImage, ...]]:
    """Grey slices, (H, W) uint8 each, as a network with this view sees them; see `View.frames`.

    Args:
        finder: asked where the view needs kidneys and they are not known.
        found: the kidneys of the slices, where they are known already.

    Raises: CheckpointError where the view needs kidneys and nobody can find them.
    """
    if not view.needs_kidneys:
        return [view.frames(grey) for grey in greys]
    if found is None:
        if finder is None:
            raise CheckpointError("This network looks at kidneys alone, and no kidney finder is installed.")
        found = [each.find() for each in finder.find(greys)]
    return [view.frames(grey, kidneys.boxes(grey)) for grey, kidneys in zip(greys, found, strict=True)]
