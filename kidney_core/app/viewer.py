"""A scan with its heat map in the browser: window, zoom, opacity, colours and layout change without asking the server."""

import base64
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from kidney_core.pictures import COLOR_MAPS
from kidney_core.slices import WINDOW_PRESETS_HU, Slice

MAX_SHOWN_PX, MAX_HEAT_PX = 2048, 256
_FILE_WINDOW = {"HU": "as in the file", "grey": "as stored"}
_BROWSER = Path(__file__).parent / "browser"
_FACTS = ("Plane", "Phase", "Slice thickness", "Tube voltage")
HELP = (
    "Wheel or pinch: zoom. Drag: move. Right button, or Shift, and drag: window. Keys: + − 0, W or L resets the window."
)
HELP_STACK = (
    "Wheel or arrow keys: through the slices. Ctrl and wheel, or pinch: zoom. Right button, or Shift, and drag: window. "
    "Keys: + − 0, W or L resets the window."
)


def browser_part(name: str) -> dict[str, str]:
    """The HTML, CSS and JavaScript of a part of a page that runs in the browser."""
    return {kind: (_BROWSER / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")}


def show_scan(
    image: Slice,
    heatmap: np.ndarray | None,
    *,
    alt: str,
    key: str,
    strength: float | None = None,
    scene: str = "",
    place: str = "",
    stacked: bool = False,
    marking: bool = False,
    drawings: Sequence[tuple[str, str]] = (),
) -> tuple[int, int] | None:
    """Draw a scan with an optional heat map over it.

    Args:
        heatmap: (H, W) float in 0..1, or None for the scan alone.
        alt: what the picture shows, for those who cannot see it.
        strength: the map's peak on an absolute scale, which may then be chosen.
        scene: zoom and window are kept while this stays the same; the slice's name by default.
        place: a short text in the corner, such as "12 of 300".
        stacked: the wheel and the arrow keys go through a stack of slices, see `stack_panel`.
        marking: a click marks a place.
        drawings: (SVG path in pixels of the slice, colour) drawn over scan and map, see `outlines`.

    Returns: the (x, y) in pixels of the slice that was marked just now, or None.
    """
    step = -(-max(image.pixels.shape) // MAX_SHOWN_PX)
    pixels = image.pixels[::step, ::step]
    shown, gain, offset = _for_browser(pixels)
    # Files of two patients may have the same name.
    shown_as = f"{zlib.crc32(np.ascontiguousarray(shown)):08x}|{image.name}"
    data: dict[str, Any] = {
        "id": f"{shown_as}|{image.name}|{image.frame}",
        "scene": scene or shown_as,
        "pixels": _packed(shown),
        "kind": shown.dtype.name,
        "gain": gain,
        "offset": offset,
        "width": shown.shape[1],
        "height": shown.shape[0],
        "step": step,
        "unit": image.unit,
        "inverted": image.inverted,
        "window": [image.window.center, image.window.width],
        "windowText": image.facts.get("Window", "").split(",")[0],
        "presets": _presets(image),
        "ratio": _ratio(image),
        "spacing": image.spacing_mm[1] * step if image.spacing_mm else None,
        "letters": image.letters,
        "facts": "\n".join(image.facts[name] for name in _FACTS if name in image.facts),
        "place": place,
        "strength": strength,
        "colors": {name: [list(anchor) for anchor in anchors] for name, anchors in COLOR_MAPS.items()},
        "opacity": 45,
        "stacked": stacked,
        "marking": marking,
        "drawings": [list(each) for each in drawings],
        "box": f"0 0 {image.width_px} {image.height_px}",
        "alt": alt,
        "help": HELP_STACK if stacked else HELP,
    }
    if heatmap is not None:
        coarse = -(-max(heatmap.shape) // MAX_HEAT_PX)
        small = np.rint(np.clip(heatmap[::coarse, ::coarse], 0, 1) * 255).astype(np.uint8)
        data |= {"heat": _packed(small), "heatWidth": small.shape[1], "heatHeight": small.shape[0]}
    viewer = st.components.v2.component("scan_viewer", **browser_part("viewer"))
    told = viewer(data=data, key=key, on_mark_change=lambda: None)
    mark = told.get("mark")
    return (int(mark["x"]), int(mark["y"])) if mark and mark["id"] == data["id"] else None


def _for_browser(pixels: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Integers of 8 or 16 bits that the browser takes, with gain and offset: value = integer * gain + offset."""
    if pixels.dtype == np.uint8:
        return pixels, 1.0, 0.0
    low, high = float(pixels.min()), float(pixels.max())
    if low >= -32768 and high <= 32767 and high - low > 255:
        return np.rint(pixels).astype(np.int16), 1.0, 0.0
    gain = max(high - low, 1e-6) / 60_000
    offset = low + 30_000 * gain
    return np.rint((pixels.astype(np.float64) - offset) / gain).astype(np.int16), gain, offset


def _presets(image: Slice) -> dict[str, list[float]]:
    """What the window may be set to: name -> [center, width]; the first is how the file wants to be shown."""
    window = image.window
    found = {_FILE_WINDOW[image.unit]: [window.center, window.width]}
    if image.unit == "HU":
        return found | {name: [each.center, each.width] for name, each in WINDOW_PRESETS_HU.items()}
    low, width = window.center - window.width / 2, window.width
    return found | {"brighter": [low + 0.3 * width, 0.6 * width], "more contrast": [window.center, 0.5 * width]}


def _ratio(image: Slice) -> float:
    """Width over height as it is in the patient: pixels need not be square."""
    down, across = image.spacing_mm or (1.0, 1.0)
    return image.width_px * across / (image.height_px * down)


def _packed(values: np.ndarray) -> str:
    """Bytes as text for the browser, deflated; nothing is written and no address on the server is made."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 1)).decode()
