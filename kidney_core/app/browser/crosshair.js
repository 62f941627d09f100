// A crosshair that keys move: lines over the whole scan, white on black, open in the middle.
const OPEN_SHARE = 0.025, STEPS_ACROSS = 256, LARGE_STEP = 10;

class Crosshair {
  constructor(drawings) { this.drawings = drawings; this.at = [0, 0]; this.shown = false; this.size = [0, 0]; }

  // To the middle of a scan of another size; where it was on a scan of the same size.
  fit(width, height) {
    const [w, h] = this.size;
    this.size = [width, height];
    if (w !== width || h !== height) this.at = [Math.floor(width / 2), Math.floor(height / 2)];
    this.draw();
  }

  show(on) { this.shown = on; this.draw(); }

  // Steps are finer on a scan that is zoomed.
  move([right, down], isLarge, zoom) {
    const step = Math.max(1, Math.round(Math.max(...this.size) / STEPS_ACROSS / zoom)) * (isLarge ? LARGE_STEP : 1);
    this.at = [right, down].map((by, axis) => Math.min(this.size[axis] - 1, Math.max(0, this.at[axis] + by * step)));
    this.draw();
  }

  draw() {
    const [width, height] = this.size, x = this.at[0] + .5, y = this.at[1] + .5, open = OPEN_SHARE * Math.max(width, height);
    const path = `M0 ${y}H${x - open}M${x + open} ${y}H${width}M${x} 0V${y - open}M${x} ${y + open}V${height}`;
    for (const svg of this.drawings) {
      svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
      svg.replaceChildren(...(this.shown ? ['under-line', 'line'] : []).map(name => {
        const made = document.createElementNS(SVG, 'path');
        made.setAttribute('d', path); made.setAttribute('class', name);
        return made;
      }));
    }
  }
}
