"""Plays the cases of `cases.py` against robin, one after the other, and load of real clients besides.

After each case another client must be answered, and the memory of the process must stay bounded.
"""

import argparse
import http.server
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "status_page"))

from cases import CASES, FIRST
from stage import free_port
from wire import GOAWAY, Client, name_of

# Bytes of memory that all cases together may cost: each is over when the next begins.
MOST_MEMORY = 64 << 20


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        if self.path == "/slow":
            time.sleep(0.3)
        if self.path == "/never":
            time.sleep(5)
        length = int(self.headers.get("content-length") or 0)
        if length and self.path != "/small":
            self.rfile.read(length)
        if self.path == "/big":
            body = bytes(1 << 20)
        else:
            body = b"hello\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = answer

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, *_):
        pass


class Probe(Client):
    """Keeps the last word of a connection that was read while a flood was sent."""

    kept = None

    def keep(self, seen):
        self.kept = "GOAWAY " + name_of(int.from_bytes(seen[3][4:8], "big"))
        return True

    def outcome(self, patience=None):
        return self.kept or super().outcome(patience)


class Proxy:
    """Robin, or nginx, with a listener for HTTP/2 in the clear."""

    def __init__(self, binary, folder, origin, cleartext, nginx=False):
        os.makedirs(folder + "/logs", exist_ok=True)
        self.address = ("127.0.0.1", cleartext)
        conf = f"""
            {"daemon off; error_log error.log;" if nginx else ""} pid {folder}/pid;
            events {{}}
            http {{
                access_log off;
                server {{
                    listen 127.0.0.1:{cleartext}; http2 on;
                    client_max_body_size 10m;
                    location / {{ proxy_pass http://127.0.0.1:{origin}; proxy_buffering off; }}
                    location /small {{ client_max_body_size 10; return 200 "small"; }}
                    location /dead {{ proxy_pass http://127.0.0.1:1; proxy_request_buffering off; }}
                    location /never {{ proxy_pass http://127.0.0.1:{origin}; proxy_request_buffering off; }}
                }}
            }}"""
        with open(folder + "/c.conf", "w") as file:
            file.write(conf)
        self.log = open(folder + "/out", "w")
        command = [binary, "-p", folder + "/", "-c", folder + "/c.conf"]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(self.address, timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        sys.exit(f"{binary} does not listen: " + open(folder + "/out").read())

    def memory(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) << 10

    def serves_others(self):
        client = Probe(self.address)
        client.request()
        answer = client.outcome(10)
        client.close()
        return answer == "200"

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


def play(proxy, function):
    client = Probe(proxy.address)
    function(client)
    outcome = client.outcome()
    client.close()
    return outcome


def play_first(proxy, sent):
    client = Probe.__new__(Probe)
    client.patience, client.closed, client.buffer, client.kept = 2.0, False, b"", None
    client.socket = socket.create_connection(proxy.address, timeout=2)
    from hpack import Decoder
    client.unpack = Decoder()
    client.send(sent)
    if sent.startswith(b"PRI * HTTP/2.0\r\n\r\n") and len(sent) > 24:
        return client.outcome()
    try:
        answer = client.socket.recv(100)
    except TimeoutError:
        return "nothing"
    except OSError:
        return "closed"
    return answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/1.") else "closed"


def load(proxy):
    """Load of nghttp2's clients: nothing may fail."""
    bad = []
    base = f"http://{proxy.address[0]}:{proxy.address[1]}"
    if not shutil.which("h2load") or not shutil.which("nghttp"):
        print("SKIPPED: load of HTTP/2: nghttp and h2load cannot be had (nghttp2-client)")
        return bad
    upload = tempfile.NamedTemporaryFile(delete=False)
    upload.write(bytes(3 << 20))
    upload.close()
    runs = [("many requests", ["-n", "5000", "-c", "10", "-m", "20", base + "/"]),
            ("large answers", ["-n", "200", "-c", "5", "-m", "10", base + "/big"]),
            ("uploads beyond the window", ["-n", "40", "-c", "4", "-m", "5", "-d", upload.name, base + "/up"]),
            ("small windows", ["-n", "50", "-c", "2", "-m", "5", "-w", "14", "-W", "16", base + "/big"])]
    for name, arguments in runs:
        ran = subprocess.run(["h2load", *arguments], capture_output=True, text=True, timeout=300)
        counts = re.search(r"(\d+) total, .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", ran.stdout)
        statuses = re.search(r"status codes: (\d+) 2xx", ran.stdout)
        good = counts and statuses and counts[1] == counts[3] == statuses[1] and counts[4] == counts[5] == "0"
        print(f"{'ok  ' if good else 'FAIL'} h2load: {name}: {counts[0] if counts else ran.stdout}")
        if not good:
            bad.append(name)
    ran = subprocess.run(["nghttp", "-nv", "-m", "20", base + "/"], capture_output=True, text=True, timeout=60)
    good = ran.stdout.count(":status: 200") == 20 and "RST_STREAM" not in ran.stdout
    print(f"{'ok  ' if good else 'FAIL'} nghttp: 20 streams on a connection")
    os.unlink(upload.name)
    return bad if good else bad + ["nghttp"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--robin", default="target/debug/robin")
    parser.add_argument("--nginx")
    parser.add_argument("--only", default="")
    said = parser.parse_args()
    origin = Server(("127.0.0.1", 0), Origin)
    threading.Thread(target=origin.serve_forever, daemon=True).start()
    folder = tempfile.mkdtemp()
    proxy = Proxy(os.path.abspath(said.robin), folder + "/robin", origin.server_port, free_port())
    nginx = said.nginx and Proxy(said.nginx, folder + "/nginx", origin.server_port, free_port(), nginx=True)
    bad = []
    proxy.serves_others()
    before = most = proxy.memory()
    played = [(name, section, expected, lambda p, f=function: play(p, f))
              for name, section, expected, function in CASES]
    played += [(name, section, expected, lambda p, s=sent: play_first(p, s))
               for name, section, expected, sent in FIRST]
    for name, section, expected, run in played:
        if said.only not in name:
            continue
        outcome = run(proxy)
        others, memory = proxy.serves_others(), proxy.memory()
        most = max(most, memory)
        beside = f"  (nginx: {run(nginx)})" if nginx else ""
        good = outcome in expected and others and memory - before < MOST_MEMORY
        print(f"{'ok  ' if good else 'FAIL'} {section:6} {name}: {outcome}{beside}"
              + ("" if others else "  others are NOT served")
              + ("" if good else f"  expected {' | '.join(expected)}; {(memory - before) >> 20} MiB more"), flush=True)
        if not good:
            bad.append(name)
    if not said.only:
        bad += load(proxy)
    print(f"memory: {before >> 20} MiB before, {most >> 20} MiB at most")
    proxy.stop()
    if nginx:
        nginx.stop()
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(played) - len(bad)} of {len(played)} as expected" if not said.only else "done")
    if bad:
        sys.exit("not as expected: " + ", ".join(bad))


if __name__ == "__main__":
    main()
