// Mouse, fingers and pen on the picture: wheel, pinch, drag, and the click that marks.
class Pointers {
  constructor(viewer) {
    const { stage } = viewer;
    this.viewer = viewer; this.stage = stage; this.held = new Map(); this.last = null;
    stage.addEventListener('wheel', event => this.onWheel(event), { passive: false });
    stage.onpointerdown = event => this.onDown(event);
    stage.onpointermove = event => this.onMove(event);
    stage.onpointerup = event => this.onUp(event);
    stage.onpointercancel = event => { this.viewer.measures.cancel(); this.release(event); };
    stage.onpointerleave = () => { this.viewer.under.textContent = ''; this.last = null; };
    stage.oncontextmenu = event => event.preventDefault();
    stage.ondblclick = () => viewer.zoom.reset();
  }

  release(event) { this.held.delete(event.pointerId); this.swiping = null; this.spread = 0; this.windowed = false; }

  onWheel(event) {
    const { viewer } = this, scrolls = viewer.data.stacked && !event.ctrlKey;
    if (!scrolls && !event.ctrlKey && viewer.zoom.factor === 1 && event.deltaY > 0) return;  // let the page scroll on
    event.preventDefault();
    if (!scrolls) return viewer.zoom.at(event.clientX, event.clientY, Math.exp(-event.deltaY / 500));
    this.wheel = (this.wheel || 0) + event.deltaY;
    const steps = Math.trunc(this.wheel / 50);
    if (steps) { this.wheel -= 50 * steps; viewer.step(Math.sign(steps)); }
  }

  onDown(event) {
    this.viewer.keys.hideCrosshair();
    if (event.target === this.viewer.divider) this.swiping = event.pointerId;
    this.held.set(event.pointerId, event); this.moved = 0; this.spread = 0;
    this.stage.setPointerCapture(event.pointerId);
    if (this.isMeasuring(event)) this.viewer.measures.start(this.pixelAt(event));
  }

  onMove(event) {
    const { viewer } = this;
    this.last = event;
    this.read();
    const before = this.held.get(event.pointerId);
    if (!before) return;
    this.held.set(event.pointerId, event);
    const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY;
    this.moved += Math.abs(dx) + Math.abs(dy);
    if (this.held.size === 2) return this.pinch();
    if (this.swiping === event.pointerId) {
      const box = viewer.scan.closest('.pane').getBoundingClientRect();
      return viewer.swipeTo((event.clientX - box.left) / box.width);
    }
    if (viewer.measures.open) { const at = this.pixelAt(event); if (at) viewer.measures.move(at); return; }
    if (viewer.tool === 'window' || event.buttons === 2 || event.shiftKey) {
      this.windowed = true;
      return viewer.changeWindow({ widthFactor: Math.exp(dx / 200), centerShare: dy / 300 });
    }
    if (viewer.zoom.factor > 1) viewer.zoom.moveBy(dx, dy);
  }

  onUp(event) {
    const { viewer } = this;
    if (this.isMarking(event)) { const at = this.pixelAt(event); if (at) viewer.mark(at); }
    if (viewer.measures.open) viewer.endMeasure();
    if (this.windowed) viewer.sayWindow();
    this.release(event);
  }

  pinch() {
    const [a, b] = [...this.held.values()], spread = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    if (this.spread) this.viewer.zoom.at((a.clientX + b.clientX) / 2, (a.clientY + b.clientY) / 2, spread / this.spread);
    this.spread = spread;
  }

  pixelAt(event) {
    const { twin, scan, scanCopy, data } = this.viewer;
    const canvas = !twin.hidden && event.clientX >= twin.getBoundingClientRect().left ? scanCopy : scan;
    const box = canvas.getBoundingClientRect();
    const x = Math.floor((event.clientX - box.left) / box.width * data.width);
    const y = Math.floor((event.clientY - box.top) / box.height * data.height);
    return x >= 0 && y >= 0 && x < data.width && y < data.height ? [x, y] : null;
  }

  // The value under the pointer, also when another slice came under it.
  read() { if (this.last && this.viewer.data) this.viewer.showValue(this.pixelAt(this.last)); }

  isMeasuring(event) {
    return this.viewer.measures.tool && event.button === 0 && !event.shiftKey && !this.viewer.previewing && this.pixelAt(event);
  }

  // Only the left button, a finger or a pen, and only while no tool is chosen.
  isMarking(event) {
    return this.viewer.data?.marking && event.button === 0 && !event.shiftKey && !event.ctrlKey && !this.viewer.tool
      && this.moved < 4 && this.held.size === 1;
  }
}
