"""Kidneys that a finder outlines itself on slices of a dataset, for a second training: more scanners, planes and diseases.

Only what is plain is taken: slices whose neighbour in the scan agrees, and pixels of which the finder is sure, also of the
mirrored slice. Source: Lee 2013, "Pseudo-Label: the simple and efficient semi-supervised learning method".
"""

from collections.abc import Callable

import numpy as np

from kidney_core.data import annotated_volumes
from kidney_core.data.annotated_volumes import PLANES, PSEUDO_LABELLED, UNSURE, AnnotatedSlices, fit, is_kidney
from kidney_core.data.dataset import Dataset
from kidney_core.data.image_batches import for_each_batch
from kidney_core.data.series import scan_table
from kidney_core.imaging.framing import View
from kidney_core.imaging.planes import AXIAL
from kidney_core.imaging.slices import Slice
from kidney_core.kidneys import found
from kidney_core.kidneys.finder import KidneyFinder
from kidney_core.kidneys.found import KidneyMap

_KIDNEY_ABOVE, _NONE_BELOW = 0.8, 0.2  # probabilities in between are unsure
_MAX_UNSURE = 0.4  # of the pixels of the kidneys
_MIN_AGREEMENT = 0.6  # Dice with a neighbour of the same scan


def pseudo_label(
    dataset: Dataset,
    finder: KidneyFinder,
    view: View,
    *,
    every: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> AnnotatedSlices:
    """The slices of a dataset on which the finder plainly sees kidneys, as a network with this view sees them.

    Args:
        every: one of so many neighbouring slices is taken, since neighbours are alike.
        progress: called with (slices done, slices in total).

    Raises: as `image_batches.for_each_batch`.
    """
    outlined: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def outline(start: int, images: list[Slice]) -> None:
        greys = [image.network_grey8() for image in images]
        mirrored = finder.find([np.ascontiguousarray(grey[:, ::-1]) for grey in greys])
        for position, (grey, here, there) in enumerate(zip(greys, finder.find(greys), mirrored, strict=True), start):
            outlined[position] = fit(grey, _sure_codes(here, there), view)

    for_each_batch(dataset, outline, progress=progress)
    table = scan_table(dataset)
    planes = [plane if plane in PLANES else AXIAL for plane in table["plane"]]
    series = table["series"].to_numpy()
    kept = [
        position
        for position in range(len(dataset))
        if _is_plain(outlined[position][1])
        and any(
            0 <= other < len(dataset) and series[other] == series[position] and _agree(outlined, position, other)
            for other in (position - 1, position + 1)
        )
    ]
    rows = [(*outlined[position], planes[position]) for position in kept[::every]]
    return annotated_volumes.gather(rows, PSEUDO_LABELLED)


def _sure_codes(here: KidneyMap, mirrored: KidneyMap) -> np.ndarray:
    """(H, W) uint8 codes, UNSURE where the probability, averaged with that of the mirrored slice, is neither high nor low."""
    kidney = (here.framed.to_image(here.kidney) + mirrored.framed.to_image(mirrored.kidney)[:, ::-1]) / 2
    left = (here.framed.to_image(here.picture_left) + 1 - mirrored.framed.to_image(mirrored.picture_left)[:, ::-1]) / 2
    codes = found.codes_of(kidney, left, min_area_px=found.min_area_px(here.framed))
    unsure = (kidney > _NONE_BELOW) & ((kidney < _KIDNEY_ABOVE) | (codes == found.NONE))
    return np.where(unsure, UNSURE, codes).astype(np.uint8)


def _is_plain(codes: np.ndarray) -> bool:
    """Whether a slice shows a kidney, and most of what may be kidney is sure."""
    n_kidney = int(is_kidney(codes).sum())
    return n_kidney > 0 and int((codes == UNSURE).sum()) <= _MAX_UNSURE * n_kidney


def _agree(outlined: dict[int, tuple[np.ndarray, np.ndarray]], one: int, other: int) -> bool:
    here, there = outlined[one][1], outlined[other][1]
    both = is_kidney(here) & (here == there)
    total = is_kidney(here).sum() + is_kidney(there).sum()
    return bool(2 * both.sum() >= _MIN_AGREEMENT * total) and total > 0
