// The keyboard on the picture: arrows and Enter do what the mouse does, Escape leaves, Tab is never taken.
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const SLICES = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -1e6, End: 1e6 };
const TOOLS = { w: 'window', d: 'distance', e: 'ellipse' };
const ZOOMS = { '+': 1.25, '=': 1.25, '-': 0.8 };
const PAN_PX = 40, SWIPE_STEP = 0.02, SWIPE_LARGE = 0.1;
const TOOL_HELP = {
  window: 'Window: left and right change the width, up and down the level.',
  distance: 'Distance: arrows move the crosshair, Enter sets both ends.',
  ellipse: 'Ellipse: arrows move the crosshair, Enter sets two corners.',
};

class Keys {
  constructor(viewer, announcer) {
    const find = selector => viewer.root.querySelector(selector);
    this.viewer = viewer; this.announcer = announcer; this.help = find('.help');
    this.crosshair = new Crosshair(viewer.root.querySelectorAll('.aim'));
    viewer.stage.addEventListener('keydown', event => {
      if (event.target === viewer.stage && this.onStage(event)) this.taken(event);
    });
    viewer.stage.addEventListener('blur', () => this.hideCrosshair());
    viewer.divider.addEventListener('keydown', event => { if (this.onDivider(event)) this.taken(event); });
    find('.viewer').addEventListener('keydown', event => { if (this.onViewer(event)) this.taken(event); });
  }

  // Streamlit has keys of its own, which must not hear of these.
  taken(event) { event.preventDefault(); event.stopPropagation(); }

  isForBrowser(event) { return event.ctrlKey || event.metaKey || event.altKey; }

  onViewer(event) {
    if (event.key === '?' && !this.isForBrowser(event)) this.toggleHelp(!this.help.open);
    else if (event.key === 'Escape' && this.help.open) this.toggleHelp(false);
    else return false;
    return true;
  }

  toggleHelp(on) {
    this.help.open = on;
    (on ? this.help.querySelector('summary') : this.viewer.stage).focus();
  }

  onDivider(event) {
    if (this.isForBrowser(event)) return false;
    const { viewer } = this, step = event.shiftKey ? SWIPE_LARGE : SWIPE_STEP, arrow = ARROWS[event.key];
    if (arrow) viewer.swipeTo(viewer.swipe + step * (arrow[0] || -arrow[1]));
    else if (event.key === 'PageUp' || event.key === 'PageDown') viewer.swipeTo(viewer.swipe + (event.key === 'PageUp' ? SWIPE_LARGE : -SWIPE_LARGE));
    else if (event.key === 'Home' || event.key === 'End') viewer.swipeTo(event.key === 'Home' ? 0 : 1);
    else return false;
    return true;
  }

  onStage(event) {
    if (this.isForBrowser(event) || !this.viewer.data) return false;
    const { viewer } = this, key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key in ARROWS && this.arrow(key, event.shiftKey)) return true;
    if (key in SLICES && viewer.data.stacked) viewer.step(SLICES[key]);
    else if (key in ZOOMS) viewer.zoom.byKey(ZOOMS[key]);
    else if (key === '0') viewer.resetAll();
    else if (key in TOOLS) viewer.choose(TOOLS[key], { byKey: true });
    else if (key === 'f') viewer.fullScreen();
    else if (key === ' ' && viewer.data.stacked) viewer.playing(!viewer.timer);
    else if (key === 'Enter') this.enter();
    else if (key === 'Escape') return this.escape();
    else return false;
    return true;
  }

  arrow(key, isLarge) {
    const { viewer, crosshair } = this, [right, down] = ARROWS[key];
    if (viewer.tool === 'window') return viewer.nudgeWindow(right, down, isLarge);
    if (crosshair.shown || viewer.measures.tool || viewer.data.marking && !viewer.data.stacked) return this.aim([right, down], isLarge);
    if (viewer.data.stacked || viewer.zoom.factor === 1) return false;
    viewer.zoom.moveBy(-PAN_PX * right, -PAN_PX * down);
    return true;
  }

  aim(by, isLarge) {
    const { viewer, crosshair } = this;
    crosshair.shown = true;
    crosshair.move(by, isLarge, viewer.zoom.factor);
    viewer.zoom.keepInSight(crosshair.at);
    if (viewer.measures.open) viewer.measures.move(crosshair.at);
    this.sayPlace();
    return true;
  }

  sayPlace() {
    const value = this.viewer.showValue(this.crosshair.at);
    this.announcer.say(`At ${this.viewer.placeInWords(this.crosshair.at)}${value && `: ${value}`}`);
  }

  showCrosshair() {
    this.crosshair.show(true);
    this.viewer.zoom.keepInSight(this.crosshair.at);
    this.viewer.showValue(this.crosshair.at);
  }

  hideCrosshair() {
    if (!this.crosshair.shown) return;
    this.viewer.measures.cancel();
    this.crosshair.show(false);
    this.viewer.under.textContent = '';
  }

  enter() {
    const { viewer, crosshair } = this, { measures, data } = viewer;
    if (viewer.tool === 'window') return;
    if (!crosshair.shown) {
      this.showCrosshair();
      const does = measures.tool ? 'sets an end' : data.marking ? 'marks' : 'reads the value';
      this.announcer.say(`Crosshair: arrows move it, Enter ${does}, Escape leaves.`);
    } else if (viewer.previewing) this.announcer.say('This slice is still loading. Press Enter again.');
    else if (measures.open) viewer.endMeasure();
    else if (measures.tool) {
      measures.start(crosshair.at);
      this.announcer.say(`First end at ${viewer.placeInWords(crosshair.at)}`);
    } else if (data.marking) viewer.mark(crosshair.at);
    else this.sayPlace();
  }

  escape() {
    const { viewer, crosshair, announcer } = this, { measures } = viewer;
    if (measures.open) { measures.cancel(); announcer.say('Measurement dropped'); return true; }
    if (viewer.tool || crosshair.shown) {
      announcer.say(viewer.tool ? 'Tool off' : 'Crosshair off');
      this.hideCrosshair();
      if (viewer.tool) viewer.choose(viewer.tool);
      return true;
    }
    if (!measures.all.length) return false;
    measures.clear();
    announcer.say('Measurements cleared');
    return true;
  }
}
