"use strict";

// The page asks the API through the proxy that served it, shows who answered, and counts.

const API = "/api/hello";
const TIMEOUT_MS = 15000;
// What browsers open to one host over HTTP/1.1; more would only wait in the browser's queue.
const AT_ONCE = 6;

const $ = (id) => document.getElementById(id);

/** Why a request got no answer: its kind is counted, its message is shown. */
class NoAnswer extends Error {
  constructor(kind, explanation) {
    super(explanation ? `${kind}: ${explanation}` : kind);
    this.kind = kind;
  }
}

/** One request: who answered and what. Throws NoAnswer. */
async function ask() {
  let response;
  let body;
  try {
    response = await fetch(API, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    body = await response.text();
  } catch (error) {
    throw new NoAnswer(error.name === "TimeoutError" ? `no answer within ${TIMEOUT_MS / 1000} s` : "the connection to the proxy failed");
  }
  if (!response.ok) {
    throw explain(response, body);
  }
  return { text: body, replica: response.headers.get("X-Replica") || "unnamed" };
}

/** The status and what the error page says, without its markup and without saying its title twice. */
function explain(response, body) {
  const page = new DOMParser().parseFromString(body, "text/html");
  page.querySelectorAll("title, script, style").forEach((element) => element.remove());
  const status = `${response.status} ${response.statusText}`.trim();
  const said = page.documentElement.textContent.replace(/\s+/g, " ").trim();
  return new NoAnswer(status, (said.startsWith(status) ? said.slice(status.length) : said).replace(/^[:. ]+/, "").slice(0, 300));
}

async function greet() {
  try {
    const answer = await ask();
    $("dynamic-content").textContent = answer.text;
    $("replica").textContent = answer.replica;
  } catch (error) {
    $("dynamic-content").textContent = error.message;
    $("dynamic-content").classList.add("failed");
    $("replica").textContent = "none";
  }
}

/** Sends `total` requests, a few at a time, and draws after each answer. */
async function send(total) {
  const shares = new Map();
  const failures = new Map();
  let started = 0;
  let done = 0;

  const client = async () => {
    while (started < total) {
      started += 1;
      try {
        const { replica } = await ask();
        shares.set(replica, (shares.get(replica) || 0) + 1);
      } catch (error) {
        // Error pages carry a request id, so only the kind is the same twice; one message stands for it.
        const failure = failures.get(error.kind) || { count: 0, example: error.message };
        failure.count += 1;
        failures.set(error.kind, failure);
      }
      done += 1;
      $("status").textContent = `${done} of ${total} …`;
      draw(shares, countOf(failures));
    }
  };

  draw(shares, countOf(failures));
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, total) }, client));
  report(shares, failures, total);
}

const countOf = (failures) => [...failures.values()].reduce((total, failure) => total + failure.count, 0);

/** Bars in order of the replicas' names; what failed has a bar of its own, last. */
function draw(shares, failed) {
  const largest = Math.max(1, failed, ...shares.values());
  const bars = [...shares.entries()]
    .sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }))
    .map(([replica, count]) => {
      const item = bar(replica, count, largest);
      item.dataset.replica = replica;
      return item;
    });
  if (failed > 0) {
    const item = bar("no answer", failed, largest);
    item.classList.add("failed");
    bars.push(item);
  }
  $("chart").replaceChildren(...bars);
}

function bar(label, count, largest) {
  const item = document.createElement("li");
  item.dataset.count = count;
  const name = part("span", "name", label);
  name.title = label;
  const track = part("div", "track");
  const fill = part("div", "fill");
  fill.style.width = `${(100 * count) / largest}%`;
  track.append(fill);
  item.append(name, part("span", "value", String(count)), track);
  return item;
}

function part(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function report(shares, failures, total) {
  const failed = countOf(failures);
  const replicas = shares.size === 1 ? "1 replica" : `${shares.size} replicas`;
  const least = Math.min(...shares.values());
  const most = Math.max(...shares.values());
  const each = least === most ? `${most} each` : `${least} to ${most} each`;
  const answered = shares.size > 0 ? `${total - failed} of ${total} answered by ${replicas}, ${each}.` : `None of ${total} answered.`;
  const why = [...failures.values()].map(({ count, example }) => `${count} failed: ${example}`);
  $("status").textContent = [answered, ...why].join(" ");
  $("status").classList.toggle("failed", failed > 0);
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("send").disabled = true;
  $("status").classList.remove("failed");
  // Screen readers hear the result, not every step on the way.
  $("status").setAttribute("aria-busy", "true");
  try {
    await send($("count").valueAsNumber);
  } finally {
    $("status").removeAttribute("aria-busy");
    $("send").disabled = false;
  }
});

greet();
