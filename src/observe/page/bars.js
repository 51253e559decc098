// The last hour of a peer, as bars: one a minute, and what the chosen one says.

const MINUTES = 60;
const STEP = 4, TALL = 28;  // distance and height of bars

// What a minute is: its look, how tall it is of 1, and what it says.
function minute(history, at) {
  const place = history ? Math.round((at - history.from_ms) / 60000) : -1;
  const state = history?.states[place];
  if (!state) return { kind: 'unknown', tall: 0.1, text: `${minuteOf(at)}: not known` };
  const [requests, failures, errors, out] = ['requests', 'failures', '5xx', 'out_ms'].map((name) => history[name][place]);
  // What is no failure by the configuration is an error all the same.
  const wrong = Math.max(failures, errors);
  let kind = KINDS[mark(state)];
  if (kind === 'good') kind = wrong > 0 ? 'warn' : requests > 0 ? 'good' : 'idle';
  const trouble = Math.max(Math.min(1, out / 60000), requests ? Math.min(1, wrong / requests) : 0);
  const tall = kind === 'good' || kind === 'idle' || kind === 'off' ? 0.35 : 0.5 + 0.5 * trouble;
  const text = [
    `${minuteOf(at)}: ${plural(requests, 'request')}, ${plural(failures, 'failure')}`,
    errors > 0 && `5xx ${count(errors)}`, word(state), out > 0 && `${short(out)} not up`,
  ];
  return { kind, tall, text: text.filter(Boolean).join(', ') };
}

class Bars {
  constructor(address) {
    this.root = draw('svg', {
      viewBox: `0 0 ${MINUTES * STEP - 1} ${TALL}`, preserveAspectRatio: 'none', role: 'img', tabindex: 0,
    });
    this.address = address;
    this.bars = Array.from({ length: MINUTES }, (_, place) => {
      return this.root.appendChild(draw('rect', { x: place * STEP, width: STEP - 1 }));
    });
    this.root.addEventListener('pointermove', (event) => this.point(event));
    this.root.addEventListener('pointerdown', (event) => this.point(event));
    // A finger leaves when it is lifted; what it has chosen stays until another place is touched.
    this.root.addEventListener('pointerleave', (event) => event.pointerType === 'touch' || tip.leave(this));
    this.root.addEventListener('focus', () => this.choose(this.chosen ?? MINUTES - 1));
    this.root.addEventListener('blur', () => tip.leave(this));
    this.root.addEventListener('keydown', (event) => this.walk(event));
  }

  show(history, now) {
    const last = Math.floor(now / 60000) * 60000;
    this.minutes = this.bars.map((bar, place) => {
      const told = minute(history, last - (MINUTES - 1 - place) * 60000);
      const height = Math.max(1, Math.round(told.tall * TALL));
      // A frame is drawn around its edge: a hollow bar is half a pixel smaller.
      const edge = told.kind === 'off' ? 0.5 : 0;
      dress(bar, told.kind + (this.chosen === place ? ' chosen' : ''));
      for (const [name, value] of [['y', TALL - height + edge], ['height', height - 2 * edge]]) {
        if (bar.getAttribute(name) !== String(value)) bar.setAttribute(name, value);
      }
      return told;
    });
    this.root.setAttribute('aria-label', this.summary());
    tip.follow(this);
  }

  summary() {
    const those = (...kinds) => this.minutes.filter((told) => kinds.includes(told.kind)).length;
    const [bad, warn, known] = [those('bad', 'unproven'), those('warn'), MINUTES - those('unknown')];
    return `${this.address} in the last hour: ${plural(known, 'minute')} known, `
      + `${bad} in which it was out, ${warn} more with failures or errors. Arrow keys walk through the minutes.`;
  }

  point(event) {
    const box = this.root.getBoundingClientRect();
    this.choose(Math.floor(((event.clientX - box.left) / box.width) * MINUTES));
  }

  walk(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -MINUTES, End: MINUTES }[event.key];
    if (event.key === 'Escape') tip.leave(this);
    if (!steps) return;
    event.preventDefault();
    this.choose((this.chosen ?? MINUTES - 1) + steps);
  }

  choose(place) {
    this.light(Math.max(0, Math.min(MINUTES - 1, place)));
    tip.show(this);
  }

  light(place) {
    this.bars[this.chosen]?.classList.remove('chosen');
    this.chosen = place;
    this.bars[this.chosen]?.classList.add('chosen');
  }
}

// What the chosen minute says; one at a time.
const tip = {
  root: byId('tip'),
  show(bars) {
    if (this.bars !== bars) this.bars?.light(undefined);
    this.bars = bars;
    this.root.hidden = false;
    this.follow(bars);
  },
  // After a change, or when the page moved beneath it.
  follow(bars) {
    if (this.bars !== bars) return;
    say(this.root, bars.minutes[bars.chosen]?.text ?? '');
    const box = bars.root.getBoundingClientRect();
    const middle = box.left + ((bars.chosen + 0.5) / MINUTES) * box.width;
    const widest = document.documentElement.clientWidth - this.root.offsetWidth - 8;
    const left = Math.max(8, Math.min(widest, middle - this.root.offsetWidth / 2));
    this.root.style.left = `${left + scrollX}px`;
    this.root.style.top = `${box.top + scrollY - this.root.offsetHeight - 4}px`;
  },
  leave(bars) {
    if (this.bars !== bars) return;
    bars.light(undefined);
    this.bars = undefined;
    this.root.hidden = true;
  },
};
