"""Do robin's metrics add up under load, as Prometheus reads them?

Clients with connections that are kept ask robin, with two threads, for what succeeds, fails, is retried, is refused
and is answered by robin itself; meanwhile the metrics are scraped all the time. Every scrape must be readable, have the
same series, and no counter may shrink. In the end every counter must equal what clients and back-ends saw.
"""

import argparse
import collections
import contextlib
import http.client
import os
import pathlib
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

CONFIG = """
threads: 2
listen: 127.0.0.1:{port}
status: 127.0.0.1:{status}
control: off
dashboard: off
retry: {{ budget: off }}
upstreams:
  api:
    servers: [{api}]
  shaky:
    servers: [{shaky}]
  nobody:
    servers: [{{ address: "127.0.0.1:1", down: on }}]
routes:
  /api/: api
  /shaky: shaky
  /nobody: nobody
  /named: "http://$http_x_target"
  /own: {{ rules: [return 204] }}
"""

PATHS = ["/api/ok", "/api/missing", "/api/sick", "/shaky", "/nobody", "/own", "/named"]
UPSTREAMS = {"/shaky": "shaky", "/nobody": "nobody", "/own": "", "/named": "(named by requests)"}


class BackEnd:
    """Answers by path; a broken one answers nothing and closes."""

    def __init__(self, broken=False):
        self.broken, self.requests, self.connections = broken, 0, 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.connections += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        head = b""
        with connection, contextlib.suppress(OSError):
            while more := connection.recv(65536):
                head += more
                if not head.endswith(b"\r\n\r\n"):
                    continue
                with self.lock:
                    self.requests += 1
                if self.broken:
                    return
                path = head.split(b" ")[1]
                status = {b"/api/missing": b"404", b"/api/sick": b"502"}.get(path, b"200")
                connection.sendall(b"HTTP/1.1 %s X\r\nContent-Length: 3\r\n\r\nok\n" % status)
                head = b""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask(port, number, target, end, seen, connections):
    """Asks for each path in turn until the end; notes statuses by path."""
    connection, turn = None, number
    while time.monotonic() < end:
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.connect()
            connections[number] += 1
        path = PATHS[turn % len(PATHS)]
        turn += 1
        connection.request("GET", path, headers={"X-Target": target, "X-Request-Id": f"{number}-{turn}"})
        answer = connection.getresponse()
        answer.read()
        seen[path, answer.status] += 1
        if answer.will_close:
            connection.close()
            connection = None


def scrape(port):
    """All samples by name and labels, and the types of the families."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    samples, types = {}, {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, f"{family.name} is not explained"
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in samples, f"{key} is there twice"
            samples[key], types[key] = sample.value, family.type
    return samples, types


def total(samples, name, **labels):
    wanted = {(key, str(value)) for key, value in labels.items()}
    return sum(value for (known, have), value in samples.items() if known == name and wanted <= set(have))


def grows(types, key):
    return types[key] in ("counter", "histogram") and not key[0].endswith("_created")


def check(problems, what, found, expected):
    if found != expected:
        problems.append(f"{what}: {found:g}, expected {expected:g}")


def adds_up(samples, seen, connections, back_ends):
    """What does not agree."""
    problems = []
    expected = collections.Counter()
    for (path, status), count in seen.items():
        expected[UPSTREAMS.get(path, "api"), f"{status // 100}xx"] += count
    for upstream in ("", "api", "shaky", "nobody", "(named by requests)"):
        for status in ("1xx", "2xx", "3xx", "4xx", "5xx"):
            found = total(samples, "robin_requests_total", upstream=upstream, status=status)
            check(problems, f"requests of `{upstream}` {status}", found, expected[upstream, status])
        requests = total(samples, "robin_requests_total", upstream=upstream)
        times = total(samples, "robin_request_duration_seconds_count", upstream=upstream)
        check(problems, f"times of `{upstream}`", times, requests)
        last = total(samples, "robin_request_duration_seconds_bucket", upstream=upstream, le="+Inf")
        check(problems, f"the last bucket of `{upstream}`", last, requests)
    check(problems, "all requests", total(samples, "robin_requests_total"), sum(seen.values()))
    check(problems, "connections of clients", total(samples, "robin_connections_accepted_total"), connections)
    check(problems, "requests in flight", total(samples, "robin_requests_in_flight"), 0)
    for upstream, peers in back_ends.items():
        for peer in peers:
            labels = {"upstream": upstream, "peer": peer.address}
            check(problems, f"attempts at {peer.address}", total(samples, "robin_attempts_total", **labels), peer.requests)
            opened = total(samples, "robin_peer_connections_total", reused="false", **labels)
            reused = total(samples, "robin_peer_connections_total", reused="true", **labels)
            check(problems, f"connections to {peer.address}", opened, peer.connections)
            check(problems, f"attempts over connections to {peer.address}", opened + reused, peer.requests)
            check(problems, f"attempts in flight at {peer.address}", total(samples, "robin_peer_in_flight", **labels), 0)
        opened = sum(peer.connections for peer in peers)
        connects = total(samples, "robin_upstream_connect_seconds_count", upstream=upstream)
        check(problems, f"connects of `{upstream}`", connects, opened)
    broken = back_ends["shaky"][0].requests
    check(problems, "retries", total(samples, "robin_retries_total"), broken)
    check(problems, "attempts without an answer", total(samples, "robin_attempts_total", status="none"), broken)
    answered = sum(p.requests for p in back_ends["api"])
    check(problems, "first bytes", total(samples, "robin_upstream_first_byte_seconds_count", upstream="api"), answered)
    unserved = expected["nobody", "5xx"]
    check(problems, "unserved", total(samples, "robin_unserved_total"), unserved)
    check(problems, "lines that were lost", total(samples, "robin_log_lines_dropped_total"), 0)
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robin", default="target/debug/robin")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()

    back_ends = {"api": [BackEnd(), BackEnd(), BackEnd()], "shaky": [BackEnd(broken=True), BackEnd()]}
    named = BackEnd()
    line = lambda peer: f'{{ address: "{peer.address}", max_fails: 0 }}'
    lines = {name: ", ".join(map(line, peers)) for name, peers in back_ends.items()}
    port, status = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        path = pathlib.Path(folder, "robin.yaml")
        path.write_text(CONFIG.format(port=port, status=status, **lines))
        log = stack.enter_context(open(os.path.join(folder, "log"), "wb"))
        process = subprocess.Popen([options.robin, "-c", str(path)], stdout=log, stderr=log)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                before, types = scrape(status)
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("robin does not listen:\n" + pathlib.Path(folder, "log").read_text())
            time.sleep(0.05)

        end = time.monotonic() + options.seconds
        seen, connections = [collections.Counter() for _ in range(options.clients)], collections.Counter()
        clients = [
            threading.Thread(target=ask, args=(port, n, named.address, end, seen[n], connections)) for n in range(options.clients)
        ]
        for client in clients:
            client.start()
        scrapes, samples = 0, before
        while any(client.is_alive() for client in clients):
            now, _ = scrape(status)
            assert now.keys() == before.keys(), f"series have come or gone: {now.keys() ^ before.keys()}"
            shrunk = [key for key in now if grows(types, key) and now[key] < samples[key]]
            assert not shrunk, f"counters have shrunk: {shrunk}"
            samples, scrapes = now, scrapes + 1
            time.sleep(0.05)
        for client in clients:
            client.join()
        seen = sum(seen, collections.Counter())
        # A client has its answer a moment before the request has ended.
        deadline = time.monotonic() + 10
        while True:
            samples, _ = scrape(status)
            problems = adds_up(samples, seen, sum(connections.values()), back_ends)
            if not problems or time.monotonic() > deadline:
                break
            time.sleep(0.05)

    for (path, code), count in sorted(seen.items()):
        print(f"{count:8} {path} {code}")
    attempts = sum(peer.requests for peers in back_ends.values() for peer in peers)
    print(f"{sum(seen.values()):8} requests on {sum(connections.values())} connections, {attempts} attempts, "
          f"{len(samples)} series, {scrapes} scrapes meanwhile")
    if problems:
        raise SystemExit("metrics do not add up:\n" + "\n".join(problems))
    print("metrics add up")


if __name__ == "__main__":
    main()
