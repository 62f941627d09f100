"""The contrast of two colours. Source: WCAG 2.2, definitions of contrast ratio and relative luminance."""

import re

import numpy as np


def contrast(one: str, other: str) -> float:
    """The ratio of two colours of CSS, each as #rrggbb or rgb(...): 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    if color.startswith("#"):
        found = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
    else:
        found = [float(each) for each in re.findall(r"[\d.]+", color)[:3]]
    channels = np.array(found) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
