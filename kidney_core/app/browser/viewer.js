// A scan with its heat map: window, zoom, opacity, colours and layout change here, without asking the server.
const viewers = new WeakMap();
const CINE_MS = 120, WINDOW_STEPS = 40;

class Viewer {
  constructor(root, tell) {
    this.root = root; this.tell = tell;
    this.swipe = 0.5; this.opacity = null; this.tool = ''; this.serial = 0;
    const find = selector => root.querySelector(selector);
    for (const name of ['stage', 'scan', 'heat', 'scan-copy', 'heat-copy', 'twin', 'divider', 'view', 'scale', 'colors', 'preset',
      'heat-controls', 'play', 'measured', 'scale-label', 'preset-label', 'facts', 'place', 'window', 'under', 'ruler', 'to-report'])
      this[name.replace(/-(.)/g, (_, letter) => letter.toUpperCase())] = find('.' + name);
    this.slider = find('.opacity input'); this.shown = find('.opacity b');
    this.veil = find('.veil');
    this.slider.oninput = () => this.drawOpacity();
    this.view.onchange = () => { this.zoom.reset(); this.layout(); };
    this.scale.onchange = this.colors.onchange = () => this.drawHeat();
    this.preset.onchange = () => this.usePreset();
    this.measures = new Measures(find('.measures'), this.measured, n => { this.toReport.hidden = !n || !this.data?.reportable; });
    this.toReport.onclick = () => this.tell('measures', { id: this.data.id, rows: this.measures.rows() });
    this.tools = [...root.querySelectorAll('[data-tool]')];
    for (const button of this.tools) button.onclick = event => this.choose(button.dataset.tool, { byKey: !event.detail });
    this.play.onclick = () => this.playing(!this.timer);
    find('.full').onclick = () => this.fullScreen();
    find('.reset').onclick = () => this.resetAll();
    this.announcer = new Announcer(find('.said'));
    this.zoom = new Zoom(this, this.announcer);
    this.keys = new Keys(this, this.announcer);
    this.pointers = new Pointers(this);
    this.listen();
    new ResizeObserver(() => this.zoom.arrange()).observe(this.stage);
  }

  listen() {
    const onPreview = event => {
      if (this.stage.isConnected) this.preview(event.detail);
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
    if (this.place.textContent !== data.place) this.saySlice(data.place);
    this.place.textContent = data.place;
    for (const side of ['left', 'right', 'top', 'bottom'])
      this.stage.querySelector('.letter.' + side).textContent = data.letters[side] || '';
    if (this.opacity === null) this.slider.value = data.opacity;
    if (fresh || !this.look || !sameFile) this.resetWindow();
    if (fresh) this.zoom.reset();
    this.showHelp();
    this.drawScan(); this.drawHeat(); this.drawOpacity(); this.drawLines(); this.layout();
    this.play.hidden = !data.stacked;
    if (this.stage.dataset.shown !== data.id) this.beginMeasures();
    this.stage.dataset.shown = data.id;
    if (this.keys.crosshair.shown) this.showValue(this.keys.crosshair.at);
    else this.pointers.read();
  }

  // Only what this picture can do is in the table of keys.
  showHelp() {
    const { stacked, marking, heat } = this.data, alone = !stacked;
    const now = { stacked, alone, heat: Boolean(heat), 'mark-alone': marking && alone, 'mark-stacked': marking && stacked };
    for (const row of this.root.querySelectorAll('[data-when]')) row.hidden = !now[row.dataset.when];
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
    this.look = { center, width }; this.drawScan(); this.sayWindow();
  }

  drawScan() {
    this.writeWindow();
    if (this.previewing) return;  // the pixels at hand are those of another slice
    const started = performance.now();
    const image = greyPicture(this.pixels, this.data, this.look);
    this.scan.getContext('2d').putImageData(image, 0, 0);
    this.copy(this.scan, this.scanCopy);
    this.scan.dataset.ms = (performance.now() - started).toFixed(1);
  }

  writeWindow() {
    const unit = this.data.unit === 'HU' ? ' HU' : '', { center, width: span } = this.look;
    const asFile = this.data.window[0] === center && this.data.window[1] === span && /^[\d.]+\/-?[\d.]+$/.test(this.data.windowText);
    const [shownSpan, shownCenter] = asFile ? this.data.windowText.split('/') : [Math.round(span), Math.round(center)];
    this.window.textContent = `W ${shownSpan} L ${shownCenter}${unit}`;
  }

  drawHeat() {
    if (!this.heatValues) { this.heat.width = this.heatCopy.width = 1; return; }
    const gain = this.scale.value === 'absolute' ? this.data.strength : 1;
    const image = heatPicture(this.heatValues, this.data, colorTable(this.data.colors[this.colors.value]), gain);
    this.heat.getContext('2d').putImageData(image, 0, 0);
    this.copy(this.heat, this.heatCopy);
  }

  drawLines() {
    const line = (path, name, color, dashes) => {
      const made = document.createElementNS(SVG, 'path');
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
    this.divider.setAttribute('aria-valuenow', Math.round(100 * this.swipe));
    this.divider.setAttribute('aria-valuetext', `Image left of ${Math.round(100 * this.swipe)} %, heatmap right of it`);
    this.veil.style.clipPath = view === 'swipe' ? `inset(0 0 0 ${100 * this.swipe}%)` : '';
    this.zoom.arrange();
  }

  resetAll() { this.zoom.reset(); this.resetWindow(); this.announcer.say('View reset'); }

  choose(tool, { byKey = false } = {}) {
    this.measures.cancel();
    this.tool = this.tool === tool ? '' : tool;
    this.measures.tool = ['distance', 'ellipse'].includes(this.tool) ? this.tool : '';
    for (const button of this.tools) button.setAttribute('aria-pressed', button.dataset.tool === this.tool);
    this.stage.classList.toggle('windowing', this.tool === 'window');
    this.stage.classList.toggle('measuring', Boolean(this.measures.tool));
    if (!byKey) return;
    if (!this.tool) { this.keys.hideCrosshair(); this.announcer.say('Tool off'); return; }
    this.stage.focus();
    if (this.measures.tool) this.keys.showCrosshair(); else this.keys.hideCrosshair();
    this.announcer.say(`${TOOL_HELP[this.tool]} Escape leaves.`);
  }

  beginMeasures() {
    const { width, height, spacing, unit } = this.data;
    this.root.querySelector('.measures').setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.keys.crosshair.fit(width, height);
    this.measures.begin({ width, height, valueOf: (x, y) => this.rawAt(x, y), spacing, unit: unit === 'HU' ? ' HU' : '' });
  }

  playing(on) {
    clearInterval(this.timer);
    this.timer = on ? setInterval(() => this.stage.isConnected ? this.step(1, true) : clearInterval(this.timer), CINE_MS) : null;
    this.play.textContent = on ? 'Pause' : 'Play';
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.root.querySelector('.viewer').requestFullscreen();
  }

  step(by, wrap = false) { window.dispatchEvent(new CustomEvent('kidney-ct-step', { detail: { by, wrap } })); }

  swipeTo(share) {
    this.swipe = Math.min(0.98, Math.max(0.02, share));
    this.layout();
  }

  changeWindow({ widthFactor, centerShare }) {
    this.look.width = Math.max(this.data.gain, this.look.width * widthFactor);
    this.look.center += centerShare * this.look.width;
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.drawScan());
  }

  // Width by right (1) and left (-1), level by down (1) and up (-1), in steps that fit the window of the file.
  nudgeWindow(right, down, isLarge) {
    const share = this.data.window[1] / WINDOW_STEPS, step = (share > 1 ? Math.round(share) : share) * (isLarge ? 5 : 1);
    this.look.width = Math.max(this.data.gain, this.look.width + right * step);
    this.look.center += down * step;
    this.drawScan();
    this.sayWindow();
    return true;
  }

  sayWindow() {
    this.writeWindow();
    const [width, level] = this.window.textContent.slice(2).split(' L ');
    this.announcer.say(`Window width ${width}, level ${level}`);
  }

  // While the picture has the focus: the slider and the list of the stack speak for themselves.
  saySlice(place) {
    if (place && !this.timer && this.stage.matches(':focus')) this.announcer.say(`Slice ${place.replace('\n', ', ')}`);
  }

  placeInWords([x, y]) {
    const { spacing, step } = this.data;
    return spacing ? `${Math.round(x * spacing[1])}, ${Math.round(y * spacing[0])} mm` : `${x * step}, ${y * step} px`;
  }

  // The value of a pixel in the corner of the picture, and as text; empty for none.
  showValue(at) {
    const value = at && !this.previewing ? `${this.valueAt(...at)}${this.data.unit === 'HU' ? ' HU' : ''}` : '';
    this.under.textContent = value && `${value}  (${at[0] * this.data.step}, ${at[1] * this.data.step})`;
    return value;
  }

  rawAt(x, y) { return this.pixels[y * this.data.width + x] * this.data.gain + this.data.offset; }

  valueAt(x, y) {
    const value = this.rawAt(x, y);
    return this.data.gain < 0.1 ? value.toPrecision(3) : Math.round(value);
  }

  mark(at) {
    if (this.previewing) return;
    this.tell('mark', { x: at[0] * this.data.step, y: at[1] * this.data.step, id: this.data.id });
    this.announcer.say(`Mark at ${this.placeInWords(at)}`);
  }

  endMeasure() {
    this.announcer.say(this.measures.end() || 'Both ends are at one place: nothing was measured.');
  }

  preview({ url, place }) {
    if (!this.data || !this.data.stacked) return;
    const image = new Image(), serial = ++this.serial;
    this.previewing = place !== this.data.place;
    this.saySlice(place);
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
