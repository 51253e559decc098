"""The API server with an illness that a file names: `500` or `hang`."""

import pathlib
import time

from app import app as healthy

ILLNESS = pathlib.Path("/dev/shm/illness")
HANG_SECONDS = 20.0


def app(environ, start_response):
    illness = ILLNESS.read_text().strip() if ILLNESS.exists() else ""
    if illness == "500":
        start_response("500 Internal Server Error", [("Content-Type", "text/plain"), ("Content-Length", "4")])
        return [b"sick"]
    if illness == "hang":
        time.sleep(HANG_SECONDS)
    return healthy(environ, start_response)
