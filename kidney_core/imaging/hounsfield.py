"""Hounsfield units that a file does not declare, recognised by their values: air, fat and soft tissue lie where CT has them.

Exports for research often lose the tags and keep the numbers: signed CT without rescale, TIFF of floats, 16-bit PNG with 1024 added.
Shown over their whole range, kidneys would have a few greys.
"""

import numpy as np

OFFSET = 1024  # added by exports that cannot hold negative numbers
_AIR, _LOWEST, _HIGHEST = -850, -3100, 20_000  # HU: the upper end of air; padding of round images; metal
_TISSUE = (-150, 300)  # HU, fat to enhanced vessels
_LEAST_AIR, _LEAST_TISSUE = 0.02, 0.6  # of all pixels; of the pixels that are not air
_SAMPLED = 200_000  # pixels that are looked at
NOTE = (
    "The file does not say what its numbers mean. They lie where Hounsfield units of CT do{offset}, and are read as such, through the "
    "soft-tissue window."
)
LOST_NOTE = (
    "The file says that its values are Hounsfield units, but all of them would be air: it is an 8-bit picture that kept the tags of the "
    "original. It is read as grey values."
)


def recognise(values: np.ndarray) -> float | None:
    """What must be added to values to make them Hounsfield units: 0 or -1024; None where they look like none.

    Args:
        values: (H, W) as stored, with more than 8 bits.
    """
    sampled = values.reshape(-1)[:: max(1, values.size // _SAMPLED)].astype(np.float32)
    return next((offset for offset in (0.0, -float(OFFSET)) if _are_hounsfield(sampled + offset)), None)


def _are_hounsfield(hu: np.ndarray) -> bool:
    if hu.min() < _LOWEST or hu.max() > _HIGHEST:
        return False
    inside = hu[hu > _AIR]
    if not len(inside) or (hu <= _AIR).mean() < _LEAST_AIR or hu.min() > -950:
        return False
    return bool(((inside > _TISSUE[0]) & (inside < _TISSUE[1])).mean() >= _LEAST_TISSUE)


def are_lost(hu: np.ndarray) -> bool:
    """Whether declared Hounsfield units are those of an 8-bit picture that kept an intercept of -1024: nothing but air."""
    return bool(hu.max() <= -OFFSET + 255 and np.ptp(hu) > 1)
