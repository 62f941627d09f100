"""A scan with its heat map in the browser: opacity, zoom and pan without asking the server."""

from typing import Any

import numpy as np
import streamlit as st

from kidney_core.pictures import overlay_rgba, png_data_url

MAX_SHOWN_PX = 2048
_HTML = """
<div class="viewer" role="group" aria-label="Scan viewer">
  <div class="stage" tabindex="0" title="Wheel to zoom, drag to move, double click to reset">
    <div class="layers"><img class="scan" alt=""><img class="heat" alt=""></div>
  </div>
  <div class="bar">
    <label class="opacity">Heat map <input type="range" min="0" max="100"><output></output></label>
    <button type="button">Reset view</button>
  </div>
</div>
"""
_CSS = """
.viewer { font-family: var(--st-font); color: var(--st-text-color); font-size: .9rem; }
.stage { position: relative; overflow: hidden; background: #000; border-radius: var(--st-base-radius);
  touch-action: none; cursor: grab; aspect-ratio: var(--ratio, 1); max-height: 560px; margin: 0 auto; }
.stage:active { cursor: grabbing; }
.stage:focus-visible { outline: 3px solid var(--st-primary-color); outline-offset: 2px; }
.layers { position: absolute; inset: 0; transform-origin: 0 0; }
.layers img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; user-select: none;
  -webkit-user-drag: none; }
.bar { display: flex; gap: 1rem; align-items: center; margin-top: .5rem; }
.opacity { display: flex; gap: .5rem; align-items: center; flex: 1; }
.opacity[hidden] { display: none; }
.opacity input { flex: 1; accent-color: var(--st-primary-color); min-width: 4rem; }
.opacity output { width: 3.2em; text-align: right; font-variant-numeric: tabular-nums; }
button { font: inherit; color: inherit; background: var(--st-secondary-background-color); cursor: pointer;
  border: 1px solid var(--st-border-color); border-radius: var(--st-base-radius); padding: .25rem .75rem; margin-left: auto; }
button:hover, button:focus-visible { border-color: var(--st-primary-color); color: var(--st-primary-color); }
"""
_JS = """
const views = new WeakMap();
export default function (component) {
  const { parentElement: root, data } = component;
  const find = selector => root.querySelector(selector);
  const [stage, layers, scan, heat, slider, shown, label] =
    ['.stage', '.layers', '.scan', '.heat', 'input', 'output', '.opacity'].map(find);
  let view = views.get(root);
  if (!view) {
    view = { zoom: 1, x: 0, y: 0 };
    views.set(root, view);
    const place = () => { layers.style.transform = `translate(${view.x}px,${view.y}px) scale(${view.zoom})`; };
    const zoomAt = (px, py, factor) => {
      const zoom = Math.min(12, Math.max(1, view.zoom * factor));
      view.x = px - (px - view.x) * zoom / view.zoom;
      view.y = py - (py - view.y) * zoom / view.zoom;
      view.zoom = zoom;
      if (zoom === 1) view.x = view.y = 0;
      place();
    };
    view.reset = () => { view.zoom = 1; view.x = view.y = 0; place(); };
    view.fade = () => { heat.style.opacity = slider.value / 100; shown.textContent = slider.value + ' %'; };
    slider.value = data.opacity;
    slider.oninput = view.fade;
    stage.addEventListener('wheel', event => {
      if (!event.ctrlKey && view.zoom === 1 && event.deltaY > 0) return;
      event.preventDefault();
      const box = stage.getBoundingClientRect();
      zoomAt(event.clientX - box.left, event.clientY - box.top, Math.exp(-event.deltaY / 500));
    }, { passive: false });
    const held = new Map();
    let spread = 0;
    stage.onpointerdown = event => { held.set(event.pointerId, event); stage.setPointerCapture(event.pointerId); spread = 0; };
    stage.onpointermove = event => {
      const before = held.get(event.pointerId);
      if (!before) return;
      held.set(event.pointerId, event);
      if (held.size === 2) {
        const [a, b] = [...held.values()], box = stage.getBoundingClientRect();
        const now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
        if (spread) zoomAt((a.clientX + b.clientX) / 2 - box.left, (a.clientY + b.clientY) / 2 - box.top, now / spread);
        spread = now;
      } else if (view.zoom > 1) {
        view.x += event.clientX - before.clientX;
        view.y += event.clientY - before.clientY;
        place();
      }
    };
    stage.onpointerup = stage.onpointercancel = event => { held.delete(event.pointerId); spread = 0; };
    stage.ondblclick = view.reset;
    stage.onkeydown = event => {
      const box = stage.getBoundingClientRect(), step = { '+': 1.25, '=': 1.25, '-': 0.8 }[event.key];
      if (step) zoomAt(box.width / 2, box.height / 2, step);
      if (event.key === '0') view.reset();
    };
    find('button').onclick = view.reset;
  }
  stage.style.setProperty('--ratio', data.ratio);
  if (scan.src !== data.scan) scan.src = data.scan;
  scan.alt = data.alt;
  label.hidden = heat.hidden = !data.heat;
  if (data.heat && heat.src !== data.heat) heat.src = data.heat;
  view.fade();
}
"""


def _for_screen(pixels: np.ndarray) -> np.ndarray:
    """An image of at most 2048 px a side: more is not seen, and has to reach the browser."""
    step = -(-max(pixels.shape) // MAX_SHOWN_PX)
    return pixels[::step, ::step]


def show_scan(grey: np.ndarray, heatmap: np.ndarray | None, *, alt: str, key: str) -> None:
    """Draw a scan with an optional heat map over it.

    Args:
        grey: (H, W) uint8.
        heatmap: (H, W) float in 0..1, or None for the scan alone.
        alt: what the picture shows, for those who cannot see it.
    """
    data: dict[str, Any] = {
        "scan": png_data_url(_for_screen(grey)),
        "heat": png_data_url(overlay_rgba(_for_screen(heatmap))) if heatmap is not None else "",
        "ratio": grey.shape[1] / grey.shape[0],
        "opacity": 45,
        "alt": alt,
    }
    viewer = st.components.v2.component("scan_viewer", html=_HTML, css=_CSS, js=_JS)
    viewer(data=data, key=key)
