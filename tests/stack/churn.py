"""Replicas come, go and change their addresses under a steady load, and nobody may notice.

50 GETs a second run through the whole sequence: none may fail and none may take longer than 2 s.
A replica that comes must serve within 2 s of being able to answer. Only with all replicas gone
are answers refused, then at once and with the reason.
"""

import time

from load import SLOW_SECONDS, Load, failed, shares, slow, summary
from stack import Stack, address, docker, host_name, inspect, ready_at, wait_until

JOIN_SECONDS = 2.0
# The default `fail_timeout`: so long a replica is out that reset a request when it was stopped.
EJECTION_SECONDS = 10.0
# "At once": no request waits for a connection to an address that nobody has any more.
REFUSAL_SECONDS = 1.0


def run(report):
    with Stack(report, "churn") as stack:
        stack.up(scale=2)
        stack.wait_for_replicas(2)
        with Load(stack.port) as load:
            churn = Churn(report, stack, load)
            churn.step("two replicas, nothing changes", lambda: None, settle=2)
            churn.joins("scale from 2 to 5", lambda: stack.up("back-end", scale=5), expected=3)
            churn.even(5)
            churn.step("scale from 5 to 1", lambda: stack.up("back-end", scale=1), settle=3)
            churn.joins("scale from 1 to 3", lambda: stack.up("back-end", scale=3), expected=2)
            churn.kill_one()
            churn.restart_one()
            churn.recreate_elsewhere()
            report.note(f"the whole sequence: {summary(load.records)}; latest start of a request {load.latest_start:.2f} s")
        with Load(stack.port) as load:
            load.settle(0.5)
            all_gone(report, stack, load)
        restarts = inspect(stack.container("proxy"), "{{.RestartCount}}")
        report.check("the proxy ran through all of it", restarts == "0", f"{restarts} restarts")


class Churn:
    """The steps, each judged by the requests that were sent during it."""

    def __init__(self, report, stack, load):
        self.report = report
        self.stack = stack
        self.load = load

    def replicas(self):
        return set(self.stack.containers("back-end"))

    def step(self, what, change, settle=2):
        """Makes a change, waits, and judges every request sent since; those requests."""
        begun = time.time()
        change()
        self.load.settle(settle)
        records = self.load.between(begun)
        bad = failed(records) + slow(records)
        self.report.check(f"{what}: no request fails or takes {SLOW_SECONDS:g} s", records and not bad, summary(records))
        for record in bad[:5]:
            self.report.note(str(record))
        slowest = max(records, key=lambda record: record.seconds, default=None)
        if not bad and slowest and slowest.seconds > SLOW_SECONDS / 4:
            self.report.note(f"the slowest: {slowest}")
        return records

    def joins(self, what, change, expected, since=0.0):
        """A step after which new or restarted replicas serve soon after they can answer."""
        before = self.replicas()
        joined = {}

        def change_and_wait():
            change()
            for replica in self.replicas() - before:
                joined[replica] = ready_at(replica, since)

        records = self.step(what, change_and_wait, settle=JOIN_SECONDS + 0.5)
        self.report.check(f"{what}: {expected} replicas come", len(joined) == expected, f"{len(joined)}")
        for replica, ready in joined.items():
            self.serves_since(what, replica, ready, records)

    def serves_since(self, what, replica, ready, records, limit=JOIN_SECONDS):
        answers = [r.ended for r in records if r.replica == host_name(replica) and r.status == 200 and r.ended >= ready]
        waited = min(answers) - ready if answers else None
        self.report.check(
            f"{what}: {host_name(replica)} serves within {limit:g} s of being ready",
            waited is not None and waited <= limit,
            "never" if waited is None else f"after {waited:.2f} s",
        )

    def even(self, count):
        begun = time.time()
        self.load.settle(3)
        each = shares(self.load.between(begun))
        # One sequence for the whole proxy; requests that cross the ends of the time make the second one.
        ok = len(each) == count and max(each.values()) - min(each.values()) <= 2
        self.report.check(f"{count} replicas have equal shares", ok, str(each))

    def kill_one(self):
        victim = min(self.replicas())
        self.step(f"docker kill {host_name(victim)}", lambda: docker("kill", victim), settle=3)
        begun = time.time()
        self.joins(f"docker start {host_name(victim)}", lambda: docker("start", victim), expected=1, since=begun)

    def restart_one(self):
        """A restart is too short for DNS to tell; the replica serves again when its ejection, if any, is over."""
        victim = max(self.replicas())
        limit = EJECTION_SECONDS + JOIN_SECONDS
        begun = time.time()

        def restart_and_wait():
            docker("restart", victim)
            ready = ready_at(victim, begun)

            def serves():
                answers = self.load.between(ready)
                return time.time() > ready + limit or any(r.replica == host_name(victim) for r in answers)

            wait_until(serves, limit + 5, "the time to serve again has passed")

        records = self.step(f"docker restart {host_name(victim)}", restart_and_wait)
        self.serves_since("docker restart", victim, ready_at(victim, begun), records, limit)

    def recreate_elsewhere(self):
        """Removes all replicas but one and makes new ones, whose addresses must be others."""
        stays, *leave = sorted(self.replicas())
        old = {address(replica) for replica in leave}

        def remove():
            # What `rm -sf` does, with one replica left.
            docker("stop", *leave)
            docker("rm", "--force", *leave)

        self.step(f"rm -sf of {len(leave)} replicas, {host_name(stays)} stays", remove, settle=2)
        self.step("their addresses go to containers that do not listen", lambda: self.stack.occupy(len(leave)), settle=1)
        self.joins("new replicas elsewhere", lambda: self.stack.up("back-end", scale=1 + len(leave)), expected=len(leave))
        new = {address(replica) for replica in self.replicas() - {stays}}
        self.report.check("the new replicas have other addresses", not new & old, f"{sorted(old)} -> {sorted(new)}")


def all_gone(report, stack, load):
    """No replica is left: refusals are quick and say why, and end soon after the first new answer."""
    stack.compose("rm", "--stop", "--force", "back-end")
    gone = time.time()
    load.settle(4)
    records = load.between(gone)
    wrong = [r for r in records if r.status != 502 or "back-end" not in (r.problem or "")]
    late = [r for r in records if r.seconds > REFUSAL_SECONDS]
    seen = f"{len(records)} requests, e.g. {records[-1].problem!r}" if records else "no requests"
    report.check("all gone: every answer is 502 and names the upstream", records and not wrong, seen)
    report.check(f"all gone: every refusal comes within {REFUSAL_SECONDS:g} s", not late, summary(records))
    for record in (wrong + late)[:5]:
        report.note(str(record))

    page = stack.get("/")
    report.check("all gone: the site is still served", page.status == 200 and 'id="chart"' in page.body, str(page.status))

    stack.up("back-end", scale=2)
    ready = [ready_at(replica) for replica in stack.containers("back-end")]
    wait_until(lambda: time.time() > max(ready) + JOIN_SECONDS, 10, "both replicas had their time to join")
    load.settle(2)
    recovered = next((r.ended for r in sorted(load.between(gone)) if r.status == 200), None)
    report.check(
        f"back again: answered within {JOIN_SECONDS:g} s of the first replica being ready",
        recovered is not None and recovered - min(ready) <= JOIN_SECONDS,
        "never" if recovered is None else f"after {recovered - min(ready):.2f} s",
    )
    after = load.between(max(ready) + JOIN_SECONDS)
    report.check("back again: all is well", len(shares(after)) == 2 and not failed(after) and not slow(after), summary(after))
    for record in failed(after)[:5]:
        report.note(str(record))
