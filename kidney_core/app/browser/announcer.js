// What changed, as a line under the picture that screen readers speak: the last of several quick changes alone.
const QUIET_MS = 400;

class Announcer {
  constructor(node) { this.node = node; }

  say(text) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { if (this.node.textContent !== text) this.node.textContent = text; }, QUIET_MS);
  }
}
