"""Clients: wrk and h2load for load, h2load for a fixed rate, and one of our own that counts each answer."""

import concurrent.futures
import contextlib
import http.client
import pathlib
import re
import resource
import socket
import ssl
import subprocess
import tempfile
import threading
import urllib.request

from back_ends import answer_of
from machine import cpus_of_others

HERE = pathlib.Path(__file__).resolve().parent
BODY = b"0123456789abcdef" * 640
THREADS = 2
# At a fixed rate: a thread sends what is due every millisecond, and few of these at once are no burst.
RATE_THREADS = 8
# How many requests of a connection may be under way over HTTP/2.
STREAMS = 8
UNITS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}


def url(scenario, port):
    return f"{'https' if scenario.tls else 'http'}://127.0.0.1:{port}{scenario.path}"


def run(command):
    done = subprocess.run(["taskset", "-c", ",".join(map(str, sorted(cpus_of_others()))), *command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def load(scenario, port, seconds, connections):
    """As many requests as go: how many were answered, how many a second, p50 and p99 in ms, errors."""
    return h2load(scenario, port, seconds, connections) if scenario.http2 else wrk(scenario, port, seconds, connections)


def wrk(scenario, port, seconds, connections):
    command = ["wrk", "-t", str(THREADS), "-c", str(connections), "-d", f"{seconds}s", "--timeout", "10s", "--latency"]
    command += ["-H", "Connection: close"] if scenario.close else []
    command += ["-s", str(HERE / "post.lua")] if scenario.post else []
    out = run([*command, url(scenario, port)])

    def latency(part):
        value, unit = re.search(rf"^ +{part}% +([\d.]+)(us|ms|s|m)$", out, re.M).groups()
        return float(value) * UNITS[unit]

    errors = sum(int(n) for line in out.splitlines() if "Socket errors" in line or "Non-2xx" in line for n in re.findall(r"\d+", line.split(":", 1)[1]))
    return {
        "requests": int(re.search(r"(\d+) requests in", out).group(1)),
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)),
        "p50": latency(50),
        "p99": latency(99),
        "errors": errors,
    }


def h2load(scenario, port, seconds, connections, rate=None):
    """The same by h2load. At a rate that is given, a request waits for its turn and not for the one before it."""
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder, "log")
        threads = min(RATE_THREADS if rate else THREADS, connections)
        command = ["h2load", "-t", str(threads), "-D", str(seconds), "--log-file", str(log)]
        if scenario.http2:
            command += ["-c", str(max(connections // STREAMS, threads)), "-m", str(STREAMS)]
        else:
            command += ["--h1", "-c", str(connections), "-m", "1"]
        if rate:
            command += ["--rps", f"{rate / connections:.3f}"]
        out = run([*command, url(scenario, port)])
        times, errors = [], 0
        for line in log.read_text().splitlines():
            _, status, time = line.split("\t")[:3]
            if status.startswith("2"):
                times.append(int(time) / 1000)
            else:
                errors += 1
    if not times:
        raise SystemExit(f"h2load had no answer\n{out}")
    times.sort()
    failed, errored, timed_out = map(int, re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", out).groups())
    part = lambda share: times[min(int(len(times) * share), len(times) - 1)]
    return {
        "requests": len(times),
        "rate": len(times) / seconds,
        "p50": part(0.5),
        "p99": part(0.99),
        "errors": max(errors, failed, errored, timed_out),
    }


def tls(scenario):
    """Takes any certificate, and no TLS below 1.3."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def counted(scenario, port, requests, connections):
    """So many requests and not one more, over so many connections at a time; what was wrong with answers."""
    if scenario.http2:
        command = ["h2load", "-n", str(requests), "-c", str(max(connections // STREAMS, 1)), "-m", str(STREAMS), url(scenario, port)]
        out = run(command)
        wrong = [] if f"{requests} succeeded" in out else [re.search(r"requests: .+", out).group()]
        if "Application protocol: h2\n" not in out or "TLSv1.3" not in out:
            wrong.append("h2load spoke another protocol")
        return wrong
    expected = answer_of(scenario.path)

    def new():
        if scenario.tls:
            return http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=tls(scenario))
        return http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(count):
        wrong, connection = [], new()
        for _ in range(count):
            try:
                headers = {"Connection": "close"} if scenario.close else {}
                connection.request("POST" if scenario.post else "GET", scenario.path, BODY if scenario.post else None, headers)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200 or body != expected:
                    wrong.append(f"{answer.status} with {len(body)} bytes")
                if answer.will_close:
                    connection.close()
            except (OSError, http.client.HTTPException) as error:
                wrong.append(repr(error))
                connection.close()
        connection.close()
        return wrong

    with concurrent.futures.ThreadPoolExecutor(connections) as pool:
        shares = [requests // connections + (n < requests % connections) for n in range(connections)]
        return [w for wrong in pool.map(ask, shares) for w in wrong]


@contextlib.contextmanager
def scraping(address):
    """Asks for metrics once a second; yields a list of what went wrong."""
    wrong, over = [], threading.Event()

    def ask():
        while not over.wait(1):
            try:
                with urllib.request.urlopen(address, timeout=10) as answer:
                    if not answer.read():
                        wrong.append(f"{address} has nothing to say")
            except OSError as error:
                wrong.append(f"{address}: {error}")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield wrong
    finally:
        over.set()
        thread.join()


def may_open(connections):
    """Whether so many connections may be open here; raises the limit as far as it goes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard == resource.RLIM_INFINITY or hard > connections + 200


@contextlib.contextmanager
def idle(port, connections):
    """So many clients that were answered once and now only stay."""
    request = b"GET /api/hello HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(connections):
            s = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
            s.sendall(request)
            answer = b""
            while not answer.endswith(b"Hello, World!"):
                more = s.recv(4096)
                if not more:
                    raise SystemExit(f"no answer on {port}: {answer!r}")
                answer += more
        yield
