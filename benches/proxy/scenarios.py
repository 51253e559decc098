"""What is asked of the proxies."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    path: str = "/api/hello"
    # A body of 10 KiB.
    post: bool = False
    # A connection for each request.
    close: bool = False
    tls: bool = False
    http2: bool = False
    # The proxy answers with a file of its own.
    static: bool = False
    # Its access log: "off", "combined" for all, or "own", the format that each writes where nothing else is said.
    log: str = "off"
    # What it counts is asked for once a second.
    metrics: bool = False
    # The proxy.conf of the tutorial as it is.
    tutorial: bool = False
    # What is measured: a load as high as it gets, one at a fixed rate, or memory.
    kind: str = "load"

    def tells_back_ends(self):
        """Whether its requests come to the back-ends."""
        return not self.static


SCENARIOS = [
    Scenario("tutorial", "the tutorial's proxy.conf", tutorial=True),
    Scenario("keep-alive", "small GET, keep-alive"),
    Scenario("close", "small GET, connection-close", close=True),
    Scenario("10k", "10 KiB", path="/10k"),
    Scenario("1m", "1 MiB", path="/1m"),
    Scenario("post", "POST 10 KiB", post=True),
    Scenario("static", "static file, 10 KiB", path="/10k", static=True),
    Scenario("tls", "TLS 1.3, keep-alive", tls=True),
    Scenario("http2", "HTTP/2 over TLS", tls=True, http2=True),
    Scenario("log", "access log, nginx's combined", log="combined"),
    Scenario("log-own", "access log, each its own format", log="own"),
    Scenario("metrics", "metrics, asked once a second", metrics=True),
    Scenario("rate", "fixed rate, 30 % of nginx's most", kind="rate"),
    Scenario("memory", "memory at rest and with idle clients", kind="memory"),
]
