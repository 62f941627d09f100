"""The plane of a slice: from the file's tags, or guessed from the outline of the body, since published images have no tags.

An axial slice shows the body as an ellipse wider than high, with air above it; a coronal one shows it from neck or chest
to hips, higher than wide. Measured: the ratio of spreads below separates both copies of the public dataset into two
clusters with an empty gap (0.80 to 0.90), none of the 161 series of ct-kidney-clahe has slices on both sides of it, and
a look at one slice of each series found no error.
"""

import numpy as np

from kidney_core.imaging.slices import Slice

AXIAL, CORONAL, UNKNOWN = "axial", "coronal", "unknown"
_BODY_THRESHOLD = 0.1  # of the range from the darkest to the brightest grey
_MAX_CORONAL_RATIO = 0.85  # of the width of the body over its height, both as standard deviations
_MAX_TOP_FRACTION = 0.05  # of the uppermost rows that the body of an uncropped slice may cover


def plane_of(image: Slice, thumbnail: np.ndarray) -> str:
    """The plane of a slice: from its tags, else guessed from its thumbnail, (h, w) uint8."""
    return normalize_plane(image.facts.get("Plane", "")) or guess_plane(
        thumbnail, aspect=image.width_px / image.height_px
    )


def normalize_plane(text: str) -> str:
    """The name of a plane in one spelling: "Axial " -> "axial"."""
    return text.strip().lower()


def guess_plane(thumbnail: np.ndarray, *, aspect: float = 1.0) -> str:
    """Guess the plane of a CT slice that shows the whole width of the body.

    Args:
        thumbnail: (h, w) uint8 of any shape, stretched or not.
        aspect: width over height of the original image.

    Returns:
        "axial", "coronal", or "unknown" where the image is empty, or cropped to the body so that its outline says
        nothing.
    """
    grey = thumbnail.astype(np.float32)
    body = grey > grey.min() + _BODY_THRESHOLD * (np.percentile(grey, 99) - grey.min())
    height = _spread(body.sum(axis=1)) / body.shape[0]
    if not height:
        return UNKNOWN
    if _spread(body.sum(axis=0)) / body.shape[1] * aspect / height <= _MAX_CORONAL_RATIO:
        return CORONAL
    touches_top = body[: max(1, len(body) // 16)].mean() > _MAX_TOP_FRACTION
    return UNKNOWN if touches_top else AXIAL


def _spread(counts: np.ndarray) -> float:
    """The standard deviation of positions 0, 1, … weighted by `counts`; 0 where all counts are 0."""
    if not counts.sum():
        return 0.0
    position = np.arange(len(counts))
    mean = np.average(position, weights=counts)
    return float(np.sqrt(np.average((position - mean) ** 2, weights=counts)))
