"""POSTs at random gaps around gunicorn's keep-alive of 2 s: a connection that closes must cost none of them.

A proxy may not send a POST twice, so one that goes out on a pooled connection which the back-end
is just closing is lost. Gaps of 0 to 3 s put many of them at that moment.
"""

import collections
import http.client
import random
import threading
import time

from stack import Stack

CLIENTS = 50
POSTS_EACH = 200
LONGEST_GAP_SECONDS = 3.0


def run(report):
    with Stack(report, "posts") as stack:
        stack.up(scale=2)
        stack.wait_for_replicas(2)
        problems = []
        clients = [threading.Thread(target=client, args=[stack.port, seed, problems], daemon=True) for seed in range(CLIENTS)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        total = CLIENTS * POSTS_EACH
        report.check(f"{total} POSTs, {CLIENTS} at a time, none fails", not problems, f"{len(problems)} failed")
        for problem, count in collections.Counter(problems).most_common(5):
            report.note(f"{count} × {problem}")


def client(port, seed, problems):
    """One client, which keeps its own connection to the proxy."""
    gaps = random.Random(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    for number in range(POSTS_EACH):
        time.sleep(gaps.uniform(0, LONGEST_GAP_SECONDS))
        sent = f"{seed}/{number}".encode()
        try:
            connection.request("POST", "/api/echo", body=sent)
            response = connection.getresponse()
            body = response.read()
            if response.status != 200 or body != sent:
                problems.append(f"{response.status} {' '.join(body.decode(errors='replace').split())[:200]}")
        except (OSError, http.client.HTTPException) as error:
            problems.append(f"{type(error).__name__}: {error}")
            connection.close()
    connection.close()
