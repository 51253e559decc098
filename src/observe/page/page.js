// Asks for status.json once a second and shows it. All text of it is set as text, never as markup. Elements are
// made once and changed afterwards, so that what is selected, focused or scrolled stays so.

const overview = { growth: new Growth(), spark: new Spark('robin') };

function showOverview(status) {
  overview.growth.see(status.uptime_ms, status.requests);
  overview.spark.show(overview.growth.points);
  const own = classes(status.own).map(([name, number]) => `${name} ${count(number)}`).join(', ');
  const lost = status.access_lines_lost + status.event_lines_lost;
  const figures = [
    ['requests/s', overview.growth.text],
    ['in flight', count(status.requests_in_flight)],
    ['connections', count(status.connections_open)],
    ['up for', short(status.uptime_ms)],
    ['requests', count(status.requests)],
    ...(own ? [['answered by robin itself', own]] : []),
    ...(status.reloads ? [['reloads', count(status.reloads)]] : []),
    ...(status.reloads_refused ? [['reloads refused', count(status.reloads_refused), 'bad']] : []),
    ...(lost ? [['log lines lost', count(lost), 'bad']] : []),
  ];
  each(byId('overview'), [['spark'], ...figures], ([name]) => name, beginFigure, (figure, [, text, kind]) => {
    if (!figure.value) return;
    say(figure.value, text);
    dress(figure.value, kind ?? '');
  });
}

function beginFigure([name]) {
  const root = make('div');
  if (name === 'spark') {
    root.append(overview.spark.root);
    return { root };
  }
  root.append(make('dt', '', name));
  return { root, value: root.appendChild(make('dd')) };
}

function showBrief(upstreams) {
  const begin = (upstream) => {
    const root = make('li');
    const link = root.appendChild(make('a'));
    link.href = `#upstream-${encodeURIComponent(upstream.name)}`;
    return { root, mark: link.appendChild(make('span', 'mark')), text: link.appendChild(make('span')) };
  };
  each(byId('brief'), upstreams, ({ key }) => key, begin, (kept, upstream) => {
    const sign = worst(upstream);
    dress(kept.mark, `mark ${KINDS[sign]}`);
    say(kept.mark, `${sign} `);
    say(kept.text, brief(upstream));
  });
  const signs = upstreams.map(worst);
  const sign = ['!', '~', '-'].find((sign) => signs.includes(sign)) ?? '+';
  document.title = `${sign} robin: ${upstreams.length ? upstreams.map(brief).join('; ') : 'no upstreams'}`;
}

const LEVELS = { ERROR: 'bad', WARN: 'warn', INFO: 'off' };

// Items with a `key`, also where several have one name.
function keyed(items, nameOf) {
  const seen = new Map();
  return items.map((item) => {
    const name = nameOf(item);
    seen.set(name, (seen.get(name) ?? 0) + 1);
    return { ...item, key: `${name} ${seen.get(name)}` };
  });
}

// The newest first.
function showEvents(events, now) {
  byId('latest').hidden = !events.length;
  const lines = keyed(events, (event) => `${event.at_ms} ${event.text}`);
  each(byId('events'), lines.reverse(), ({ key }) => key, beginEvent, ({ time }, event) => {
    const day = moment(event.at_ms, now).slice(0, -5);
    say(time, day + secondOf(event.at_ms));
  });
}

function beginEvent({ at_ms: at, level, event, text }) {
  const root = make('li');
  const time = root.appendChild(make('time'));
  time.dateTime = new Date(at).toISOString();
  root.append(make('span', LEVELS[level] ?? 'off', level));
  const line = root.appendChild(make('p'));
  line.append(make('span', '', event), make('span', 'dim', text.slice(event.length)));
  return { root, time };
}

function show(status) {
  say(byId('version'), status.version);
  showOverview(status);
  // An address that a route leads to can be written as an upstream's name is.
  const upstreams = keyed(status.upstreams, ({ name }) => name);
  showBrief(upstreams);
  each(byId('upstreams'), upstreams, ({ key }) => key,
    (upstream) => new Section(upstream), (section, upstream) => section.show(upstream, status));
  showEvents(status.events, status.now_ms);
}

const PATIENCE = 5000;        // milliseconds for an answer
let answered = null;          // when the last answer came
let failure = null;           // why there is none since; null where there is
let next = 0;                 // the timer of the next question
let asking = false;

async function ask() {
  clearTimeout(next);
  if (asking) return;
  asking = true;
  const began = performance.now();
  try {
    const answer = await fetch('status.json', { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
    [answered, failure] = [performance.now(), null];
  } catch (error) {
    failure = error.name === 'TimeoutError' ? 'timed out' : error.message;
  }
  asking = false;
  tell();
  next = setTimeout(ask, Math.max(100, EVERY - (performance.now() - began)));
}

// Whether what is shown is true at this moment. To a screen reader only a change is told.
function tell() {
  const connection = byId('connection');
  document.body.classList.toggle('stale', failure != null);
  connection.className = failure == null ? 'dim' : 'bad';
  if (failure == null) say(connection, 'live, each second');
  else say(connection, answered == null ? 'no answer yet' : `no answer since ${short(Math.floor((performance.now() - answered) / 1000) * 1000)}`);
  connection.title = failure ?? '';
  say(byId('announcement'), failure == null ? 'robin answers' : 'robin does not answer');
}

for (const [kind, tall, text] of [
  ['good', 0.35, 'up'], ['idle', 0.35, 'up, no requests'], ['warn', 0.6, 'failures or 5xx, or unproven'], ['bad', 1, 'out'],
  ['off', 0.35, 'out on purpose'], ['unknown', 0.1, 'not known'],
]) {
  const edge = kind === 'off' ? 0.5 : 0;
  const entry = byId('key').appendChild(make('span'));
  const picture = entry.appendChild(draw('svg', { viewBox: '0 0 7 14', 'aria-hidden': 'true' }));
  const [width, height] = [5 - 2 * edge, Math.round(tall * 14) - 2 * edge];
  picture.append(draw('rect', { class: kind, x: 1 + edge, y: 14 - height - edge, width, height }));
  entry.append(text);
}
addEventListener('resize', () => tip.bars && tip.follow(tip.bars));
document.addEventListener('visibilitychange', () => document.hidden || ask());
setInterval(() => failure != null && tell(), EVERY);
ask();
