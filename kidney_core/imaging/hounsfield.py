"""Hounsfield units that a file does not declare, recognised by their values: air, fat and soft tissue lie where CT has them.

Exports for research often lose the tags and keep the numbers: signed CT without rescale, TIFF of floats, 16-bit PNG with a number added.
Shown over their whole range, kidneys would have a few greys.
"""

import numpy as np

# Added by exports that cannot hold negative numbers: 1024; 2048 and 32768 make signed numbers of 12 and 16 bits unsigned, as in
# the public dataset DeepLesion (Yan et al., J. Med. Imaging 2018).
OFFSETS = (1024, 2048, 32768)
_AIR_AT = -1024  # HU of the outermost air
_AIR, _LOWEST, _HIGHEST = -850, -3100, 20_000  # HU: the upper end of air; the lowest that is stored; metal
_TISSUE = (-150, 300)  # HU, fat to enhanced vessels
_LEAST_AIR, _LEAST_TISSUE = 0.02, 0.6  # of all pixels; of the pixels that are not air
_SAMPLED, _LEAST_SAMPLED = 200_000, 500  # pixels that are looked at; fewer tell nothing
NOTE = (
    "The file does not say what its numbers mean. They lie where Hounsfield units of CT do{offset}, and are read as such, through the "
    "soft-tissue window."
)
LOST_NOTE = (
    "The file says that its values are Hounsfield units, but they are the greys of an 8-bit picture that kept the tags of the original, "
    "or was given such tags. It is read as grey values."
)
SHIFTED_NOTE = (
    "The file says that its values are Hounsfield units, but soft tissue would be bone: they are {offset} too high, which was "
    "subtracted."
)
INVERTED_NOTE = (
    "The file asks for dense tissue to be shown dark (MONOCHROME1). Its values are Hounsfield units, and are shown as CT is: dense "
    "tissue bright."
)
RECOGNISED_NOTES = (NOTE[:40], SHIFTED_NOTE[:60], INVERTED_NOTE)  # how the notes begin of what the user may overrule


def recognise(values: np.ndarray) -> float | None:
    """What must be added to values to make them Hounsfield units: 0, or one of -`OFFSETS`; None where they look like none.

    Args:
        values: of any shape, as stored, with more than 8 bits; what is not finite does not count.
    """
    sampled = _sampled(values)
    return next((-float(offset) for offset in (0, *OFFSETS) if _are_hounsfield(sampled - offset)), None)


def recognise_inverted(values: np.ndarray) -> float | None:
    """The number from which values must be subtracted to make them Hounsfield units, where air is highest; None where they look like none."""
    sampled = _sampled(values)
    if not len(sampled):
        return None
    from_air = float(sampled.max()) + _AIR_AT
    return from_air if _are_hounsfield(from_air - sampled) else None


def _sampled(values: np.ndarray) -> np.ndarray:
    """(K,) float32, some of the values that are finite."""
    sampled = values.reshape(-1)[:: max(1, values.size // _SAMPLED)].astype(np.float32)
    return sampled[np.isfinite(sampled)]


def _are_hounsfield(hu: np.ndarray) -> bool:
    if len(hu) and hu.min() < _LOWEST:
        hu = hu[hu > hu.min()]  # one value that fills what is outside of a round image
    if len(hu) < _LEAST_SAMPLED or hu.min() < _LOWEST or hu.max() > _HIGHEST:
        return False
    inside = hu[hu > _AIR]
    if not len(inside) or (hu <= _AIR).mean() < _LEAST_AIR or hu.min() > -950:
        return False
    return bool(((inside > _TISSUE[0]) & (inside < _TISSUE[1])).mean() >= _LEAST_TISSUE)


def are_lost(hu: np.ndarray) -> bool:
    """Whether declared Hounsfield units are those of an 8-bit picture: 0 to 255, or nothing but air where an intercept was kept."""
    low, high = float(hu.min()), float(hu.max())
    return high - low > 1 and (high <= _AIR_AT + 255 or (low >= 0 and high <= 255))
