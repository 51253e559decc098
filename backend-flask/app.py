"""The API server behind robin in every stack of this repository, shaped by its environment.

    REPLICA   its name, told in X-Replica; default: the container's host name
    GREETING  what `GET /` answers; default: Hello from Flask Server REPLICA!
    PORT      where gunicorn listens (gunicorn.conf.py); default: 5252
"""

import os
import socket
import threading
import time

from flask import Flask, Response, jsonify, request

REPLICA = os.environ.get("REPLICA") or socket.gethostname()
GREETING = os.environ.get("GREETING") or f"Hello from Flask Server {REPLICA}!"
STARTED = time.time()
LONGEST_WAIT_SECONDS = 30.0

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 10 * 1024 * 1024
app.json.sort_keys = False


class Counter:
    """Counts requests over all threads of the one worker."""

    def __init__(self):
        self._lock = threading.Lock()
        self._count = 0

    def increment(self):
        with self._lock:
            self._count += 1

    @property
    def value(self):
        return self._count


requests_served = Counter()


def text(body):
    return Response(body, mimetype="text/plain")


@app.before_request
def count():
    # Probes are not the users' requests: they would hide how traffic is shared out.
    if request.path != "/healthz":
        requests_served.increment()


@app.after_request
def sign(response):
    response.headers["X-Replica"] = REPLICA
    response.headers["Cache-Control"] = "no-store"
    return response


@app.get("/")
def greet():
    return text(GREETING)


@app.get("/api/hello")
def hello():
    return text("Hello, World!")


@app.get("/api/replica")
def replica():
    return jsonify(
        replica=REPLICA,
        requests=requests_served.value,
        uptime_seconds=round(time.time() - STARTED, 1),
        # Who asks, as seen here: the proxy's own address, and what it says of the client's.
        remote_addr=request.remote_addr,
        forwarded_for=request.headers.get("X-Forwarded-For"),
        host=request.headers.get("Host"),
    )


@app.post("/api/echo")
def echo():
    return Response(request.get_data(), mimetype="application/octet-stream")


@app.get("/api/slow")
def slow():
    """Answers after `?seconds=`: a request that is in flight while something stops."""
    seconds = request.args.get("seconds", default=1.0, type=float)
    # The comparison also refuses NaN.
    if seconds is None or not 0 <= seconds <= LONGEST_WAIT_SECONDS:
        return text(f"seconds must be between 0 and {LONGEST_WAIT_SECONDS:g}"), 400
    time.sleep(seconds)
    return text(f"answered after {seconds:g} s")


@app.get("/healthz")
def healthz():
    return text("ok")
