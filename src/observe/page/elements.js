// Elements, and what many of them show: rates and their lines.

const EVERY = 1000;  // milliseconds between two answers
const SPARK = 120;   // points of a line: two minutes

const byId = (id) => document.getElementById(id);

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text != null) element.textContent = text;
  return element;
}

function draw(tag, attributes) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function dress(element, className) {
  if (element.getAttribute('class') !== className) element.setAttribute('class', className);
}

// Keeps one child of `parent` for each item, in their order; what `begin` returns has the child as `root`.
function each(parent, items, keyOf, begin, change) {
  const known = (parent.kept ??= new Map());
  const wanted = new Set(items.map(keyOf));
  for (const [key, kept] of known) {
    if (!wanted.has(key)) {
      kept.root.remove();
      known.delete(key);
    }
  }
  items.forEach((item, place) => {
    const key = keyOf(item);
    if (!known.has(key)) known.set(key, begin(item));
    const kept = known.get(key);
    if (parent.children[place] !== kept.root) parent.insertBefore(kept.root, parent.children[place] ?? null);
    change(kept, item);
  });
}

// A counter only grows, so what is shown of it is its growth between answers.
class Growth {
  samples = [];
  points = [];

  // Takes a counter's value at a moment of the server's clock; one that is less began anew.
  see(at, value) {
    const last = this.samples.at(-1);
    if (at === last?.at) return;
    if (last && (value < last.value || at < last.at || at - last.at > 10 * EVERY)) this.samples = [];
    const before = this.samples.at(-1);
    this.samples.push({ at, value });
    if (this.samples.length > 6) this.samples.shift();
    if (before) this.points.push(((value - before.value) * 1000) / (at - before.at));
    if (this.points.length > SPARK) this.points.shift();
  }

  // A second's growth, over the last five; none before there were two answers.
  get rate() {
    const [first, last] = [this.samples[0], this.samples.at(-1)];
    return first === last ? null : ((last.value - first.value) * 1000) / (last.at - first.at);
  }

  get text() {
    return this.rate == null ? '–' : rate(this.rate);
  }
}

class Spark {
  constructor(of) {
    this.root = draw('svg', { class: 'spark', viewBox: `0 0 ${SPARK - 1} 100`, preserveAspectRatio: 'none', role: 'img' });
    this.area = this.root.appendChild(draw('path', { class: 'area' }));
    this.line = this.root.appendChild(draw('path', {}));
    this.of = of;
  }

  show(points) {
    const most = Math.max(1, ...points);
    const from = SPARK - points.length;
    const line = points.map((y, x) => `${from + x},${(97 - (y / most) * 94).toFixed(1)}`).join(' ');
    this.line.setAttribute('d', line && `M${line}`);
    this.area.setAttribute('d', line && `M${from},100 L${line} ${SPARK - 1},100 Z`);
    const peak = points.length ? rate(Math.max(...points)) : '0';
    this.root.setAttribute('aria-label', `${this.of}: requests a second in the last two minutes, at most ${peak}`);
  }
}
