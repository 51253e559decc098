"""Two cheap back-ends, each an nginx of its own, so that each counts its connections and requests."""

import contextlib
import os
import pathlib
import re
import socket
import time

from machine import cpu_of_back_end, free_port, running

SMALL = b"Hello, World!"
SIZES = {"/10k": 10 * 1024, "/1m": 1024 * 1024}

CONFIG = """
{user}worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
daemon off;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000000;
    client_body_buffer_size 64k;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=100;
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port} backlog=16384;
        location / {{ return 200 "Hello, World!"; }}
        location = /10k {{ root {files}; }}
        location = /1m {{ root {files}; }}
    }}
    server {{ listen 127.0.0.1:{counters}; location / {{ stub_status; }} }}
}}
"""


def write_files(folder):
    """What is answered to each path that is no small one."""
    for path, size in SIZES.items():
        pathlib.Path(folder, path.strip("/")).write_bytes(b"0123456789abcdef" * (size // 16))


def answer_of(path):
    """The body that a path is answered with."""
    return b"0123456789abcdef" * (SIZES[path] // 16) if path in SIZES else SMALL


class BackEnd:
    """One of them, running."""

    def __init__(self, port, counters):
        self.port = port
        self.counters = counters

    def counted(self):
        """Connections that were opened and requests that came, since the start; of these questions one each."""
        with socket.create_connection(("127.0.0.1", self.counters), 10) as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            said = b""
            while more := s.recv(4096):
                said += more
        accepts, _, requests = map(int, re.search(rb"\n (\d+) (\d+) (\d+) \n", said).groups())
        return accepts, requests


class Counts:
    """What comes to the back-ends between the making of this and `done`."""

    def __init__(self, back_ends):
        self.back_ends = back_ends
        self.asked = 0
        self.marked = None
        self.before = self.settled()

    def settled(self):
        """Their counts, less these questions, once nothing more comes: a client that leaves leaves requests behind."""
        last, asked, same = None, 0, 0
        while same < 2:
            now = [b.counted() for b in self.back_ends]
            asked += 1
            counts = [(a - asked, r - asked) for a, r in now]
            same = same + 1 if counts == last else 0
            last = counts
            time.sleep(0.1)
        # What comes later is counted with all these questions in it.
        self.asked += asked
        return [(a - self.asked + asked, r - self.asked + asked) for a, r in last]

    def mark(self):
        """Takes note of the present moment, in the middle of a run."""
        now = [b.counted() for b in self.back_ends]
        self.asked += 1
        self.marked = [(a - self.asked, r - self.asked) for a, r in now]

    def done(self):
        """Connections opened by the proxy, the same for each request since the mark, and the requests of each."""
        now = self.settled()
        since = lambda then: [(a - a0, r - r0) for (a, r), (a0, r0) in zip(now, then)]
        opened = sum(a for a, _ in since(self.before))
        late = since(self.marked or self.before)
        steady = sum(a for a, _ in late) / max(sum(r for _, r in late), 1)
        return opened, steady, [r for _, r in since(self.before)]


@contextlib.contextmanager
def back_ends(nginx, folder):
    """Both of them."""
    files = pathlib.Path(folder, "files")
    files.mkdir()
    write_files(files)
    with contextlib.ExitStack() as stack:
        both = []
        for number in range(2):
            own = pathlib.Path(folder, f"back-end-{number}")
            own.mkdir()
            port, counters = free_port(), free_port()
            user = "user root;\n" if os.geteuid() == 0 else ""
            text = CONFIG.format(user=user, folder=own, files=files, port=port, counters=counters)
            path = own / "nginx.conf"
            path.write_text(text)
            command = [nginx, "-e", str(own / "error.log"), "-c", str(path)]
            # Their worker takes the CPU over from the process that starts it.
            command = ["taskset", "-c", ",".join(map(str, cpu_of_back_end(number))), *command]
            stack.enter_context(running(command, port, own / "out"))
            both.append(BackEnd(port, counters))
        yield both
