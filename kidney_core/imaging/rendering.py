"""Images for the screen: heatmap overlays, images as data URLs, strips of thumbnails."""

import base64
import io

import numpy as np
from PIL import Image

# Samples of matplotlib's colour maps (BSD): monotonic in lightness, readable with colour-vision deficiency; cividis
# looks the same with and without it. Source: Nunez et al. 2018, PLOS ONE 13:e0199239.
COLOR_MAPS = {
    "inferno": (
        (0, 0, 4), (40, 11, 84), (101, 21, 110), (159, 42, 99), (212, 72, 66), (245, 125, 21), (250, 193, 39), (252, 255, 164),
    ),
    "cividis": (
        (0, 34, 78), (26, 56, 111), (65, 77, 107), (96, 99, 110), (125, 122, 120), (157, 146, 118), (195, 173, 105), (254, 232, 56),
    ),
    "viridis": (
        (68, 1, 84), (70, 50, 127), (54, 92, 141), (39, 127, 142), (31, 161, 135), (74, 194, 109), (159, 218, 58), (253, 231, 37),
    ),
}  # fmt: skip
_INFERNO = np.array(COLOR_MAPS["inferno"], dtype=np.float32)
# Two tints that alternate from series to series, Source: Okabe & Ito 2008, Color Universal Design.
_SERIES_TINTS = np.array([(0, 114, 178), (230, 159, 0)], np.uint8)
_EDGE_PX = 3
OUTLINE_RGB = (127, 219, 202)


def overlay_rgba(heatmap: np.ndarray) -> np.ndarray:
    """A heatmap in 0..1 as an RGBA layer: (H, W) -> (H, W, 4) uint8, transparent where it is 0."""
    position = np.clip(heatmap, 0, 1) * (len(_INFERNO) - 1)
    anchors = np.arange(len(_INFERNO))
    channels = [np.interp(position, anchors, _INFERNO[:, channel]) for channel in range(3)]
    alpha = np.clip(heatmap * 1.6, 0, 1) * 255
    return np.stack([*channels, alpha], axis=-1).astype(np.uint8)


def blend(grey: np.ndarray, heatmap: np.ndarray | None, *, opacity: float = 0.45) -> np.ndarray:
    """A slice with its heatmap overlaid: (H, W) uint8 and (H, W) in 0..1 or None -> (H, W, 3) uint8."""
    base = np.repeat(grey[..., None], 3, axis=2)
    if heatmap is None:
        return base
    layer = overlay_rgba(heatmap)
    alpha = layer[..., 3:].astype(np.float32) / 255 * opacity
    return np.rint(base * (1 - alpha) + layer[..., :3] * alpha).astype(np.uint8)


def outlined(picture: np.ndarray, mask: np.ndarray, color: tuple[int, int, int] = OUTLINE_RGB) -> np.ndarray:
    """A picture with the border of a mask drawn on its inner pixels: (H, W, 3) uint8 and (H, W) bool -> (H, W, 3) uint8."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    drawn = picture.copy()
    drawn[mask & ~inner] = color
    return drawn


def with_square_pixels(pixels: np.ndarray, spacing_mm: tuple[float, float] | None) -> np.ndarray:
    """An image resampled to square pixels, (H, W) or (H, W, 3) uint8: enlarged along the axis with the larger spacing.

    Args:
        spacing_mm: distance between rows and between columns; None where unknown, which changes nothing.
    """
    down, across = spacing_mm or (1.0, 1.0)
    height, width = pixels.shape[0] * max(1.0, down / across), pixels.shape[1] * max(1.0, across / down)
    if (round(height), round(width)) == pixels.shape[:2]:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((round(width), round(height)), Image.Resampling.BILINEAR))


def jpeg_data_url(grey: np.ndarray) -> str:
    """A thumbnail, (H, W) uint8, as a data URL with a JPEG; no file and no address on the server is created."""
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def series_strip(
    thumbnails: np.ndarray, series: np.ndarray, *, per_row: int = 24, tints: np.ndarray | None = None
) -> np.ndarray:
    """A strip of thumbnails in their order; the colour of the bar below changes where a new series begins.

    Args:
        thumbnails: (N, h, w) uint8.
        series: (N,) series numbers; consecutive thumbnails with the same number belong together.
        tints: (N,) 0 for a blue bar, 1 for an orange one; by default they take turns from series to series.

    Returns: (H, W, 4) uint8, transparent between the thumbnails and after the last one.
    """
    n, height, width = thumbnails.shape
    changes = np.concatenate([[0], np.cumsum(np.diff(series) != 0)]) if n else np.zeros(0, int)
    tints = changes % 2 if tints is None else tints
    tile_h, tile_w = height + 2 * _EDGE_PX, width + 1
    strip = np.zeros((-(-n // per_row) * tile_h, per_row * tile_w, 4), np.uint8)
    for position in range(n):
        top, left = position // per_row * tile_h, position % per_row * tile_w
        strip[top : top + height, left : left + width, :3] = thumbnails[position][..., None]
        strip[top : top + height, left : left + width, 3] = 255
        bar = strip[top + height : top + height + _EDGE_PX, left : left + tile_w]
        bar[..., :3], bar[..., 3] = _SERIES_TINTS[tints[position]], 255
        if position and series[position] != series[position - 1]:
            strip[top : top + height, left, :3] = _SERIES_TINTS[tints[position]]
    return strip
