"""Runs a scenario: the proxies are started, checked with a counted number of requests, and measured in turn."""

import contextlib
import pathlib
import shutil
import subprocess
import threading
import time
import urllib.request

import clients
from back_ends import Counts
from machine import cpu_seconds, cpus_of_proxies, free_port, memory, running
from proxies import Nginx, Setup
from scenarios import SCENARIOS

# Requests of the check before a measurement: enough for each connection to serve several.
COUNTED = 1000
# Of nginx's most, at the fixed rate.
SHARE = 0.3
PLAIN = next(s for s in SCENARIOS if s.name == "keep-alive")


class Bench:
    """What all scenarios share: the back-ends, a certificate, how long and how much; and what has gone wrong so far."""

    def __init__(self, folder, back_ends, options):
        self.folder = pathlib.Path(folder)
        self.back_ends = back_ends
        self.options = options
        self.failures = []
        self.number = 0
        self.certificate()

    def certificate(self):
        """Names a P-256 key, as most sites have."""
        self.key, self.cert, self.pem = (self.folder / name for name in ("key.pem", "cert.pem", "both.pem"))
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", str(self.key), "-out", str(self.cert)]
        subprocess.run(command, check=True, capture_output=True)
        self.pem.write_text(self.cert.read_text() + self.key.read_text())

    def fail(self, scenario, proxy, what):
        """The run goes on: what else is wrong is of interest, too."""
        self.failures.append(f"{scenario.name}, {proxy.name}: {what}")
        print(f"FAILED: {self.failures[-1]}", flush=True)

    @contextlib.contextmanager
    def started(self, proxy, scenario):
        """A proxy: its process, its port, and where its metrics are."""
        self.number += 1
        own = self.folder / f"{self.number}-{proxy.name}"
        own.mkdir()
        port, status = free_port(), free_port()
        ports = [b.port for b in self.back_ends]
        setup = Setup(scenario, own, port, status, ports, self.folder / "files", self.cert, self.key, self.pem)
        command, env = proxy.start(setup)
        with running(command, port, own / "out", cpus_of_proxies(), env) as process:
            yield process.pid, port, f"http://127.0.0.1:{status}{proxy.metrics}"

    def check(self, proxy, scenario, port):
        """Every one of a counted number of requests is answered, comes to a back-end once, and to both alike."""
        counts = Counts(self.back_ends)
        wrong = clients.counted(scenario, port, COUNTED, self.options.connections)
        if wrong:
            self.fail(scenario, proxy, f"{len(wrong)} of {COUNTED} requests went wrong: {wrong[0]}")
        _, _, came = counts.done()
        expected = COUNTED if scenario.tells_back_ends() else 0
        if sum(came) != expected:
            self.fail(scenario, proxy, f"{expected} requests came to the back-ends as {sum(came)}")
        elif abs(came[0] - came[1]) > proxy.uneven:
            self.fail(scenario, proxy, f"{expected} requests were shared out as {came[0]} and {came[1]}")

    def loaded(self, proxy, scenario, pid, port, metrics, load):
        """One run of a load."""
        counts = Counts(self.back_ends)
        scrapes = clients.scraping(metrics) if scenario.metrics else contextlib.nullcontext([])
        # Pools of connections are empty at first: those that idle while the others have their turn are closed.
        half = threading.Timer(self.options.seconds / 2, counts.mark)
        half.start()
        with scrapes as wrong:
            before = cpu_seconds(pid)
            run = load(scenario, port)
            cpu = cpu_seconds(pid) - before
        half.join()
        run["cpu"] = cpu / run["requests"] * 1e6
        run["connections"], run["steady"], came = counts.done()
        run["errors"] += len(wrong)
        if run["errors"]:
            self.fail(scenario, proxy, f"{run['errors']} errors {wrong[:1] or ''}")
        if scenario.tells_back_ends():
            # What was under way when the client left came to a back-end, and nobody saw its answer.
            beyond, under_way = sum(came) - run["requests"], self.options.connections
            if not 0 <= beyond <= under_way:
                self.fail(scenario, proxy, f"{run['requests']} requests were answered and {sum(came)} came to the back-ends")
            if abs(came[0] - came[1]) > under_way + proxy.uneven:
                self.fail(scenario, proxy, f"requests were shared out as {came[0]} and {came[1]}")
        return run

    def load(self, scenario, proxies):
        """Runs of each proxy, in turn: a machine that is noisy for a while is noisy for all."""
        options = self.options
        load = lambda scenario, port: clients.load(scenario, port, options.seconds, options.connections)
        return self.in_turn(scenario, proxies, load, options.rounds or 7)

    def rate(self, scenario, proxies):
        """The same at a share of what nginx could do."""
        options = self.options
        with self.started(Nginx(shutil.which("nginx")), PLAIN) as (_, port, _):
            clients.load(PLAIN, port, 1, options.connections)
            most = clients.load(PLAIN, port, options.seconds, options.connections)["rate"]
        rate = most * SHARE
        load = lambda scenario, port: clients.h2load(scenario, port, options.seconds, options.connections, rate)
        return self.in_turn(scenario, proxies, load, options.rounds or 9)

    def in_turn(self, scenario, proxies, load, rounds):
        runs = {proxy.name: [] for proxy in proxies}
        with contextlib.ExitStack() as stack:
            there = [(proxy, *stack.enter_context(self.started(proxy, scenario))) for proxy in proxies]
            for proxy, _, port, _ in there:
                self.check(proxy, scenario, port)
                # Not counted: pools fill and pages come in.
                clients.load(scenario, port, 1, self.options.connections)
            for number in range(rounds):
                for proxy, pid, port, metrics in there:
                    run = self.loaded(proxy, scenario, pid, port, metrics, load)
                    runs[proxy.name].append(run)
                    print(f"{scenario.name}, round {number + 1} of {rounds}: {proxy.name} {run['cpu']:.1f} µs, {run['rate']:.0f}/s", flush=True)
        return runs

    def memory(self, scenario, proxies):
        """Resident memory of a process that has served nobody, and with many clients that have been served once."""
        clients_there = self.options.idle_clients
        if not clients.may_open(clients_there):
            raise SystemExit(f"{clients_there} connections are more than may be open here: --idle-clients")
        runs = {proxy.name: [] for proxy in proxies}
        for _ in range(min(self.options.rounds or 3, 3)):
            for proxy in proxies:
                with self.started(proxy, scenario) as (pid, port, _):
                    time.sleep(0.5)
                    rss, pss = memory(pid)
                    # The first requests bring pages in that are not the clients'.
                    for _ in range(20):
                        urllib.request.urlopen(f"http://127.0.0.1:{port}/api/hello", timeout=10).read()
                    served, _ = memory(pid)
                    with clients.idle(port, clients_there):
                        time.sleep(1)
                        full, full_pss = memory(pid)
                run = {"rss": rss, "pss": pss, "full_rss": full, "full_pss": full_pss, "client": (full - served) / clients_there}
                runs[proxy.name].append(run)
                print(f"{scenario.name}: {proxy.name} {rss / 2**20:.1f} MiB, {run['client'] / 1024:.1f} KiB a client", flush=True)
        return runs

    def run(self, scenario, proxies):
        """Runs by proxy, and for those that cannot be asked this, why."""
        why = {proxy.name: proxy.knows(scenario) for proxy in proxies}
        able = [proxy for proxy in proxies if why[proxy.name] is None]
        runs = getattr(self, scenario.kind)(scenario, able) if able else {}
        return runs, {name: reason for name, reason in why.items() if reason}
