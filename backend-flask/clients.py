#!/usr/bin/env python3
"""Opens many clients at once and shows which server answered how many of them.

    clients.py [URL] [--threads 1000]

Each thread sends one request. Prints server -> requests, for example {1: 333, 2: 333, 3: 334};
exits with 1 if any request failed, saying how many and why.
"""

import argparse
import collections
import re
import sys
import threading
import urllib.error
import urllib.request

SERVER = re.compile(r"Flask Server (\S+?)!")
TIMEOUT_SECONDS = 30

# Straight to the URL, whatever proxy the environment names.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(url):
    """The server that answered; raises if none did."""
    with opener.open(url, timeout=TIMEOUT_SECONDS) as response:
        body = response.read().decode(errors="replace")
    match = SERVER.search(body)
    if not match:
        raise ValueError(f"no server's name in the answer {body[:80]!r}")
    name = match.group(1)
    return int(name) if name.isdigit() else name


def reason(error):
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        error = error.reason
    return f"{type(error).__name__}: {error}"


def main():
    parser = argparse.ArgumentParser(description="Shows which server answered how many of many clients.")
    parser.add_argument("url", nargs="?", default="http://127.0.0.1/", metavar="URL")
    parser.add_argument("--threads", type=int, default=1000, help="clients, one request each (default 1000)")
    args = parser.parse_args()
    if args.threads < 1:
        parser.error("--threads must be 1 or more")

    servers, failures = collections.Counter(), collections.Counter()
    lock = threading.Lock()

    def client():
        try:
            tally, key = servers, ask(args.url)
        except Exception as error:
            tally, key = failures, reason(error)
        with lock:
            tally[key] += 1

    clients = [threading.Thread(target=client) for _ in range(args.threads)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()

    print(dict(sorted(servers.items(), key=lambda item: (isinstance(item[0], str), item[0]))))
    if failures:
        why = ", ".join(f"{count} × {what}" for what, count in failures.most_common())
        sys.exit(f"{failures.total()} of {args.threads} requests failed: {why}")


if __name__ == "__main__":
    main()
