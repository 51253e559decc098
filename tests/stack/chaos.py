"""A fault every three seconds under 200 GETs a second for a minute, and nobody may notice.

The faults are drawn at random, each kind at least twice: replicas are killed, stopped, paused, restarted,
added and taken away, one gets the former address of another, one answers 500, one accepts and never answers.
What a fault did is undone before the one after the next. No GET may fail, 99 of 100 must be answered within
1.5 s, and the proxy's log must account for every request that was sent.
"""

import collections
import os
import random
import re
import time

from load import Load, failed, shares, summary
from stack import Stack, address, docker, host_name, logs

# Two may be sick, one just be starting again and one be gone: enough are left that work.
REPLICAS = 6
RATE = 200
SECONDS = 60
EVERY_SECONDS = 3.0
P99_SECONDS = 1.5
PATH = "/api/hello"
LINE = re.compile(rf'"GET {PATH} HTTP/1\.1" (\d+) ')


def run(report):
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(10_000))
    os.environ["CHAOS_SUBNET"] = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}.0/24"
    with Stack(report, "chaos", "tests/stack/chaos") as stack:
        stack.compose("build", timeout=600)
        stack.up(scale=REPLICAS)
        stack.wait_for_replicas(REPLICAS)
        warm = counted(stack)
        report.note(f"CHAOS_SEED={seed}")
        faults = Faults(stack, random.Random(seed))
        with Load(stack.port, PATH, RATE) as load:
            begun = time.monotonic()
            while time.monotonic() < begun + SECONDS:
                due = time.monotonic() + EVERY_SECONDS
                report.note(f"{time.monotonic() - begun:4.1f} s: {faults.strike()}")
                time.sleep(max(0.0, due - time.monotonic()))
            faults.heal()
            load.settle(2)
        judge(report, stack, load, warm)


def judge(report, stack, load, warm):
    records = load.records
    bad = failed(records)
    report.check(f"{RATE} GETs a second for {SECONDS} s with a fault every {EVERY_SECONDS:g} s: none fails", not bad, summary(records))
    # First those that got no answer at all.
    for record in sorted(bad, key=lambda record: record.status or 0)[:10]:
        report.note(str(record))
    took = sorted(record.seconds for record in records)
    p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
    report.check(f"99 of 100 take less than {P99_SECONDS:g} s", p99 < P99_SECONDS, f"p50 {p50 * 1000:.0f} ms, p99 {p99:.2f} s")
    report.note(f"latest start of a request {load.latest_start:.2f} s; shares {shares(records)}")

    sent = collections.Counter(str(record.status) for record in records)
    logged = counted(stack) - warm
    report.check("the proxy's log has every request with its status", logged == sent, f"sent {dict(sent)}, logged {dict(logged)}")


def counted(stack):
    """The requests in the proxy's log by status."""
    access, _ = logs(stack.container("proxy"))
    return collections.Counter(LINE.findall(access))


class Faults:
    """One fault at a time, each undone before the next but one."""

    def __init__(self, stack, chance):
        self._stack = stack
        self._chance = chance
        self._pending = []
        self._undo = []

    def strike(self):
        """Undoes the fault before the last and makes another; what it was."""
        self.heal(keep=1)
        if not self._pending:
            self._pending = list(KINDS)
            self._chance.shuffle(self._pending)
        what = self._pending.pop()
        victim, said = what(self)
        return f"{said} {host_name(victim)}" if victim else said

    def heal(self, keep=0):
        while len(self._undo) > keep:
            _, command = self._undo.pop(0)
            docker(*command, check=False)

    def _victim(self, *not_these):
        sick = {victim for victim, _ in self._undo}
        healthy = [c for c in sorted(self._stack.containers("back-end")) if c not in sick and c not in not_these]
        return self._chance.choice(healthy)

    def _until_healed(self, victim, *command):
        self._undo.append((victim, command))

    def kill(self):
        victim = self._victim()
        docker("kill", victim)
        self._until_healed(victim, "start", victim)
        return victim, "killed"

    def stop(self):
        victim = self._victim()
        docker("stop", "--time", "2", victim)
        self._until_healed(victim, "start", victim)
        return victim, "stopped"

    def pause(self):
        victim = self._victim()
        docker("pause", victim)
        self._until_healed(victim, "unpause", victim)
        return victim, "paused"

    def restart(self):
        victim = self._victim()
        docker("restart", "--time", "1", victim)
        return victim, "restarted"

    def more(self):
        self._stack.up("back-end", scale=len(self._stack.containers("back-end")) + 1)
        return None, "one replica more"

    def fewer(self):
        if len(self._stack.containers("back-end")) < REPLICAS:
            self._stack.up("back-end", scale=REPLICAS)
        victim = self._victim()
        docker("stop", "--time", "2", victim)
        docker("rm", "--force", victim)
        return victim, "taken away"

    def inherit(self):
        """One replica goes for good, and another one gets its address."""
        gone = self._victim()
        theirs = address(gone)
        heir = self._victim(gone)
        network = f"{self._stack.project}_default"
        docker("rm", "--force", gone)
        docker("network", "disconnect", network, heir)
        docker("network", "connect", "--ip", theirs, "--alias", "back-end", network, heir)
        self._stack.up("back-end", scale=max(REPLICAS, len(self._stack.containers("back-end"))))
        return heir, f"{theirs}, the address of {host_name(gone)}, given to"

    def fails(self):
        return self._ill("500"), "500s from"

    def hangs(self):
        return self._ill("hang"), "no answer from"

    def _ill(self, illness):
        victim = self._victim()
        docker("exec", victim, "sh", "-c", f"echo {illness} > /dev/shm/illness")
        self._until_healed(victim, "exec", victim, "rm", "-f", "/dev/shm/illness")
        return victim


KINDS = [Faults.kill, Faults.stop, Faults.pause, Faults.restart, Faults.more, Faults.fewer, Faults.inherit, Faults.fails, Faults.hangs]
