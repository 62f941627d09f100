"""Images for the screen show what the numbers say."""

import base64
import io

import numpy as np
from PIL import Image

from kidney_core.imaging import rendering


def test_overlay_is_transparent_where_the_heatmap_is_zero():
    layer = rendering.overlay_rgba(np.array([[0.0, 1.0]], np.float32))
    assert layer[0, 0, 3] == 0
    assert layer[0, 1].tolist() == [252, 255, 164, 255]


def test_jpeg_data_url_contains_the_image():
    grey = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    url = rendering.jpeg_data_url(grey)
    assert url.startswith("data:image/jpeg;base64,")
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))))
    assert np.abs(decoded.astype(int) - grey).max() <= 6


def test_series_strip_shows_each_thumbnail_and_changes_colour_with_the_series():
    thumbnails = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8) * 10
    strip = rendering.series_strip(thumbnails, np.array([0, 0, 1, 1, 2]), per_row=3)
    tile_h, tile_w = 14, 9
    assert strip.shape == (2 * tile_h, 3 * tile_w, 4)
    shown = [strip[i // 3 * tile_h + 4, i % 3 * tile_w + 4, 0] for i in range(5)]
    assert shown == [0, 10, 20, 30, 40]
    bars = [tuple(strip[i // 3 * tile_h + 9, i % 3 * tile_w + 4, :3]) for i in range(5)]
    assert bars[0] == bars[1] == bars[4]
    assert bars[2] == bars[3] != bars[0]
    assert strip[tile_h + 4, 2 * tile_w + 4, 3] == 0  # nothing after the last one
