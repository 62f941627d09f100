// Where the scan lies in its frame: zoom, place, and the ruler that shows the scale.
const MAX_ZOOM = 16, RULER_SHARE = 0.3, EDGE_PX = 24;

class Zoom {
  constructor(viewer, announcer) {
    this.viewer = viewer; this.announcer = announcer; this.factor = 1; this.x = 0; this.y = 0;
    this.layers = [...viewer.root.querySelectorAll('.layer')];
  }

  arrange() {
    for (const layer of this.layers) layer.style.transform = `translate(${this.x}px,${this.y}px) scale(${this.factor})`;
    if (!this.viewer.data) return;
    const perMm = this.viewer.data.spacing && this.viewer.scan.getBoundingClientRect().width / (this.viewer.data.width * this.viewer.data.spacing[1]);
    this.viewer.ruler.hidden = !perMm;
    if (!perMm) return;
    const room = RULER_SHARE * this.viewer.stage.clientWidth / (this.viewer.twin.hidden ? 1 : 2);
    const length = [100, 50, 20, 10, 5, 2, 1].find(mm => mm * perMm <= room) || 1;
    this.viewer.ruler.firstChild.style.width = length * perMm + 'px';
    this.viewer.ruler.lastChild.textContent = length + ' mm';
  }

  reset() { this.factor = 1; this.x = this.y = 0; this.arrange(); }

  at(clientX, clientY, factor) {
    const pane = this.paneAt(clientX), px = clientX - pane.left, py = clientY - pane.top;
    const zoom = Math.min(MAX_ZOOM, Math.max(1, this.factor * factor));
    this.x = px - (px - this.x) * zoom / this.factor; this.y = py - (py - this.y) * zoom / this.factor;
    this.factor = zoom;
    if (zoom === 1) this.x = this.y = 0;
    this.arrange();
    this.announcer.say(`Zoom ${Math.round(100 * zoom)} %`);
  }

  // Around the crosshair where there is one, else around the middle.
  byKey(factor) {
    const pane = this.viewer.scan.closest('.pane').getBoundingClientRect(), { crosshair } = this.viewer.keys;
    const [x, y] = crosshair.shown ? this.onScreen(crosshair.at) : [pane.left + pane.width / 2, pane.top + pane.height / 2];
    this.at(x, y, factor);
  }

  moveBy(dx, dy) { this.x += dx; this.y += dy; this.arrange(); }

  onScreen([x, y]) {
    const box = this.viewer.scan.getBoundingClientRect();
    return [box.left + (x + .5) / this.viewer.data.width * box.width, box.top + (y + .5) / this.viewer.data.height * box.height];
  }

  // Move a zoomed scan until a pixel is seen.
  keepInSight(at) {
    const pane = this.viewer.scan.closest('.pane').getBoundingClientRect(), [x, y] = this.onScreen(at);
    const outside = (value, low, high) => value < low ? low - value : value > high ? high - value : 0;
    const dx = outside(x, pane.left + EDGE_PX, pane.right - EDGE_PX), dy = outside(y, pane.top + EDGE_PX, pane.bottom - EDGE_PX);
    if (this.factor > 1 && (dx || dy)) this.moveBy(dx, dy);
  }

  paneAt(clientX) {
    const second = this.viewer.twin.getBoundingClientRect(), first = this.viewer.scan.closest('.pane').getBoundingClientRect();
    return !this.viewer.twin.hidden && clientX >= second.left ? second : first;
  }
}
