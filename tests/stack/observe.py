"""What an operator sees who has nothing but the logs: which replica is out, since when and why."""

import re

from stack import Stack, address, docker, sh, wait_until

# How long the log may take to say it.
SECONDS = 3


class Log:
    """The proxy's log as `docker-compose logs` shows it, from a moment on."""

    def __init__(self, stack):
        self.stack = stack
        self.seen = len(self._all())

    def _all(self):
        lines = self.stack.compose("logs", "--no-color", "proxy").splitlines()
        return [line.partition("| ")[2] for line in lines if "| " in line]

    def later(self):
        return self._all()[self.seen:]

    def events(self, peer):
        return [line for line in self.later() if f"peer={peer} " in f"{line} "]

    def in_terminal(self):
        """What `robin top` makes of the whole log."""
        log = self.stack.compose("logs", "--no-color", "proxy")
        return sh("docker", "exec", "--interactive", self.stack.container("proxy"), "robin", "top", "--once", "--width", "100", input=log)

    def blocks(self, row):
        """The blocks of the dashboard with such a row."""
        blocks, block = [], None
        for line in self.later():
            if "health dashboard:" in line:
                block = [line]
                blocks.append(block)
            elif block is not None and line.startswith("  "):
                block.append(line)
            else:
                block = None
        return ["\n".join(block) for block in blocks if any(re.search(row, line) for line in block)]


def told(report, log, what, peer, phrases, row):
    """Checks that the log says these things of the peer, a line each and nothing else, and shows a block with it."""
    try:
        wait_until(lambda: len(log.events(peer)) >= len(phrases) and log.blocks(row), SECONDS, f"the log tells that {what}")
    except TimeoutError as error:
        report.check(str(error), False, "\n".join(log.later()))
        return
    events = log.events(peer)
    said = len(events) == len(phrases) and all(phrase in event for phrase, event in zip(phrases, events))
    report.check(f"{what}: {len(phrases)} event line(s) within {SECONDS} s", said, "\n" + "\n".join(events))
    report.check(f"{what}: a block names it, since when and why", True, "\n" + log.blocks(row)[-1])
    frame = log.in_terminal()
    report.check(f"{what}: robin top says the same of that log", re.search(row.partition(".*")[0], frame), "\n" + frame)


def run(report):
    with Stack(report, "observe") as stack:
        stack.up(scale=3)
        stack.wait_for_replicas(3)
        victim = stack.containers("back-end")[1]
        peer = f"{address(victim)}:5252"
        row = re.escape(peer)

        log = Log(stack)
        docker("stop", victim)
        told(report, log, "stopped", peer, ["peer left"], rf"- {row} +left DNS +\d")

        log = Log(stack)
        docker("start", victim)
        back = f"{address(victim)}:5252"
        told(report, log, "started", back, ["peer joined", "peer passes probes"], rf"\+ {re.escape(back)} +up +\d")

        log = Log(stack)
        docker("pause", victim)
        try:
            wait_until(lambda: log.events(back), 15, "the log tells that a replica hangs")
            told(report, log, "hanging", back, ["peer fails probes"], rf"! {re.escape(back)} +failing probes +\d.* no answer within")
        finally:
            log = Log(stack)
            docker("unpause", victim)
        told(report, log, "alive again", back, ["peer passes probes"], rf"\+ {re.escape(back)} +up +\d")
