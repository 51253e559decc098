// An upstream is a section with a table, a peer is a row of it.

const COLUMNS = [
  ['peer', 'peer'], ['state', 'state'], ['share', 'number'], ['requests/s', 'number wide'], ['in flight', 'number'],
  ['p50', 'number'], ['p99', 'number'], ['failures', 'number wide'], ['ejections', 'number wide'], ['last probe', 'probe'],
  ['last hour', 'bars'],
];

class Row {
  constructor(peer) {
    // Where a phone's style makes sheets of rows, browsers forget that this is a table, but for the roles.
    this.root = make('tr');
    this.root.setAttribute('role', 'row');
    this.cells = COLUMNS.map(([name, className], place) => {
      const cell = make(place ? 'td' : 'th', className);
      cell.setAttribute('role', place ? 'cell' : 'rowheader');
      if (place) cell.dataset.name = name;
      else cell.scope = 'row';
      return this.root.appendChild(cell);
    });
    const [name, state, , , , , , failures, , probe, hour] = this.cells;
    this.mark = name.appendChild(make('span', 'mark'));
    this.address = name.appendChild(make('span', 'address'));
    this.about = name.appendChild(make('span', 'sub'));
    this.reason = state.appendChild(make('span'));
    this.since = state.appendChild(make('span', 'sub'));
    this.failures = failures.appendChild(make('span'));
    this.kinds = failures.appendChild(make('span', 'sub'));
    this.probe = probe.appendChild(make('span'));
    this.probes = probe.appendChild(make('span', 'sub'));
    this.bars = new Bars(peer.address);
    hour.append(this.bars.root);
    this.growth = new Growth();
  }

  show(peer, upstream, status) {
    const left = peer.left;
    const sign = left ? '-' : mark(peer.state);
    const kind = KINDS[sign];
    dress(this.root, left ? 'gone' : '');
    dress(this.mark, `mark ${kind}`);
    say(this.mark, `${sign} `);
    say(this.address, peer.address);
    const about = [upstream.hosts > 1 && peer.host, peer.tier === 'backup' && 'backup', peer.weight > 1 && `weight ${peer.weight}`];
    say(this.about, about.filter(Boolean).join(', '));
    dress(this.reason, kind === 'good' ? '' : kind);
    say(this.reason, peer.reason);
    const since = moment(status.now_ms - peer.for_ms, status.now_ms);
    say(this.since, `for ${short(peer.for_ms)}, since ${since}${unlike(peer)}`);
    this.bars.show(peer.history, status.now_ms);
    if (!left) this.figures(peer, upstream, status);
  }

  figures(peer, upstream, status) {
    const [, , share, speed, inFlight, p50, p99, , ejections] = this.cells;
    this.growth.see(status.uptime_ms, peer.requests);
    say(share, upstream.asked ? `${((peer.requests * 100) / upstream.asked).toFixed(1)}%` : '-');
    say(speed, this.growth.text);
    say(inFlight, peer.max_conns ? `${peer.in_flight} of ${peer.max_conns}` : count(peer.in_flight));
    say(p50, latency(peer.p50_ms) || '–');
    say(p99, latency(peer.p99_ms) || '–');
    say(this.failures, count(peer.failures));
    const kinds = classes(peer.statuses, ['5xx', 'none']);
    say(this.kinds, kinds.map(([name, number]) => `${name} ${count(number)}`).join(', '));
    say(ejections, count(peer.ejections));
    this.showProbe(peer);
  }

  showProbe({ last_probe: last, probes, probes_passed: passed, probes_failed: failed }) {
    dress(this.probe, last?.failed ? 'bad' : '');
    if (last?.failed) say(this.probe, last.failed.error);
    else say(this.probe, last?.passed ? `passed in ${latency(last.passed.took_ms)}` : '–');
    const row = probes?.last ? `${probes.in_a_row} in a row, ` : '';
    say(this.probes, passed + failed ? `${row}${count(failed)} of ${count(passed + failed)} failed` : '');
  }
}

// What traffic says of a peer, where that is not what its state says already.
function unlike({ state, traffic }) {
  if (!traffic || traffic.state === 'up' || traffic.state === state) return '';
  return `; by traffic ${word(traffic.state)}${traffic.cause ? ` for ${traffic.cause}` : ''}`;
}

const of = (upstream, tier) => {
  const peers = upstream.peers.filter((peer) => peer.tier === tier);
  return [peers.filter(isUp).length, peers.length];
};

// The first line of the dashboard says this of an upstream,
function brief(upstream) {
  if (!upstream.peers.length) return `${upstream.name} no addresses`;
  const [up, all] = of(upstream, 'primary');
  const [backups, ofBackups] = of(upstream, 'backup');
  const primaries = `${upstream.name} ${up ? `${up}/${all}` : `NONE of ${all}`} up`;
  return primaries + (ofBackups ? `, backups ${backups}/${ofBackups}` : '') + (upstream.panic ? ', panic' : '');
}

// and this its heading.
function heading(upstream) {
  const trouble = upstream.trouble;
  if (!upstream.peers.length) return `${upstream.name}: no addresses${trouble ? `: ${trouble}` : ' yet'}`;
  const [up, all] = of(upstream, 'primary');
  const [backups, ofBackups] = of(upstream, 'backup');
  return `${upstream.name}: ${up}/${all} peers up`
    + (ofBackups ? `, ${backups}/${ofBackups} backups up` : '')
    + (upstream.panic ? ', panic: too many are out, all are used' : '')
    + (trouble ? ` (${trouble})` : '');
}

// The worst that is to be seen among its peers.
function worst(upstream) {
  if (!upstream.peers.some(isUp)) return '!';
  return ['!', '~', '-'].find((sign) => upstream.peers.some((peer) => mark(peer.state) === sign)) ?? '+';
}

class Section {
  constructor(upstream) {
    this.root = make('section');
    this.root.id = `upstream-${upstream.name}`;
    const head = this.root.appendChild(make('div', 'head'));
    const title = head.appendChild(make('h2'));
    this.mark = title.appendChild(make('span', 'mark'));
    this.heading = title.appendChild(make('span'));
    this.rate = head.appendChild(make('span', 'rate'));
    this.spark = new Spark(upstream.name);
    head.append(this.spark.root);
    this.facts = this.root.appendChild(make('div', 'facts'));
    this.lookups = this.root.appendChild(make('div', 'facts'));
    this.table(upstream.name);
    this.growth = new Growth();
  }

  table(name) {
    this.peers = this.root.appendChild(make('table'));
    this.peers.setAttribute('role', 'table');
    this.peers.setAttribute('aria-label', `peers of ${name}`);
    const head = this.peers.appendChild(make('thead'));
    head.setAttribute('role', 'rowgroup');
    const row = head.appendChild(make('tr'));
    row.setAttribute('role', 'row');
    for (const [column, className] of COLUMNS) {
      const cell = row.appendChild(make('th', className, column));
      cell.scope = 'col';
      cell.setAttribute('role', 'columnheader');
    }
    this.rows = this.peers.appendChild(make('tbody'));
    this.rows.setAttribute('role', 'rowgroup');
  }

  show(upstream, status) {
    const sign = worst(upstream);
    dress(this.mark, `mark ${KINDS[sign]}`);
    say(this.mark, `${sign} `);
    say(this.heading, heading(upstream));
    const served = classes(upstream.statuses).reduce((sum, [, number]) => sum + number, 0);
    this.growth.see(status.uptime_ms, served);
    say(this.rate, `${this.growth.text} requests/s`);
    this.spark.show(this.growth.points);
    each(this.facts, facts(upstream, served), ([name]) => name, fact, changeFact);
    each(this.lookups, upstream.lookups ?? [], (lookup) => lookup.host, () => ({ root: make('span') }), changeLookup);
    const left = (upstream.left ?? []).map((peer) => ({ ...peer, left: true }));
    const rows = [...upstream.peers, ...left];
    // What each of its rows asks.
    upstream.hosts = new Set(upstream.peers.map((peer) => peer.host)).size;
    upstream.asked = upstream.peers.reduce((sum, peer) => sum + peer.requests, 0);
    this.peers.hidden = !rows.length;
    each(this.rows, rows, (peer) => `${peer.left ? 'left' : 'peer'} ${peer.address}`,
      (peer) => new Row(peer), (row, peer) => row.show(peer, upstream, status));
  }
}

// Names and figures, some with the kind of trouble that they are.
function facts(upstream, served) {
  const { queue } = upstream;
  return [
    ['requests', count(served)],
    ...classes(upstream.statuses).map(([name, number]) => [name, count(number), name === '5xx' ? 'bad' : '']),
    ['retries', count(upstream.retries), upstream.retries ? 'warn' : ''],
    ['hedges', count(upstream.hedges)],
    ['unserved', count(upstream.unserved), upstream.unserved ? 'bad' : ''],
    ...(queue ? [['queue', `${queue.waiting} of ${queue.max} waiting, ${count(queue.refused)} refused`]] : []),
  ];
}

function fact([name]) {
  const root = make('span', '', `${name} `);
  return { root, figure: root.appendChild(make('b')) };
}

function changeFact({ figure }, [, text, kind]) {
  dress(figure, kind ?? '');
  say(figure, text);
}

function changeLookup({ root }, { host, addresses, age_ms: age, error, bad }) {
  const known = addresses === 1 ? '1 address' : `${count(addresses)} addresses`;
  const when = age == null ? 'never looked up' : `looked up ${short(age)} ago`;
  say(root, `${host}: ${known}, ${when}` + (bad ? `, ${plural(bad, 'lookup')} failed` : '') + (error ? `: ${error}` : ''));
  dress(root, error ? 'bad' : '');
}
