"""A scan with its heatmap in the browser: window, zoom, opacity, colours and layout change without the server."""

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from kidney_core.imaging.rendering import COLOR_MAPS
from kidney_core.imaging.slices import WINDOW_PRESETS_HU, Slice

MAX_SHOWN_PX, MAX_HEAT_PX = 2048, 256
_FILE_WINDOW = {"HU": "as in the file", "grey": "as stored"}
_BROWSER = Path(__file__).parent / "browser"
_FACTS = ("Plane", "Phase", "Slice thickness", "Tube voltage")
_SCRIPTS = ("pixels", "measures", "announcer", "crosshair", "zoom", "keys", "pointers", "viewer")
_EVENTS = ("mark", "measures")
_KINDS = {"distance": "Distance", "ellipse": "Ellipse"}
_MAX_MEASURES, _MAX_TEXT = 20, 80


@dataclass(frozen=True)
class Events:
    """What the user did in the viewer since the page ran last.

    Attributes:
        mark: the (x, y) in pixels of the slice that was marked; None without one.
        measures: (kind, value) of each measurement that was put into the report; None where that was not asked for.
    """

    mark: tuple[int, int] | None = None
    measures: tuple[tuple[str, str], ...] | None = None


def browser_part(name: str, *, kinds: tuple[str, ...] = ("html", "css", "js")) -> dict[str, str]:
    """The HTML, CSS and JavaScript of a part of a page that runs in the browser."""
    return {kind: (_BROWSER / f"{name}.{kind}").read_text(encoding="utf-8") for kind in kinds}


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
    reportable: bool = False,
    drawings: Sequence[tuple[str, ...]] = (),
) -> Events:
    """Draw a scan with an optional heatmap over it.

    Args:
        heatmap: (H, W) float in 0..1, or None for the scan alone.
        alt: what the picture shows, for those who cannot see it.
        strength: the map's peak on an absolute scale, which may then be chosen.
        scene: zoom and window are kept while this stays the same; the slice's name by default.
        place: a short text in the corner, such as "12 of 300".
        stacked: the wheel and the arrow keys go through a stack of slices, see `stack_panel`.
        marking: a click marks a place, or Enter at the crosshair that arrow keys move.
        reportable: measurements can be put into a report.
        drawings: (SVG path in pixels of the slice, colour) drawn over scan and map, see `outlines`; with a pattern of dashes as a
            third text for a dashed line.

    Returns: what the user did just now.
    """
    step = -(-max(image.pixels.shape) // MAX_SHOWN_PX)
    pixels = image.pixels[::step, ::step]
    shown, gain, offset = _for_browser(pixels)
    # Files of two patients may have the same name.
    shown_as = f"{zlib.crc32(np.ascontiguousarray(shown).tobytes()):08x}|{image.name}"
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
        "spacing": [each * step for each in image.spacing_mm] if image.spacing_mm else None,
        "letters": image.letters,
        "facts": "\n".join(image.facts[name] for name in _FACTS if name in image.facts),
        "place": place,
        "strength": strength,
        "colors": {name: [list(anchor) for anchor in anchors] for name, anchors in COLOR_MAPS.items()},
        "opacity": 45,
        "stacked": stacked,
        "marking": marking,
        "reportable": reportable,
        "drawings": [list(each) for each in drawings],
        "box": f"0 0 {image.width_px} {image.height_px}",
        "alt": alt,
    }
    if heatmap is not None:
        coarse = -(-max(heatmap.shape) // MAX_HEAT_PX)
        small = np.rint(np.clip(heatmap[::coarse, ::coarse], 0, 1) * 255).astype(np.uint8)
        data |= {"heat": _packed(small), "heatWidth": small.shape[1], "heatHeight": small.shape[0]}
    part = browser_part("viewer")
    part["js"] = "\n".join(browser_part(name, kinds=("js",))["js"] for name in _SCRIPTS)
    viewer = st.components.v2.component("scan_viewer", html=part["html"], css=part["css"], js=part["js"])
    state = viewer(data=data, key=key, on_mark_change=lambda: None, on_measures_change=lambda: None)
    mark, measures = (each if each and each["id"] == data["id"] else None for each in map(state.get, _EVENTS))
    return Events(
        mark=(int(mark["x"]), int(mark["y"])) if mark else None,
        measures=_measures(measures["rows"]) if measures else None,
    )


def _measures(rows: list[list[str]]) -> tuple[tuple[str, str], ...]:
    """Measurements as the browser tells them: (kind, value) of each."""
    return tuple((_KINDS[tool], str(text)[:_MAX_TEXT]) for tool, text in rows[:_MAX_MEASURES] if tool in _KINDS)


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
    presets = {_FILE_WINDOW[image.unit]: [window.center, window.width]}
    presets |= {name: [each.center, each.width] for name, each in list(image.windows.items())[1:]}
    if image.unit == "HU":
        return presets | {name: [each.center, each.width] for name, each in WINDOW_PRESETS_HU.items()}
    low, width = window.center - window.width / 2, window.width
    return presets | {"brighter": [low + 0.3 * width, 0.6 * width], "more contrast": [window.center, 0.5 * width]}


def _ratio(image: Slice) -> float:
    """Width over height as it is in the patient: pixels need not be square."""
    return image.width_px / (image.height_px * image.pixel_aspect)


def _packed(values: np.ndarray) -> str:
    """Bytes as text for the browser, deflated; nothing is written and no address on the server is made."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 1)).decode()
