// The words and marks of robin's other views, and how figures are written.

// The marks and words of the dashboard in the log.
const STATES = {
  up: ['+', 'up'],
  full: ['+', 'full'],
  ejected: ['!', 'ejected'],
  failing: ['!', 'failing probes'],
  probation: ['~', 'on probation'],
  waiting: ['~', 'waiting for first probe'],
  absent: ['-', 'absent from DNS'],
  draining: ['-', 'draining'],
  down: ['-', 'down'],
};
const KINDS = { '+': 'good', '!': 'bad', '~': 'unproven', '-': 'off' };
const mark = (state) => (STATES[state] ?? ['~'])[0];
const word = (state) => (STATES[state] ?? ['~', state])[1];
const isUp = (peer) => mark(peer.state) === '+';

const whole = new Intl.NumberFormat('en-GB');
const count = (number) => whole.format(number);
const rate = (number) => (number < 9.95 ? number.toFixed(1) : whole.format(Math.round(number)));
const two = (number) => String(number).padStart(2, '0');

// Two units at most, as everywhere in robin: 7ms, 1.5s, 12s, 3m12s, 2h05m, 3d04h.
function short(millis) {
  const seconds = Math.floor(millis / 1000);
  const minutes = Math.floor(seconds / 60), hours = Math.floor(seconds / 3600), days = Math.floor(seconds / 86400);
  if (seconds === 0 && millis >= 1) return `${Math.floor(millis)}ms`;
  if (seconds < 10 && millis % 1000 >= 100) return `${seconds}.${Math.floor((millis % 1000) / 100)}s`;
  if (minutes === 0) return `${seconds}s`;
  if (hours === 0) return `${minutes}m${two(seconds % 60)}s`;
  if (days === 0) return `${hours}h${two(minutes % 60)}m`;
  return `${days}d${two(hours % 24)}h`;
}

const latency = (millis) => {
  if (millis == null) return '';
  if (millis < 1) return '<1ms';
  return millis < 10 ? `${millis.toFixed(1)}ms` : short(millis);
};

const minuteOf = (millis) => {
  const time = new Date(millis);
  return `${two(time.getHours())}:${two(time.getMinutes())}`;
};
const secondOf = (millis) => `${minuteOf(millis)}:${two(new Date(millis).getSeconds())}`;
const dayOf = (millis) => new Date(millis).toDateString();

// "since 14:31", with the day where it was another one.
function moment(millis, now) {
  const day = dayOf(millis) === dayOf(now) ? '' : `${new Date(millis).toLocaleDateString('en-GB', { day: 'numeric', month: 'short' })} `;
  return day + minuteOf(millis);
}

const plural = (number, one) => `${count(number)} ${one}${number === 1 ? '' : 's'}`;

function classes(statuses, only) {
  return Object.entries(statuses ?? {}).filter(([name, number]) => number > 0 && (!only || only.includes(name)));
}
