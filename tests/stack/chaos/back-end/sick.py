"""The API server with an illness that a file names: `500` or `hang`."""

import pathlib
import time

from app import app as healthy

ILLNESS = pathlib.Path("/dev/shm/illness")
HANG_SECONDS = 20.0


def ill():
    """What it is ill with; empty where it is well."""
    return ILLNESS.read_text().strip() if ILLNESS.exists() else ""


def app(environ, start_response):
    illness = ill()
    if illness == "500":
        start_response("500 Internal Server Error", [("Content-Type", "text/plain"), ("Content-Length", "4")])
        return [b"sick"]
    begun = time.monotonic()
    # Once it is well its threads are, too: there are sixteen of them.
    while ill() == "hang" and time.monotonic() < begun + HANG_SECONDS:
        time.sleep(0.1)
    return healthy(environ, start_response)
