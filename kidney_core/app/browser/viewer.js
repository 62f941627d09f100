// A scan with its heat map: window, zoom, opacity, colours and layout change here, without asking the server.
const viewers = new WeakMap();
const MAX_ZOOM = 16, RULER_SHARE = 0.3, CINE_MS = 120;

async function unpack(text, kind) {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  const buffer = await new Response(plain).arrayBuffer();
  return kind === 'int16' ? new Int16Array(buffer) : new Uint8Array(buffer);
}

function colorTable(anchors) {
  const table = new Uint8Array(256 * 3), last = anchors.length - 1;
  for (let value = 0; value < 256; value++) {
    const position = value / 255 * last, low = Math.min(last - 1, Math.floor(position)), part = position - low;
    for (let channel = 0; channel < 3; channel++)
      table[3 * value + channel] = Math.round(anchors[low][channel] * (1 - part) + anchors[low + 1][channel] * part);
  }
  return table;
}

class Viewer {
  constructor(root, tell) {
    this.root = root; this.tell = tell; this.held = new Map();
    this.zoom = 1; this.x = 0; this.y = 0; this.swipe = 0.5; this.opacity = null; this.tool = ''; this.serial = 0;
    const find = selector => root.querySelector(selector);
    for (const name of ['stage', 'scan', 'heat', 'scan-copy', 'heat-copy', 'twin', 'divider', 'view', 'scale', 'colors', 'preset',
      'heat-controls', 'play', 'measured', 'scale-label', 'preset-label', 'help', 'facts', 'place', 'window', 'under', 'ruler', 'to-report'])
      this[name.replace(/-(.)/g, (_, letter) => letter.toUpperCase())] = find('.' + name);
    this.slider = find('.opacity input'); this.shown = find('.opacity output');
    this.veil = find('.veil'); this.layers = [...root.querySelectorAll('.layer')];
    this.slider.oninput = () => this.drawOpacity();
    this.view.onchange = () => { this.reset(); this.layout(); };
    this.scale.onchange = this.colors.onchange = () => this.drawHeat();
    this.preset.onchange = () => this.usePreset();
    this.measures = new Measures(find('.measures'), this.measured, n => { this.toReport.hidden = !n || !this.data?.reportable; });
    this.toReport.onclick = () => this.tell('measures', { id: this.data.id, rows: this.measures.rows() });
    this.tools = [...root.querySelectorAll('[data-tool]')];
    for (const button of this.tools) button.onclick = () => this.choose(button.dataset.tool);
    this.play.onclick = () => this.playing(!this.timer);
    find('.full').onclick = () => this.fullScreen();
    find('.reset').onclick = () => { this.reset(); this.resetWindow(); };
    this.listen();
    new ResizeObserver(() => this.place_()).observe(this.stage);
  }

  listen() {
    const stage = this.stage;
    stage.addEventListener('wheel', event => this.onWheel(event), { passive: false });
    stage.onpointerdown = event => {
      if (event.target === this.divider) this.swiping = event.pointerId;
      this.held.set(event.pointerId, event); this.moved = 0; this.spread = 0;
      stage.setPointerCapture(event.pointerId);
      if (this.isMeasuring(event)) this.measures.start(this.pixelAt(event));
    };
    stage.onpointermove = event => this.onMove(event);
    stage.onpointerup = event => {
      if (this.isMarking(event)) this.mark(event);
      this.measures.end();
      this.held.delete(event.pointerId); this.swiping = null; this.spread = 0;
    };
    stage.onpointercancel = event => { this.held.delete(event.pointerId); this.swiping = null; };
    stage.onpointerleave = () => { this.under.textContent = ''; this.last = null; };
    stage.oncontextmenu = event => event.preventDefault();
    stage.ondblclick = () => this.reset();
    stage.onkeydown = event => this.onKey(event);
    const onPreview = event => {
      if (stage.isConnected) this.preview(event.detail);
      else window.removeEventListener('kidney-ct-preview', onPreview);  // this viewer left the page
    };
    window.addEventListener('kidney-ct-preview', onPreview);
  }

  async update(data) {
    const serial = ++this.serial, fresh = !this.data || this.data.scene !== data.scene;
    const [pixels, heat] = await Promise.all([
      unpack(data.pixels, data.kind), data.heat ? unpack(data.heat, 'uint8') : null]);
    if (serial !== this.serial) return;  // a newer slice came while this one was unpacked
    const sameFile = this.data && this.data.window.join() === data.window.join();
    Object.assign(this, { data, pixels, heatValues: heat, previewing: false });
    this.stage.style.setProperty('--ratio', data.ratio);
    this.stage.parentElement.style.setProperty('--ratio', data.ratio);
    this.scan.width = data.width; this.scan.height = data.height;
    this.scan.setAttribute('aria-label', data.alt);
    if (heat) { this.heat.width = data.heatWidth; this.heat.height = data.heatHeight; }
    this.heatControls.hidden = !heat;
    this.scaleLabel.hidden = data.strength === null;
    if (data.strength === null) this.scale.value = 'own';
    this.fill(this.colors, Object.keys(data.colors));
    this.fill(this.preset, Object.keys(data.presets));
    this.presetLabel.hidden = Object.keys(data.presets).length < 2;
    this.stage.classList.toggle('marking', Boolean(data.marking));
    this.facts.textContent = data.facts;
    this.place.textContent = data.place;
    for (const side of ['left', 'right', 'top', 'bottom'])
      this.stage.querySelector('.letter.' + side).textContent = data.letters[side] || '';
    if (this.opacity === null) this.slider.value = data.opacity;
    if (fresh || !this.look || !sameFile) this.resetWindow();
    if (fresh) this.reset();
    this.help.textContent = data.help;
    this.drawScan(); this.drawHeat(); this.drawOpacity(); this.drawLines(); this.layout();
    this.play.hidden = !data.stacked;
    if (this.stage.dataset.shown !== data.id) this.beginMeasures();
    this.stage.dataset.shown = data.id;
    if (this.last) this.read(this.last);
  }

  fill(select, names) {
    if ([...select.options].map(option => option.value).join() === names.join()) return;
    select.replaceChildren(...names.map(name => new Option(name, name)));
  }

  resetWindow() {
    const [center, width] = this.data.window;
    this.look = { center, width }; this.preset.selectedIndex = 0; this.drawScan();
  }

  usePreset() {
    const [center, width] = this.data.presets[this.preset.value];
    this.look = { center, width }; this.drawScan();
  }

  drawScan() {
    if (this.previewing) return;  // the pixels at hand are those of another slice
    const started = performance.now(), { width, height, inverted, gain, offset } = this.data, { center, width: span } = this.look;
    const image = new ImageData(width, height), out = new Uint32Array(image.data.buffer), pixels = this.pixels;
    const low = (center - span / 2 - offset) / gain, perStep = 255 * gain / span;
    for (let i = 0; i < pixels.length; i++) {
      let grey = (pixels[i] - low) * perStep;
      grey = grey < 0 ? 0 : grey > 255 ? 255 : Math.round(grey);
      if (inverted) grey = 255 - grey;
      out[i] = 0xff000000 | grey << 16 | grey << 8 | grey;
    }
    this.scan.getContext('2d').putImageData(image, 0, 0);
    this.copy(this.scan, this.scanCopy);
    const unit = this.data.unit === 'HU' ? ' HU' : '';
    const asFile = this.data.window[0] === center && this.data.window[1] === span && /^[\d.]+\/-?[\d.]+$/.test(this.data.windowText);
    const [shownSpan, shownCenter] = asFile ? this.data.windowText.split('/') : [Math.round(span), Math.round(center)];
    this.window.textContent = `W ${shownSpan} L ${shownCenter}${unit}`;
    this.scan.dataset.ms = (performance.now() - started).toFixed(1);
  }

  drawHeat() {
    if (!this.heatValues) { this.heat.width = this.heatCopy.width = 1; return; }
    const { heatWidth, heatHeight, strength, colors } = this.data, table = colorTable(colors[this.colors.value]);
    const gain = this.scale.value === 'absolute' ? strength : 1;
    const image = new ImageData(heatWidth, heatHeight), out = image.data;
    this.heatValues.forEach((raw, i) => {
      const value = Math.min(255, raw * gain), at = 3 * Math.round(value);
      out[4 * i] = table[at]; out[4 * i + 1] = table[at + 1]; out[4 * i + 2] = table[at + 2];
      out[4 * i + 3] = Math.min(255, value * 1.6);
    });
    this.heat.getContext('2d').putImageData(image, 0, 0);
    this.copy(this.heat, this.heatCopy);
  }

  drawLines() {
    const line = (path, name, color, dashes) => {
      const made = document.createElementNS('http://www.w3.org/2000/svg', 'path');
      made.setAttribute('d', path); made.setAttribute('class', name);
      if (color) made.style.stroke = color;
      if (dashes) made.style.strokeDasharray = dashes;
      return made;
    };
    for (const svg of this.root.querySelectorAll('.drawings')) {
      svg.setAttribute('viewBox', this.data.box);
      svg.replaceChildren(...this.data.drawings.flatMap(([path, color, dashes]) =>
        dashes ? [line(path, 'line', color, dashes)] : [line(path, 'under-line'), line(path, 'line', color)]));
    }
  }

  copy(from, to) {
    to.width = from.width; to.height = from.height;
    to.getContext('2d').drawImage(from, 0, 0);
  }

  drawOpacity() {
    this.opacity = this.slider.value;
    for (const canvas of [this.heat, this.heatCopy]) canvas.style.opacity = this.slider.value / 100;
    this.shown.textContent = this.slider.value + ' %';
  }

  layout() {
    const view = this.data.heat ? this.view.value : 'overlay';
    this.stage.classList.toggle('side', view === 'side');
    this.twin.hidden = view !== 'side';
    this.veil.style.visibility = view === 'side' ? 'hidden' : 'visible';
    this.divider.hidden = view !== 'swipe';
    this.divider.style.left = 100 * this.swipe + '%';
    this.veil.style.clipPath = view === 'swipe' ? `inset(0 0 0 ${100 * this.swipe}%)` : '';
    this.place_();
  }

  place_() {
    for (const layer of this.layers) layer.style.transform = `translate(${this.x}px,${this.y}px) scale(${this.zoom})`;
    if (!this.data) return;
    const perMm = this.data.spacing && this.scan.getBoundingClientRect().width / (this.data.width * this.data.spacing[1]);
    this.ruler.hidden = !perMm;
    if (!perMm) return;
    const room = RULER_SHARE * this.stage.clientWidth / (this.twin.hidden ? 1 : 2);
    const length = [100, 50, 20, 10, 5, 2, 1].find(mm => mm * perMm <= room) || 1;
    this.ruler.firstChild.style.width = length * perMm + 'px';
    this.ruler.lastChild.textContent = length + ' mm';
  }

  reset() { this.zoom = 1; this.x = this.y = 0; this.place_(); }

  choose(tool) {
    this.tool = this.tool === tool ? '' : tool;
    this.measures.tool = this.tool;
    for (const button of this.tools) button.setAttribute('aria-pressed', button.dataset.tool === this.tool);
    this.stage.classList.toggle('windowing', this.tool === 'window');
    this.stage.classList.toggle('measuring', ['distance', 'ellipse'].includes(this.tool));
  }

  isMeasuring(event) {
    return ['distance', 'ellipse'].includes(this.tool) && event.button === 0 && !event.shiftKey && !this.previewing && this.pixelAt(event);
  }

  beginMeasures() {
    const { width, height, spacing, unit } = this.data;
    this.root.querySelector('.measures').setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.measures.begin({ width, height, valueOf: (x, y) => this.rawAt(x, y), spacing, unit: unit === 'HU' ? ' HU' : '' });
  }

  playing(on) {
    clearInterval(this.timer);
    this.timer = on ? setInterval(() => this.stage.isConnected ? this.step(1, true) : clearInterval(this.timer), CINE_MS) : null;
    this.play.setAttribute('aria-pressed', on);
    this.play.textContent = on ? 'Pause' : 'Play';
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.root.querySelector('.viewer').requestFullscreen();
  }

  zoomAt(clientX, clientY, factor) {
    const pane = this.paneAt(clientX), px = clientX - pane.left, py = clientY - pane.top;
    const zoom = Math.min(MAX_ZOOM, Math.max(1, this.zoom * factor));
    this.x = px - (px - this.x) * zoom / this.zoom; this.y = py - (py - this.y) * zoom / this.zoom;
    this.zoom = zoom;
    if (zoom === 1) this.x = this.y = 0;
    this.place_();
  }

  paneAt(clientX) {
    const second = this.twin.getBoundingClientRect(), first = this.scan.closest('.pane').getBoundingClientRect();
    return !this.twin.hidden && clientX >= second.left ? second : first;
  }

  step(by, wrap = false) { window.dispatchEvent(new CustomEvent('kidney-ct-step', { detail: { by, wrap } })); }

  onWheel(event) {
    const scrolls = this.data.stacked && !event.ctrlKey;
    if (!scrolls && !event.ctrlKey && this.zoom === 1 && event.deltaY > 0) return;  // let the page scroll on
    event.preventDefault();
    if (!scrolls) return this.zoomAt(event.clientX, event.clientY, Math.exp(-event.deltaY / 500));
    this.wheel = (this.wheel || 0) + event.deltaY;
    const steps = Math.trunc(this.wheel / 50);
    if (steps) { this.wheel -= 50 * steps; this.step(Math.sign(steps)); }
  }

  onMove(event) {
    this.last = event;
    this.read(event);
    const before = this.held.get(event.pointerId);
    if (!before) return;
    this.held.set(event.pointerId, event);
    const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY;
    this.moved += Math.abs(dx) + Math.abs(dy);
    if (this.held.size === 2) return this.pinch();
    if (this.swiping === event.pointerId) {
      const box = this.scan.closest('.pane').getBoundingClientRect();
      this.swipe = Math.min(0.98, Math.max(0.02, (event.clientX - box.left) / box.width));
      return this.layout();
    }
    if (this.measures.open) { const at = this.pixelAt(event); if (at) this.measures.move(at); return; }
    if (this.tool === 'window' || event.buttons === 2 || event.shiftKey) return this.dragWindow(dx, dy);
    if (this.zoom > 1) { this.x += dx; this.y += dy; this.place_(); }
  }

  pinch() {
    const [a, b] = [...this.held.values()], spread = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    if (this.spread) this.zoomAt((a.clientX + b.clientX) / 2, (a.clientY + b.clientY) / 2, spread / this.spread);
    this.spread = spread;
  }

  dragWindow(dx, dy) {
    const look = this.look;
    look.width = Math.max(this.data.gain, look.width * Math.exp(dx / 200));
    look.center += dy * look.width / 300;
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.drawScan());
  }

  pixelAt(event) {
    const canvas = !this.twin.hidden && event.clientX >= this.twin.getBoundingClientRect().left ? this.scanCopy : this.scan;
    const box = canvas.getBoundingClientRect();
    const x = Math.floor((event.clientX - box.left) / box.width * this.data.width);
    const y = Math.floor((event.clientY - box.top) / box.height * this.data.height);
    return x >= 0 && y >= 0 && x < this.data.width && y < this.data.height ? [x, y] : null;
  }

  read(event) {
    const at = this.data && !this.previewing && this.pixelAt(event);
    this.under.textContent = at
      ? `${this.valueAt(...at)}${this.data.unit === 'HU' ? ' HU' : ''}  (${at[0] * this.data.step}, ${at[1] * this.data.step})`
      : '';
  }

  rawAt(x, y) { return this.pixels[y * this.data.width + x] * this.data.gain + this.data.offset; }

  valueAt(x, y) {
    const value = this.rawAt(x, y);
    return this.data.gain < 0.1 ? value.toPrecision(3) : Math.round(value);
  }

  // Only the left button, a finger or a pen, and only while no tool is chosen.
  isMarking(event) {
    return this.data?.marking && event.button === 0 && !event.shiftKey && !event.ctrlKey && !this.tool && this.moved < 4 && this.held.size === 1;
  }

  mark(event) {
    const at = !this.previewing && this.pixelAt(event);
    if (at) this.tell('mark', { x: at[0] * this.data.step, y: at[1] * this.data.step, id: this.data.id });
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;  // the browser's own keys
    const zoom = { '+': 1.25, '=': 1.25, '-': 0.8 }[event.key], key = event.key.toLowerCase();
    const box = this.stage.getBoundingClientRect();
    const steps = { arrowup: -1, arrowleft: -1, pageup: -10, arrowdown: 1, arrowright: 1, pagedown: 10, home: -1e6, end: 1e6 };
    const moves = { arrowup: [0, 40], arrowdown: [0, -40], arrowleft: [40, 0], arrowright: [-40, 0] };
    if (zoom) this.zoomAt(box.left + box.width / (this.twin.hidden ? 2 : 4), box.top + box.height / 2, zoom);
    else if (key === '0') this.reset();
    else if (key === 'w' || key === 'l') this.resetWindow();
    else if (key === 'd' || key === 'e') this.choose({ d: 'distance', e: 'ellipse' }[key]);
    else if (key === 'f') this.fullScreen();
    else if (key === ' ' && this.data.stacked) this.playing(!this.timer);
    else if (key === 'escape') { this.measures.clear(); this.choose(this.tool); }
    else if (key in steps && this.data.stacked) this.step(steps[key]);
    else if (key in moves && this.zoom > 1) { this.x += moves[key][0]; this.y += moves[key][1]; this.place_(); }
    else return;
    event.preventDefault();
  }

  preview({ url, place }) {
    if (!this.data || !this.data.stacked) return;
    const image = new Image(), serial = ++this.serial;
    this.previewing = place !== this.data.place;
    if (!this.previewing) {  // back at the slice that is at hand
      this.place.textContent = place;
      this.drawScan(); this.drawHeat(); this.drawLines();
      return;
    }
    image.onload = () => {
      if (serial !== this.serial) return;
      for (const canvas of [this.scan, this.scanCopy])
        canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height);
      for (const canvas of [this.heat, this.heatCopy]) canvas.getContext('2d').clearRect(0, 0, canvas.width, canvas.height);
      for (const svg of this.root.querySelectorAll('.drawings')) svg.replaceChildren();  // outlines of another slice
      this.measures.clear();
      this.place.textContent = place;
    };
    image.src = url;
  }
}

export default function (component) {
  const { parentElement: root, data, setTriggerValue } = component;
  let viewer = viewers.get(root);
  if (!viewer) viewers.set(root, viewer = new Viewer(root, setTriggerValue));
  viewer.tell = setTriggerValue;
  viewer.update(data);
}
