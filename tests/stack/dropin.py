"""In nginx's place: stacks whose proxy and site are built FROM nginx:stable, where that tag is robin's image.

Four ways in which people write the proxy's configuration, none of them for robin: six lines in
conf.d, variables with a resolver, an upstream with backup and error pages, a whole nginx.conf.
"""

import contextlib
import time

import parts
from churn import Churn
from load import Load, failed, shares, slow, summary
from stack import Stack, docker, ready_at, wait_until

JOIN_SECONDS = 2.0
STACKS = ("tutorial", "variables", "upstream", "whole")
# Those whose replicas are killed, restarted and made anew as well: a fixed name, and one that requests name.
CHURNED = ("dropin-tutorial", "dropin-variables")


@contextlib.contextmanager
def robin_as_nginx():
    """Gives robin's image nginx's tag for a while."""
    nginx = docker("image", "inspect", "--format", "{{.Id}}", "nginx:stable", check=False).strip()
    docker("tag", "robin", "nginx:stable")
    try:
        yield
    finally:
        if nginx:
            docker("tag", nginx, "nginx:stable")
        else:
            docker("rmi", "nginx:stable", check=False)


def run(report):
    with robin_as_nginx():
        for name in STACKS:
            with Stack(report, f"dropin-{name}", f"tests/stack/dropin/{name}") as stack:
                stack.compose("build", timeout=600)
                report.section(f"dropin {name}")
                starts_alone(report, stack)
                scales(report, stack)
                if name == "upstream":
                    falls_back(report, stack)


def starts_alone(report, stack):
    """The proxy before anything else, which ends nginx."""
    stack.up("proxy")
    wait_until(lambda: stack.get().status, 20, "the proxy answers")
    answer = stack.get()
    report.check("alone: /api/hello is 502 at once", answer.status == 502 and answer.seconds < 1, f"{answer.status} in {answer.seconds:.2f} s")
    stack.up("front-end")
    wait_until(lambda: stack.get("/").status == 200, 20, "the site answers")
    report.check("the site is there once it is up", 'id="dynamic-content"' in stack.get("/").body)
    served = docker("exec", stack.container("front-end"), "nginx", "-v", check=False)
    report.note(f"the site's server: {stack.get('/robin.svg').status} for a picture {served.strip()}")


def scales(report, stack):
    """Replicas come and go under load; the page draws them all."""
    stack.up(scale=2)
    stack.wait_for_replicas(2)
    with Load(stack.port) as load:
        begun = time.time()
        before = set(stack.containers("back-end"))
        stack.up("back-end", scale=5)
        new = set(stack.containers("back-end")) - before
        ready = max(ready_at(replica) for replica in new)
        wait_until(lambda: time.time() > ready + JOIN_SECONDS, 10, "the new replicas had their time to join")
        joined = time.time()
        load.settle(2)
        each = shares(load.between(joined))
        even = len(each) == 5 and max(each.values()) - min(each.values()) <= 2
        report.check("2 to 5: five replicas have equal shares", even, str(each))
        stack.up("back-end", scale=1)
        load.settle(3)
        stack.up("back-end", scale=3)
        load.settle(3)
        records = load.between(begun)
        bad = failed(records) + slow(records)
        report.check("5 to 1 to 3: no request fails", records and not bad, summary(records))
        for record in bad[:5]:
            report.note(str(record))
        if stack.name in CHURNED:
            churn = Churn(report, stack, load)
            churn.kill_one()
            churn.restart_one()
            churn.recreate_elsewhere()
    stack.up("back-end", scale=5)
    stack.wait_for_replicas(5)
    turns = [stack.get().replica for _ in range(10)]
    each = {replica: turns.count(replica) for replica in set(turns)}
    report.check("10 requests: each of 5 replicas answers exactly 2", sorted(each.values()) == [2] * 5, str(each))
    parts.page(report, stack.port)


def falls_back(report, stack):
    """Without replicas the backup serves, and what no peer answers gets the page of the image."""
    stack.compose("rm", "--stop", "--force", "back-end")
    wait_until(lambda: stack.get("/api/hello").status == 404, 10, "the backup, which has no API, answers")
    report.check("all replicas gone: the backup answers", stack.get("/api/hello").status == 404)
    page = stack.get("/nowhere")
    report.check("error_page: 502 comes with /50x.html", page.status == 502 and "<h1>" in page.body, f"{page.status} {page.body[:60]!r}")
