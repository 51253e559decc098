"""What was checked and how it went: each check a line, failures also at the end."""

import os
import pathlib
import tempfile
import time


class Report:
    def __init__(self):
        # Pictures of the page and the proxy's whole logs.
        self.artifacts = pathlib.Path(os.environ.get("ARTIFACTS") or tempfile.mkdtemp(prefix="robin-stack-"))
        self.artifacts.mkdir(parents=True, exist_ok=True)
        self.passed = 0
        self.failed = []
        self.started = time.monotonic()
        self._failed_before = 0

    def section(self, title):
        self._failed_before = len(self.failed)
        print(f"\n== {title} (at {time.monotonic() - self.started:.0f} s)", flush=True)

    @property
    def section_failed(self):
        return len(self.failed) > self._failed_before

    def check(self, what, ok, seen=""):
        """Records one check; returns whether it passed. `seen` is shown in either case."""
        line = f"{what}: {seen}" if seen else what
        print(f"  {'ok    ' if ok else 'FAILED'}  {line}", flush=True)
        if ok:
            self.passed += 1
        else:
            self.failed.append(line)
        return ok

    def note(self, text):
        print(f"          {text}", flush=True)

    def close(self):
        """Prints the summary; the exit code."""
        print(f"\nin {time.monotonic() - self.started:.0f} s; pictures and the proxies' whole logs are in {self.artifacts}")
        for line in self.failed:
            print(f"FAILED: {line.splitlines()[0]}")
        print(f"{self.passed} passed, {len(self.failed)} failed", flush=True)
        return 1 if self.failed else 0
