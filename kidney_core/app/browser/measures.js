// Measurements on a scan: distances, and ellipses with the mean and the standard deviation of the values inside.
const SVG = 'http://www.w3.org/2000/svg';

class Measures {
  constructor(svg, list, changed) {
    this.svg = svg; this.list = list; this.changed = changed; this.tool = null; this.all = []; this.open = null;
  }

  begin(scan) { this.scan = scan; this.all = []; this.open = null; this.draw(); }

  clear() { this.all = []; this.open = null; this.draw(); }

  start(at) { this.open = { tool: this.tool, from: at, to: at }; this.all.push(this.open); this.draw(); }

  move(at) { if (this.open) { this.open.to = at; this.draw(); } }

  cancel() { if (this.open) { this.all.pop(); this.open = null; this.draw(); } }

  // What was measured, in words; empty where both ends are one place.
  end() {
    const ended = this.open;
    if (!ended) return '';
    if (Math.hypot(ended.to[0] - ended.from[0], ended.to[1] - ended.from[1]) < 2) { this.cancel(); return ''; }
    this.open = null;
    this.draw();
    return `${ended.tool === 'distance' ? 'Distance' : 'Ellipse'} ${this.text(ended)}`;
  }

  rows() { return this.all.map(measure => [measure.tool, this.text(measure)]); }

  text(measure) { return measure.tool === 'distance' ? this.distance(measure) : this.ellipse(measure); }

  distance({ from, to }) {
    const { spacing } = this.scan, dx = to[0] - from[0], dy = to[1] - from[1];
    if (!spacing) return `${Math.hypot(dx, dy).toFixed(0)} px`;
    return `${Math.hypot(dx * spacing[1], dy * spacing[0]).toFixed(1)} mm`;
  }

  ellipse({ from, to }) {
    const { width, height, valueOf, unit, spacing } = this.scan;
    const cx = (from[0] + to[0]) / 2, cy = (from[1] + to[1]) / 2, rx = Math.abs(to[0] - from[0]) / 2, ry = Math.abs(to[1] - from[1]) / 2;
    let n = 0, sum = 0, squares = 0;
    for (let y = Math.max(0, Math.ceil(cy - ry)); y <= Math.min(height - 1, cy + ry); y++)
      for (let x = Math.max(0, Math.ceil(cx - rx)); x <= Math.min(width - 1, cx + rx); x++)
        if (((x - cx) / (rx || 1)) ** 2 + ((y - cy) / (ry || 1)) ** 2 <= 1) {
          const value = valueOf(x, y);
          n++; sum += value; squares += value * value;
        }
    if (!n) return '';
    const mean = sum / n, deviation = Math.sqrt(Math.max(0, squares / n - mean * mean));
    const area = spacing ? `, ${(Math.PI * rx * ry * spacing[0] * spacing[1] / 100).toFixed(2)} cm²` : '';
    return `mean ${mean.toFixed(0)}${unit}, SD ${deviation.toFixed(0)}${area}`;
  }

  draw() {
    const shapes = this.all.map(({ tool, from, to }) => tool === 'distance'
      ? `M${from[0] + .5} ${from[1] + .5}L${to[0] + .5} ${to[1] + .5}`
      : this.ring((from[0] + to[0]) / 2 + .5, (from[1] + to[1]) / 2 + .5, Math.abs(to[0] - from[0]) / 2, Math.abs(to[1] - from[1]) / 2));
    this.svg.replaceChildren(...shapes.flatMap(shape => ['under-line', 'line'].map(name => {
      const path = document.createElementNS(SVG, 'path');
      path.setAttribute('d', shape); path.setAttribute('class', name);
      return path;
    })));
    this.list.replaceChildren(...this.all.map(measure => {
      const item = document.createElement('li');
      item.textContent = this.text(measure);
      return item;
    }));
    this.list.hidden = !this.all.length;
    this.changed(this.all.length);
  }

  ring(x, y, rx, ry) { return `M${x - rx} ${y}a${rx} ${ry} 0 1 0 ${2 * rx} 0a${rx} ${ry} 0 1 0 ${-2 * rx} 0`; }
}
