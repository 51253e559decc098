"""Docker Swarm: deploy/swarm on a swarm of one node, scaled and updated under load."""

import json
import os
import time

from load import Load
from report import Report
from stack import ROOT, docker, free_port, get

STACK = f"robin-{os.getpid()}"
SERVICE = f"{STACK}_back-end"


def eventually(what, patience=60):
    """Asks again until it is so; whether it was in time."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            if what():
                return True
        except OSError:
            pass
        time.sleep(0.2)
    return False


def replicas(port, count):
    """The replicas that answer so many requests."""
    return [get(port).replica for _ in range(count)]


def running():
    """How many replicas run."""
    tasks = docker("service", "ps", SERVICE, "--filter", "desired-state=running", "--format", "{{json .}}").splitlines()
    return sum(json.loads(task)["CurrentState"].startswith("Running") for task in tasks)


def run(report: Report):
    if docker("info", "--format", "{{.Swarm.LocalNodeState}}").strip() != "inactive":
        report.note("SKIPPED: this Docker engine belongs to a swarm already")
        return
    port = free_port()
    docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    try:
        deploy(report, port)
    finally:
        docker("stack", "rm", STACK, check=False)
        eventually(lambda: not docker("ps", "--quiet", "--filter", f"name={STACK}_").strip())
        docker("swarm", "leave", "--force", check=False)


def deploy(report, port):
    settings = {**os.environ, "ROBIN_PORT": str(port), "CONFIG_VERSION": str(os.getpid())}
    docker(
        "stack", "deploy", "--resolve-image", "never", "--compose-file", ROOT / "deploy/swarm/stack.yaml", STACK,
        env=settings,
    )
    up = eventually(lambda: get(port).status == 200 and len(set(replicas(port, 12))) == 3)
    report.check("the stack answers with all three replicas", up)
    seen = replicas(port, 30)
    shares = sorted(seen.count(replica) for replica in set(seen))
    report.check("30 requests are shared out exactly", shares == [10, 10, 10], shares)
    # Nothing says that its container starts before the API's.
    eventually(lambda: get(port, "/").status == 200)
    page = get(port, "/")
    report.check("the site is there", page.status == 200 and "<html" in page.body.lower(), page.status)

    with Load(port) as load:
        docker("service", "scale", "--detach", f"{SERVICE}=5")
        grown = eventually(lambda: len(set(replicas(port, 15))) == 5)
        report.check("after scale=5 all five are used", grown)
        docker("service", "update", "--detach", "--force", SERVICE)
        old = set(seen)
        renewed = eventually(lambda: running() == 5 and not old & set(replicas(port, 15)), patience=180)
        report.check("a rolling update replaces every replica", renewed)
        docker("service", "scale", "--detach", f"{SERVICE}=2")
        shrunk = eventually(lambda: running() == 2 and len(set(replicas(port, 10))) == 2, patience=90)
        report.check("after scale=2 two are used", shrunk)
    failed = [str(record) for record in load.records if record.status != 200]
    report.check(f"no request failed of {len(load.records)}", not failed, "; ".join(failed[:5]))
