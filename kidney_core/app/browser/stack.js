// The slices of a stack: a label's probability along it, thumbnails, and which slice is shown.
const stacks = new WeakMap();
const REST_MS = 250;  // how long a slice is looked at before the server is asked for it

class Stack {
  constructor(root) {
    const find = selector => root.querySelector(selector);
    this.chart = find('.chart'); this.svg = find('svg'); this.cursor = find('.cursor');
    this.legend = find('.legend'); this.film = find('.film');
    this.chart.onpointerdown = event => { this.chart.setPointerCapture(event.pointerId); this.dragged = true; this.at(event); };
    this.chart.onpointermove = event => { if (this.dragged) this.at(event); };
    this.chart.onpointerup = this.chart.onpointercancel = () => { this.dragged = false; };
    this.chart.onkeydown = this.film.onkeydown = event => this.onKey(event);
    const onStep = event => {
      if (this.chart.isConnected) this.step(event.detail.by, event.detail.wrap);
      else window.removeEventListener('kidney-ct-step', onStep);  // this stack left the page
    };
    window.addEventListener('kidney-ct-step', onStep);
  }

  update(data, tell) {
    this.tell = tell;
    if (!this.data || this.data.id !== data.id) { this.data = data; this.draw(); this.index = data.index; }
    else if (data.index !== this.data.index) { this.index = data.index; tell('index', this.index); }  // the page jumped there
    this.data = data;
    this.mark();
  }

  draw() {
    this.chart.parentElement.classList.toggle('plain', !this.data.labels.length);  // a way through the slices, and no more
    const { rows, labels, colors, previews } = this.data, n = rows.length;
    this.svg.setAttribute('viewBox', `0 0 ${n} 100`);
    const refused = rows.map((row, i) => row ? '' : `<rect x="${i}" y="0" width="1" height="100" fill="gray" opacity=".25"/>`);
    const lines = labels.map((label, at) => {
      let path = '', pen = 'M';
      rows.forEach((row, i) => {
        if (!row) { pen = 'M'; return; }
        const y = (98 - 96 * row[at]).toFixed(1);
        path += pen === 'M' ? `M${i + .1} ${y}L${i + .9} ${y}` : `L${i + .5} ${y}`;
        pen = 'L';
      });
      return `<path d="${path}" fill="none" stroke="${colors[at]}" stroke-width="2" vector-effect="non-scaling-stroke"/>`;
    });
    const kidneys = this.data.kidneys.map(({ side, first, last }, at) =>
      `<rect class="kidney" x="${first}" y="${1 + 5 * at}" width="${last - first + 1}" height="3"><title>${side} kidney</title></rect>`);
    this.svg.innerHTML = refused.join('') + lines.join('') + kidneys.join('');
    this.legend.replaceChildren(...[...labels.map((label, at) => [label, colors[at]]), ['no prediction', 'gray'],
      ...this.data.kidneys.map(({ side, first, last }) => [`${side}${side.includes('unknown') ? '' : ' kidney'}: ${first + 1} to ${last + 1}`, 'var(--st-text-color)'])].map(([text, color]) => {
      const item = document.createElement('span'), key = document.createElement('i');
      key.style.background = color; item.append(key, text);
      return item;
    }));
    this.film.replaceChildren(...previews.map((url, i) => {
      const figure = document.createElement('figure'), caption = document.createElement('span');
      const picture = document.createElement(url ? 'img' : 'div');
      if (url) { picture.src = url; picture.alt = ''; picture.loading = 'lazy'; } else picture.className = 'none';
      caption.textContent = i + 1;
      figure.id = `slice-${i + 1}`;
      figure.setAttribute('role', 'option');
      figure.setAttribute('aria-label', `Slice ${i + 1}`);
      figure.setAttribute('aria-selected', false);
      figure.classList.toggle('refused', !rows[i]);
      if (rows[i] && labels.length) figure.style.borderBottomColor = colors[rows[i].indexOf(Math.max(...rows[i]))];
      figure.append(picture, caption);
      figure.onclick = () => this.show(i);
      return figure;
    }));
    this.chart.setAttribute('aria-valuemax', n);
  }

  onKey(event) {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, PageUp: -10, PageDown: 10, Home: -1e6, End: 1e6 }[event.key];
    if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.step(by);
  }

  at(event) {
    const box = this.chart.getBoundingClientRect();
    this.show(Math.floor((event.clientX - box.left) / box.width * this.data.rows.length));
  }

  step(by, wrap = false) {
    const n = this.data.rows.length, to = this.index + by;
    this.show(wrap ? (to + n) % n : to);
  }

  show(index) {
    const n = this.data.rows.length;
    index = Math.min(n - 1, Math.max(0, index));
    if (index === this.index) return;
    this.index = index;
    this.mark();
    const url = this.data.previews[index];
    if (url) window.dispatchEvent(new CustomEvent('kidney-ct-preview', { detail: { url, place: this.place() } }));
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.tell('index', index), REST_MS);
  }

  place() { return this.data.places[this.index]; }

  mark() {
    const n = this.data.rows.length;
    this.cursor.style.left = 100 * (this.index + .5) / n + '%';
    this.chart.setAttribute('aria-valuenow', this.index + 1);
    this.chart.setAttribute('aria-valuetext', this.place());
    const before = this.film.querySelector('.chosen'), figure = this.film.children[this.index];
    before?.classList.remove('chosen');
    before?.setAttribute('aria-selected', false);
    if (!figure) return;
    figure.classList.add('chosen');
    figure.setAttribute('aria-selected', true);
    this.film.setAttribute('aria-activedescendant', figure.id);
    this.film.scrollLeft = figure.offsetLeft - this.film.offsetLeft - this.film.clientWidth / 2 + figure.clientWidth / 2;
  }
}

export default function (component) {
  const { parentElement: root, data, setStateValue } = component;
  if (!stacks.has(root)) stacks.set(root, new Stack(root));
  stacks.get(root).update(data, setStateValue);
}
