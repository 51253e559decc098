"""The parts of the test but churn: scaling and the page, the proxy alone, the examples, the image."""

import ast
import contextlib
import json
import subprocess
import sys
import threading
import time

import browser
from load import Load, failed, shares, summary
from stack import ROOT, Stack, address, docker, free_port, get, host_name, inspect, logs, ready_at, wait_until

JOIN_SECONDS = 2.0
CLIENTS = ROOT / "backend-flask/clients.py"


def spread(shares):
    """By how much the largest share is more than the smallest."""
    return max(shares.values()) - min(shares.values())


def scale(report):
    """Five replicas: strict turns, the page in a real browser, nothing but the proxy published, a clean stop."""
    with Stack(report, "scale") as stack:
        stack.up(scale=5)
        stack.wait_for_replicas(5)
        report.check("only the proxy publishes a port", stack.published() == {"proxy"}, ", ".join(sorted(stack.published())))

        answers = [stack.get() for _ in range(10)]
        turns = [a.replica for a in answers]
        each = {replica: turns.count(replica) for replica in set(turns)}
        report.check("10 requests: each of 5 replicas answers exactly 2", sorted(each.values()) == [2] * 5, str(each))
        report.check("they answer in turn", turns[:5] == turns[5:], " ".join(map(str, turns)))
        report.check("all say Hello, World!", all(a.body == "Hello, World!" for a in answers))

        page(report, stack.port)
        drain(report, stack)


def page(report, port):
    """The page on a phone: it shows the answer, sends 10 requests and draws five equal bars."""
    with browser.Browser() as phone:
        phone.open(f"http://127.0.0.1:{port}/")
        phone.wait_for("document.querySelector('#dynamic-content')?.textContent === 'Hello, World!'")
        replica = phone.evaluate("document.querySelector('#replica').textContent")
        report.check("the page shows Hello, World! and who said it", len(replica) == 12, replica)

        send_ten(phone)
        drawn = bars(phone)
        report.check("10 requests from the page: five bars of 2", [count for _, count in drawn] == [2] * 5, str(dict(drawn)))
        report.note(phone.evaluate("document.querySelector('#status').textContent"))
        wide = phone.evaluate("document.documentElement.scrollWidth")
        report.check("the page fits a phone's width", wide <= phone.size[0], f"{wide} of {phone.size[0]} px")
        phone.screenshot(report.artifacts / "phone.png")


def send_ten(phone):
    phone.evaluate("document.querySelector('#count').value = 10; document.querySelector('#send').click()")
    phone.wait_for("!document.querySelector('#send').disabled", seconds=30)


def bars(phone):
    """The chart: each replica's name and count."""
    return json.loads(phone.evaluate("""
        JSON.stringify([...document.querySelectorAll("#chart [data-replica]")]
            .map((bar) => [bar.dataset.replica, Number(bar.dataset.count)]))
    """))


def drain(report, stack):
    """A stop lets a request in flight finish, and no longer."""
    proxy = stack.container("proxy")
    answers = []
    client = threading.Thread(target=lambda: answers.append(stack.get("/api/slow?seconds=3")), daemon=True)
    client.start()
    time.sleep(1)
    begun = time.monotonic()
    docker("stop", proxy)
    took = time.monotonic() - begun
    client.join()
    report.check("docker stop: a request of 3 s in flight completes", bool(answers) and answers[0].status == 200, str(answers))
    code = inspect(proxy, "{{.State.ExitCode}}")
    report.check("docker stop: ends after it with exit code 0", code == "0" and took < 4.5, f"code {code} after {took:.1f} s")


def hand(report):
    """The operator's hand: a replica is drained under load, and nobody notices."""
    with Stack(report, "hand") as stack:
        stack.up(scale=3)
        stack.wait_for_replicas(3)
        proxy = stack.container("proxy")
        table = docker("exec", proxy, "robin", "peers")
        report.check("robin peers shows every replica up", table.count(":5252") == 3 and "3/3 peers up" in table, "\n" + table)
        victim = stack.containers("back-end")[0]
        peer = f"{address(victim)}:5252"
        with Load(stack.port) as load:
            load.settle(1)
            slow = []
            # One for each replica, give or take what the load puts in between.
            clients = [threading.Thread(target=lambda: slow.append(stack.get("/api/slow?seconds=2").status), daemon=True) for _ in range(9)]
            for client in clients:
                client.start()
            wait_until(lambda: in_flight(proxy, peer), 2, "the replica has a slow request in flight")
            told = docker("exec", proxy, "robin", "drain", "--timeout", "20s", peer)
            drained = time.time()
            report.note(" ".join(told.split()))
            load.settle(2)
            after = load.between(drained)
            report.check("a drained replica gets nothing", after and host_name(victim) not in shares(after), str(shares(after)))
            report.check("nothing is in flight on it", in_flight(proxy, peer) == 0)
            docker("exec", proxy, "robin", "undrain", peer)
            back = time.time()
            load.settle(2)
            report.check("undrained it serves again", host_name(victim) in shares(load.between(back)), str(shares(load.between(back))))
            for client in clients:
                client.join()
            report.check("what was in flight has ended well", slow == [200] * 9, str(slow))
            records = load.records
            report.check("no request failed", not failed(records), summary(records))
        unknown = subprocess.run(["docker", "exec", proxy, "robin", "drain", "nobody"], capture_output=True, text=True)
        report.check("an unknown name is refused with what there is", unknown.returncode == 1 and "back-end" in unknown.stderr, unknown.stderr.strip())


def in_flight(proxy, peer):
    """The requests under way at a peer, as the proxy tells."""
    state = json.loads(docker("exec", proxy, "robin", "peers", "--json"))
    (count,) = [p["in_flight"] for u in state["upstreams"] for p in u["peers"] if p["address"] == peer]
    return count


def alone(report):
    """The proxy starts before anything else, says what is missing, and finds it when it comes."""
    with Stack(report, "alone") as stack:
        stack.up("proxy")
        wait_until(lambda: stack.get().status, 20, "the proxy answers")
        for path, upstream in (("/api/hello", "back-end"), ("/", "front-end")):
            answer = stack.get(path)
            ok = answer.status == 502 and upstream in answer.body and answer.seconds < 1
            seen = f"{answer.status} in {answer.seconds:.2f} s: {' '.join(answer.body.split())!r}"
            report.check(f"{path} is 502, at once, and names {upstream}", ok, seen)
        running = inspect(stack.container("proxy"), "{{.State.Running}} {{.RestartCount}}")
        report.check("the proxy runs and was never restarted", running == "true 0", running)

        stack.up("front-end")
        wait_until(lambda: stack.get("/").status == 200, 20, "the site answers")
        report.check("the site is there once it is up", 'id="dynamic-content"' in stack.get("/").body)
        page_without_api(report, stack.port)

        stack.up("back-end")
        ready = ready_at(stack.container("back-end"))
        wait_until(lambda: stack.get().status == 200, 20, "the API answers")
        took = time.time() - ready
        report.check(f"the API is there within {JOIN_SECONDS:g} s of being ready", took <= JOIN_SECONDS, f"after {took:.2f} s")


def page_without_api(report, port):
    """The page says what failed, and why."""
    with browser.Browser() as phone:
        phone.open(f"http://127.0.0.1:{port}/")
        phone.wait_for("document.querySelector('#replica')?.textContent === 'none'")
        said = phone.evaluate("document.querySelector('#dynamic-content').textContent")
        report.check("the page shows the proxy's reason", said.startswith("502") and "back-end" in said, said)
        send_ten(phone)
        status = phone.evaluate("document.querySelector('#status').textContent")
        told = status.startswith("None of 10 answered. 10 failed: 502")
        report.check("10 requests from the page: none answered, and it says so", told, status)
        report.check("no bar pretends an answer", bars(phone) == [])


def three(report):
    """conf/examples/three-flask-servers: a thousand clients are shared out to the last one."""
    with Stack(report, "three", "conf/examples/three-flask-servers") as stack:
        stack.up()
        stack.wait_for_replicas(3, "/")
        answers = [stack.get("/").body for _ in range(6)]
        report.check("the servers answer in turn", len(set(answers[:3])) == 3 and answers[:3] == answers[3:], " ".join(answers))
        for threads in (1000, 100):
            done = subprocess.run(
                [sys.executable, CLIENTS, f"http://127.0.0.1:{stack.port}/", "--threads", str(threads)],
                capture_output=True, text=True, timeout=120,
            )
            printed = done.stdout.strip()
            served = ast.literal_eval(printed) if done.returncode == 0 else {}
            shared = sorted(served) == [1, 2, 3] and spread(served) <= 1 and sum(served.values()) == threads
            seen = f"{printed} {done.stderr.strip()}".strip()
            report.check(f"clients.py with {threads} threads: shares differ by at most 1", shared, seen)


def backup(report):
    """conf/examples/backup-service: the backup serves while both primaries are out, and only then."""
    primaries = ("flaskservice", "redudantservice")
    fail_timeout = 10

    with Stack(report, "backup", "conf/examples/backup-service") as stack:

        def served(count=30):
            """Which services answered; what failed appears as its status."""
            answers = [stack.get("/") for _ in range(count)]
            names = [a.replica if a.status == 200 else f"{a.status} {' '.join(a.body.split())[:200]}" for a in answers]
            return {name: names.count(name) for name in sorted(set(names))}

        stack.up()
        wait_until(lambda: sorted(served(6)) == sorted(primaries), 40, "both primaries serve")
        each = served()
        half = sorted(each) == sorted(primaries) and spread(each) <= 1
        report.check("both primaries up: half each, the backup nothing", half, str(each))

        stack.compose("stop", "flaskservice")
        each = served()
        report.check("one primary stopped: the other has all", each == {"redudantservice": 30}, str(each))

        stack.compose("stop", "redudantservice")
        each = served()
        report.check("both stopped: the backup has all", each == {"gotyourback": 30}, str(each))

        begun = time.time()
        stack.compose("start", *primaries)
        ready = [ready_at(stack.container(name), begun) for name in primaries]
        while "gotyourback" in (each := served(4)) and time.time() < max(ready) + fail_timeout:
            time.sleep(0.1)
        took = time.time() - max(ready)
        left = "gotyourback" not in each and took <= fail_timeout
        report.check(f"primaries back: the backup has nothing within {fail_timeout} s", left, f"{each} after {took:.2f} s")
        wait_until(lambda: time.time() > max(ready) + fail_timeout, fail_timeout + 5, "fail_timeout has passed")
        each = served()
        shared = sorted(each) == sorted(primaries) and spread(each) <= 2
        report.check("and then the primaries share again, the backup has nothing", shared, str(each))


@contextlib.contextmanager
def lone_proxy(*options, config=True):
    """The image by itself on a port of its own; the container and the port."""
    port = free_port()
    mounted = ["--volume", f"{ROOT / 'conf/robin.yaml'}:/etc/robin/robin.yaml:ro"] if config else []
    # No name resolves and none is asked for outside: port 53 of the container itself refuses.
    container = docker(
        "run", "--detach", "--publish", f"127.0.0.1:{port}:80", "--dns", "127.0.0.1", *mounted, *options, "robin",
    ).strip()
    try:
        yield container, port
    finally:
        docker("rm", "--force", "--volumes", container, check=False)


def image(report):
    """The image: whoever it runs as, it answers, knows its health, and stops quickly with code 0."""
    report.note(docker("run", "--rm", "--env", "NGINX_ENTRYPOINT_QUIET_LOGS=1", "robin", "robin", "--version").strip())
    with lone_proxy(config=False) as (container, port):
        wait_until(lambda: get(port, "/").status, 15, "it answers")
        answer = get(port, "/")
        report.check("without a configuration it welcomes, as nginx's image does", answer.status == 200, f"{answer.status}")

    ways = {
        "as root": [],
        "as user 10001, read-only": ["--user", "10001", "--read-only", "--cap-drop", "ALL"],
        "as root with three capabilities, read-only": [
            "--read-only", "--security-opt", "no-new-privileges:true",
            "--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE", "--cap-add", "SETUID", "--cap-add", "SETGID",
        ],
    }
    for signal, (way, options) in zip(("SIGTERM", "SIGQUIT", "SIGINT"), ways.items()):
        with lone_proxy(*options) as (container, port):
            try:
                starts(report, way, container, port)
                stops(report, way, container, signal)
            except (RuntimeError, TimeoutError) as error:
                report.check(way, False, f"{error}\nit logged:\n{''.join(logs(container, '--tail', '20'))}")


def starts(report, way, container, port):
    wait_until(lambda: get(port).status, 15, "the proxy answers")
    answer = get(port)
    report.check(f"{way}: answers", answer.status == 502, f"{answer.status}")
    uids = docker("exec", container, "grep", "^Uid:", "/proc/1/status").split()[1:]
    report.check(f"{way}: serves as an unprivileged user", "0" not in uids, f"uid {uids[0]}")
    said = docker("exec", container, "robin", "health").strip()
    report.check(f"{way}: `robin health` exits with 0", True, said)
    wait_until(lambda: inspect(container, "{{.State.Health.Status}}") == "healthy", 20, "Docker calls it healthy")
    report.check(f"{way}: Docker calls it healthy", True)


def stops(report, way, container, signal):
    begun = time.monotonic()
    docker("kill", "--signal", signal, container)
    code = docker("wait", container, timeout=15).strip()
    took = time.monotonic() - begun
    # The process itself takes far less; Docker's own work on a busy machine is in this number.
    report.check(f"{way}: {signal} ends it with code 0", code == "0" and took < 2, f"code {code} after {took:.2f} s")


def build(report):
    """Builds the images of all stacks; what Docker has built before it takes again."""
    stack = Stack(report, "build")
    begun = time.monotonic()
    for service in ("back-end", "front-end", "proxy"):
        stack.compose("build", service, timeout=3600)
    report.check("the images build", True, f"{time.monotonic() - begun:.0f} s")
