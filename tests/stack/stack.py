"""One compose project: started under a name and a port of its own, and always torn down.

Everything is asked through 127.0.0.1, as a user would; containers are told apart by their
host name, which Docker makes from the first twelve digits of their id and the back-end sends in
X-Replica.
"""

import datetime
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
READY = re.compile(r"^(\S+)Z .*\] ready$", re.MULTILINE)


class Answer(NamedTuple):
    status: int
    body: str
    replica: str | None
    seconds: float


def sh(*command, check=True, timeout=120, **options):
    """Runs a command; what it wrote to stdout. With `check` a failure raises with all that it said."""
    if "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, errors="replace", timeout=timeout, **options,
    )
    if check and done.returncode != 0:
        said = done.stdout + done.stderr
        raise RuntimeError(f"{' '.join(map(str, command))} failed with {done.returncode}:\n{said}")
    return done.stdout


def docker(*args, **options):
    return sh("docker", *args, **options)


def inspect(container, template):
    return docker("inspect", "--format", template, container).strip()


def logs(container, *options):
    """What a container wrote to stdout and to stderr."""
    command = ["docker", "logs", *options, container]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60)
    return done.stdout, done.stderr


def compose_command():
    """The Compose that is there: Docker's plugin, or the older program of its own."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise RuntimeError("neither `docker compose` nor docker-compose is installed")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(port, path="/api/hello", timeout=15):
    """One GET on a connection of its own."""
    begun = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
        return Answer(response.status, body, response.getheader("X-Replica"), time.monotonic() - begun)
    finally:
        connection.close()


def wait_until(condition, seconds, what):
    """The condition's first true value."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            value = condition()
        except (OSError, http.client.HTTPException) as error:
            value, what_else = None, f" ({type(error).__name__}: {error})"
        else:
            what_else = ""
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}{what_else}")
        time.sleep(0.05)


def host_name(container):
    return container[:12]


def address(container):
    return inspect(container, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")


def ready_at(container, since=0.0, seconds=30):
    """When the back-end in a container became able to answer, by its own log: seconds since the epoch."""

    def last_ready():
        times = [
            datetime.datetime.fromisoformat(stamp[:26]).replace(tzinfo=datetime.timezone.utc).timestamp()
            for stamp in READY.findall("".join(logs(container, "--timestamps")))
        ]
        return times[-1] if times and times[-1] >= since else None

    return wait_until(last_ready, seconds, f"{host_name(container)} logs that it is ready")


class Stack:
    """A context manager that keeps the proxy's log and removes everything; after a failed check it shows the log."""

    def __init__(self, report, name, folder="."):
        self.report = report
        self.name = name
        self.project = f"robin-{name}-{os.getpid()}"
        self.folder = ROOT / folder
        self.port = free_port()
        self._extra = []

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        self.keep_log(show=error is not None or self.report.section_failed)
        if self._extra:
            docker("rm", "--force", *self._extra, check=False)
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "3", check=False)

    def keep_log(self, show, events=60, requests=20):
        """Keeps what the proxy said: events, which it writes to stderr, and requests, on stdout; shows the last."""
        for container in self.containers("proxy", running=False):
            access, error = logs(container)
            for title, text, last in (("events", error, events), ("requests", access, requests)):
                (self.report.artifacts / f"{self.name}-{title}.log").write_text(text)
                if show:
                    print(f"-- the proxy's last {title} in {self.project}:", *text.splitlines()[-last:], sep="\n  ", flush=True)

    def compose(self, *args, **options):
        environment = {**os.environ, "ROBIN_PORT": f"127.0.0.1:{self.port}", "COMPOSE_PROJECT_NAME": self.project}
        return sh(*compose_command(), *args, cwd=self.folder, env=environment, **options)

    def up(self, *services, scale=None):
        scaled = ["--scale", f"back-end={scale}"] if scale else []
        self.compose("up", "-d", "--no-build", "--no-recreate", *scaled, *services)

    def containers(self, service, running=True):
        """The ids of a service's containers, in full."""
        every = [] if running else ["--all"]
        return docker(
            "ps", *every, "--quiet", "--no-trunc",
            "--filter", f"label=com.docker.compose.project={self.project}",
            "--filter", f"label=com.docker.compose.service={service}",
        ).split()

    def container(self, service):
        (only,) = self.containers(service, running=False)
        return only

    def published(self):
        """The services that publish a port."""
        ids = docker("ps", "--quiet", "--filter", f"label=com.docker.compose.project={self.project}").split()
        services = set()
        for details in json.loads(docker("inspect", *ids)):
            if any(details["NetworkSettings"]["Ports"].values()):
                services.add(details["Config"]["Labels"]["com.docker.compose.service"])
        return services

    def occupy(self, count):
        """Containers that take the next free addresses of the network and listen on nothing."""
        for _ in range(count):
            self._extra.append(docker(
                "run", "--detach", "--rm", "--init", "--network", f"{self.project}_default",
                "debian:bookworm-slim", "sleep", "600",
            ).strip())

    def get(self, path="/api/hello", timeout=15):
        return get(self.port, path, timeout)

    def wait_for_replicas(self, count, path="/api/hello", seconds=40):
        """Waits until that many replicas answer, all of them in one round."""

        def all_answer():
            answers = [self.get(path) for _ in range(2 * count)]
            return all(a.status == 200 for a in answers) and len({a.replica for a in answers}) == count

        wait_until(all_answer, seconds, f"{count} replicas answer {path}")
