"""How gunicorn runs app.py: one worker with threads, each request a line on stdout."""

import logging
import os

bind = f"0.0.0.0:{os.environ.get('PORT') or 5252}"

# One process, so that one count of requests is the replica's; threads, so that a slow
# request holds up no other.
workers = 1
worker_class = "gthread"
threads = 16

# gunicorn's default, written out because a proxy must give up idle connections before it.
keepalive = 2

# Below the 10 s that Docker waits before it kills.
graceful_timeout = 8

# In memory and writable also for an unprivileged user on a read-only root.
worker_tmp_dir = "/dev/shm"
control_socket_disable = True

accesslog = "-"


class WithoutProbes(logging.Filter):
    """Keeps health checks out of the access log, which shows whose turn it was."""

    def filter(self, record):
        return '"GET /healthz ' not in record.getMessage()


def post_worker_init(worker):
    worker.log.access_log.addFilter(WithoutProbes())
    worker.log.info("ready")
