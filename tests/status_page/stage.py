"""A robin on loopback with all around it: scripted back-ends, a name server, clients. Nothing but the standard library."""

import contextlib
import http.client
import http.server
import json
import os
import random
import socket
import socketserver
import struct
import subprocess
import tempfile
import threading
import time


def free_port():
    """A port that is free on all addresses of loopback."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return probe.getsockname()[1]


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return value


class Origin:
    """A back-end on one address; `pace` and `broken` may change while it runs."""

    def __init__(self, address, port, pace=0.004):
        self.address, self.port, self.pace, self.broken = address, port, pace, 0.0
        self._server = None
        self.start()

    def start(self):
        origin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                time.sleep(random.uniform(0.5, 1.5) * origin.pace)
                status = 500 if self.path != "/healthz" and random.random() < origin.broken else 200
                if self.path == "/missing":
                    status = 404
                self.send_response(status)
                self.send_header("Content-Length", "3")
                self.end_headers()
                self.wfile.write(b"ok\n")

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 64
            daemon_threads = True

            def process_request(self, request, client):
                origin.open.add(request)
                super().process_request(request, client)

            def handle_error(self, *_):
                pass  # A stop breaks what is under way.

        self.open = set()
        self._server = Server((self.address, self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            for connection in self.open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._server = None


class Names:
    """A DNS server that knows A records; a name that it does not know does not exist."""

    def __init__(self):
        self.known = {}
        names = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                query, reply = self.request
                reply.sendto(names.answer(query), self.client_address)

        self._server = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = "127.0.0.1:%d" % self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, query):
        labels, at = [], 12
        while size := query[at]:
            labels.append(query[at + 1 : at + 1 + size].decode())
            at += size + 1
        (kind,) = struct.unpack("!H", query[at + 1 : at + 3])
        question = query[12 : at + 5]
        known = self.known.get(".".join(labels).lower())
        addresses = known if known and kind == 1 else []
        head = query[:2] + struct.pack("!HHHHH", 0x8580 | (0 if known else 3), 1, len(addresses), 0, 0)
        records = (struct.pack("!HHHIH", 0xC00C, 1, 1, 600, 4) + socket.inet_aton(a) for a in addresses)
        return head + question + b"".join(records)

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


class Robin:
    """The process under test."""

    def __init__(self, binary, yaml):
        self._binary = binary
        self.folder = tempfile.TemporaryDirectory(prefix="robin-page-")
        self.config = os.path.join(self.folder.name, "robin.yaml")
        self.control = os.path.join(self.folder.name, "control.sock")
        with open(self.config, "w") as file:
            file.write(f"control: {self.control}\n{yaml}")
        self.start()

    def start(self):
        self.log = open(os.path.join(self.folder.name, "robin.log"), "ab")
        self.process = subprocess.Popen([self._binary, "-c", self.config], stdout=subprocess.DEVNULL, stderr=self.log)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def status(self):
        """What it says over the socket that is its operator's."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(10)
            stream.connect(self.control)
            stream.sendall(b'{"do":"status"}\n')
            return json.loads(stream.makefile("rb").readline())["status"]


class Clients:
    """Clients with a connection each, which ask for some paths in turn."""

    def __init__(self, port, count=4, pause=0.02, paths=("/",)):
        self.port, self.pause, self.paths = port, pause, paths
        self.statuses = {}
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(place,), daemon=True) for place in range(count)]
        for thread in self._threads:
            thread.start()

    def _run(self, place):
        turn, connection = place, None
        while not self._ended.wait(random.uniform(0.5, 1.5) * self.pause):
            turn += 1
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                connection.request("GET", self.paths[turn % len(self.paths)])
                answer = connection.getresponse()
                answer.read()
                self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
            except (OSError, http.client.HTTPException):
                connection = None

    def stop(self):
        self._ended.set()
        for thread in self._threads:
            thread.join(30)


class Stage:
    """All of it; a context manager that ends it.

    Upstreams: `back-end`, three replicas behind a name and a backup, with probes; `pages`, one fixed
    address; `cache`, a name that nobody knows.
    """

    REPLICAS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
    BACKUP = "127.0.0.9"

    def __init__(self, binary, pace=0.004):
        self.port, self.status_port, port, pages = free_port(), free_port(), free_port(), free_port()
        self.peers = [f"{address}:{port}" for address in self.REPLICAS]
        self.backup = f"{self.BACKUP}:{port}"
        self.pages = f"127.0.0.1:{pages}"
        self.origins = {f"{a}:{port}": Origin(a, port, pace) for a in (*self.REPLICAS, self.BACKUP)}
        self.origins[self.pages] = Origin("127.0.0.1", pages, 0.001)
        self.names = Names()
        self.names.known["back-end"] = list(self.REPLICAS)
        self.robin = Robin(binary, self.yaml(port))
        wait_until(self.serves, 15, "robin serves")

    def yaml(self, port):
        return f"""\
listen: 127.0.0.1:{self.port}
status: 127.0.0.1:{self.status_port}
threads: 1
access_log: off
resolver: {{ servers: ["{self.names.address}"], ipv6: false }}
upstreams:
  back-end:
    servers: [back-end:{port}, {{ address: "{self.backup}", backup: on }}]
    health_check: {{ http: /healthz, every: 500ms }}
    passive: {{ consecutive: 3, eject: 3s }}
  cache:
    servers: [cache:6000]
routes:
  /api: back-end
  /cache: cache
  /: {self.pages}
"""

    def serves(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/api")
            return connection.getresponse().status == 200

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.robin.stop()
        self.names.stop()
        for origin in self.origins.values():
            origin.stop()
