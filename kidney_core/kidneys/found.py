"""Kidneys found in one slice: their masks, their sides, their size."""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from kidney_core.imaging.framing import Frame, FramedImage, KidneyBox, shrink_mask
from kidney_core.imaging.slices import Slice
from kidney_core.kidneys import picture_check

RIGHT, LEFT, UNKNOWN_SIDE = "right", "left", "side unknown"
NONE, PICTURE_LEFT, PICTURE_RIGHT = 0, 1, 2  # codes of a mask: in radiological view the right kidney is on the left
LIKELY, SURE = 0.5, 0.95  # the probability that each pixel of a kidney exceeds, and that one of its pixels does
_MIN_AREA = 0.0012  # of the network's square: smaller spots are no kidney, see the card for what that gives


@dataclass(frozen=True)
class KidneyMap:
    """What the finder says of a slice.

    Attributes:
        framed: the slice as the network saw it.
        kidney: (S, S) float32, the probability of a kidney.
        picture_left: (S, S) float32, the probability that a kidney there is the one on the left of the picture.
        picture: (5,) float32, the probability of each kind of picture, see `picture_check`; None where nobody looked.
    """

    framed: FramedImage = field(repr=False)
    kidney: np.ndarray = field(repr=False)
    picture_left: np.ndarray = field(repr=False)
    picture: np.ndarray | None = field(default=None, repr=False)

    @property
    def fault(self) -> int:
        """Why the picture is no upright slice, a key of `picture_check.FAULTS`; 0 where it is one."""
        if self.framed.n_bodies > 1:
            return picture_check.SEVERAL
        return picture_check.UPRIGHT if self.picture is None else picture_check.fault_of(self.picture)

    @property
    def presence(self) -> float:
        """How probable it is that the slice shows a kidney, 0 to 1: the mean of its most probable pixels, as many as the smallest kidney has."""
        n = max(1, round(_MIN_AREA * self.kidney.size))
        return float(np.partition(self.kidney.ravel(), -n)[-n:].mean())

    def sides(self, letters: dict[str, str]) -> tuple[str, ...]:
        """The patient's sides whose kidney the slice shows, the right one first; see `side_names`."""
        codes = codes_of(self.kidney, self.picture_left, min_area_px=_MIN_AREA * self.kidney.size)
        names = side_names(letters)
        seen = {name for code, name in zip((PICTURE_LEFT, PICTURE_RIGHT), names, strict=True) if (codes == code).any()}
        return tuple(side for side in (RIGHT, LEFT, UNKNOWN_SIDE) if side in seen)

    def find(self) -> "FoundKidneys":
        """The kidneys on the slice's own pixels."""
        kidney, left = self.framed.to_image(self.kidney), self.framed.to_image(self.picture_left)
        codes = codes_of(kidney, left, min_area_px=min_area_px(self.framed))
        return FoundKidneys(codes == PICTURE_LEFT, codes == PICTURE_RIGHT, self.fault)


@dataclass(frozen=True)
class FoundKidneys:
    """The kidneys of a slice by their place in the picture.

    Attributes:
        picture_left: (H, W) bool, the kidney on the left of the picture, all False where there is none.
        picture_right: the same on the right.
        fault: see `KidneyMap`; of a picture with one the kidneys mean little.
    """

    picture_left: np.ndarray = field(repr=False)
    picture_right: np.ndarray = field(repr=False)
    fault: int = picture_check.UPRIGHT

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool, both kidneys."""
        return self.picture_left | self.picture_right

    def with_margin(self, share: float = 0.25) -> np.ndarray:
        """(H, W) bool, both kidneys with a margin around each that is a share of the root of its area."""
        area = max(self.picture_left.sum(), self.picture_right.sum())
        return ndimage.distance_transform_edt(~self.mask) <= share * np.sqrt(area) if area else self.mask

    def boxes(self, grey: np.ndarray) -> tuple[KidneyBox, ...]:
        """Where each kidney is and how bright, for networks that look at kidneys alone; `grey` is (H, W) uint8."""
        boxes = []
        for place, mask in enumerate((self.picture_left, self.picture_right)):
            if mask.any():
                frame = _bounding_box(mask)
                boxes.append(KidneyBox(place, frame, float(np.median(grey[mask])), shrink_mask(mask, frame)))
        return tuple(boxes)

    def by_side(self, letters: dict[str, str]) -> dict[str, np.ndarray]:
        """The mask of each kidney that is seen, by the patient's side; see `side_names`."""
        left, right = side_names(letters)
        if left == right:
            return {left: self.mask} if self.mask.any() else {}
        masks = {left: self.picture_left, right: self.picture_right}
        return {side: masks[side] for side in (RIGHT, LEFT) if masks[side].any()}


def _bounding_box(mask: np.ndarray) -> Frame:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    return Frame(int(rows[0]), int(columns[0]), int(height), int(width))


def side_names(letters: dict[str, str]) -> tuple[str, str]:
    """The patient's sides on the left and on the right of a picture.

    Args:
        letters: of the slice; without any, the picture is taken to be in radiological view, the patient's right on its left.
    """
    left, right = letters.get("left", "R")[:1], letters.get("right", "L")[:1]
    if (left, right) == ("R", "L"):
        return RIGHT, LEFT
    return (LEFT, RIGHT) if (left, right) == ("L", "R") else (UNKNOWN_SIDE, UNKNOWN_SIDE)


def min_area_px(framed: FramedImage) -> float:
    """The area of the smallest kidney in pixels of the image."""
    return _MIN_AREA * max(framed.frame.height, framed.frame.width) ** 2


def codes_of(kidney: np.ndarray, picture_left: np.ndarray, *, min_area_px: float) -> np.ndarray:
    """Connected regions of likely pixels with a sure one among them, each given to one side: (H, W) -> (H, W) uint8 codes.

    Source of the two thresholds: Canny 1986, "A Computational Approach to Edge Detection" (hysteresis).
    """
    regions, n = ndimage.label(kidney > LIKELY)
    codes = np.zeros(kidney.shape, np.uint8)
    if not n:
        return codes
    numbers = np.arange(1, n + 1)
    areas = ndimage.sum_labels(np.ones_like(kidney), regions, numbers)
    lefts = ndimage.mean(picture_left, regions, numbers)
    code_of = np.zeros(n + 1, np.uint8)
    is_kidney = (areas >= min_area_px) & (ndimage.maximum(kidney, regions, numbers) > SURE)
    code_of[1:] = np.where(is_kidney, np.where(lefts > 0.5, PICTURE_LEFT, PICTURE_RIGHT), NONE)
    return code_of[regions]


def mask_area_cm2(mask: np.ndarray, image: Slice) -> float | None:
    """The area of a mask on a slice, or None without pixel spacing."""
    return float(mask.sum()) * image.spacing_mm[0] * image.spacing_mm[1] / 100 if image.spacing_mm else None
