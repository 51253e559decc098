"""A steady load: so many GETs a second whatever the answers take, half of them on fresh connections.

Every request is recorded with the time it was sent and ended at (seconds since the epoch, to be
compared with Docker's logs), its status, its replica, and what was wrong with it.
"""

import collections
import http.client
import itertools
import threading
import time
from typing import NamedTuple

# At the worst each of them hangs: 50 requests a second that each take a second need 50.
WORKERS = 64
TIMEOUT_SECONDS = 15
# Far more than a refresh of DNS takes, also on a machine that does much else.
SLOW_SECONDS = 5.0


class Record(NamedTuple):
    sent: float
    ended: float
    status: int | None
    replica: str | None
    problem: str | None
    fresh: bool

    @property
    def seconds(self):
        return self.ended - self.sent

    def __str__(self):
        kind = "fresh" if self.fresh else "kept"
        at = f"{time.strftime('%H:%M:%S', time.gmtime(self.sent))}.{int(self.sent % 1 * 1000):03}"
        return f"{at} {kind} {self.seconds:.3f} s {self.status} {self.replica or ''} {self.problem or ''}".rstrip()


class Load:
    """A context manager that sends while it is open."""

    def __init__(self, port, path="/api/hello", rate=50):
        self.port = port
        self.path = path
        self.rate = rate
        self.records = []
        self.latest_start = 0.0
        self._stop = threading.Event()
        self._ticks = itertools.count()
        self._in_flight = [None] * WORKERS
        self._workers = [threading.Thread(target=self._work, args=[index], daemon=True) for index in range(WORKERS)]

    def __enter__(self):
        self._begun = time.monotonic()
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for worker in self._workers:
            worker.join(TIMEOUT_SECONDS + 5)

    def _work(self, index):
        kept = None
        while True:
            tick = next(self._ticks)
            due = self._begun + tick / self.rate
            if self._stop.wait(max(0.0, due - time.monotonic())):
                break
            self.latest_start = max(self.latest_start, time.monotonic() - due)
            if tick % 2 == 0:
                connection = self._connection()
                self._send(index, connection, fresh=True)
                connection.close()
            else:
                kept = kept or self._connection()
                if not self._send(index, kept, fresh=False):
                    kept.close()
                    kept = None
        if kept:
            kept.close()

    def _connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)

    def _send(self, index, connection, fresh):
        """Sends one request and records it; whether the connection can be kept."""
        status = replica = problem = None
        keep = False
        sent = self._in_flight[index] = time.time()
        try:
            connection.request("GET", self.path, headers={"Connection": "close"} if fresh else {})
            response = connection.getresponse()
            body = response.read()
            status, replica = response.status, response.getheader("X-Replica")
            keep = not response.will_close
            if status != 200:
                problem = " ".join(body.decode(errors="replace").split())[:400]
        except (OSError, http.client.HTTPException) as error:
            problem = f"{type(error).__name__}: {error}"
        self.records.append(Record(sent, time.time(), status, replica, problem, fresh))
        self._in_flight[index] = None
        return keep

    def settle(self, seconds):
        """Lets so much more be sent, and waits for what is then in flight."""
        until = time.time() + seconds
        time.sleep(seconds)
        while any(sent is not None and sent < until for sent in list(self._in_flight)):
            time.sleep(0.02)

    def between(self, begin, end=float("inf")):
        """The requests sent in a time; those in flight are missing (see `settle`)."""
        return [record for record in list(self.records) if begin <= record.sent < end]


def shares(records):
    """How many answers each replica gave."""
    return dict(collections.Counter(record.replica for record in records if record.status == 200).most_common())


def failed(records):
    return [record for record in records if record.status != 200]


def slow(records):
    return [record for record in records if record.seconds > SLOW_SECONDS]


def summary(records):
    took = sorted(record.seconds for record in records) or [0.0]
    median = took[len(took) // 2] * 1000
    return f"{len(records)} requests, {len(failed(records))} failed, median {median:.0f} ms, slowest {took[-1]:.2f} s"
