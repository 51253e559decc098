"""Processes as /proc shows them, and the CPUs that they may use."""

import contextlib
import os
import pathlib
import platform
import socket
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")
CPUS = sorted(os.sched_getaffinity(0))
# What each proxy may use, be it threads or processes.
WORKERS = 2


def cpus_of_proxies():
    """Two of their own where there are enough, so that neither clients nor back-ends take from them."""
    return set(CPUS[:WORKERS]) if len(CPUS) >= 2 * WORKERS else set(CPUS)


def cpus_of_others():
    """What clients may use."""
    return set(CPUS[WORKERS:]) if len(CPUS) >= 2 * WORKERS else set(CPUS)


def cpu_of_back_end(number):
    """One each: two that share one would answer slower than two that do not."""
    others = sorted(cpus_of_others())
    return {others[number % len(others)]}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def tree(pid):
    """A process and all that it has started."""
    children = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            children += (task / "children").read_text().split()
    return [pid] + [p for child in children for p in tree(int(child))]


def cpu_seconds(pid):
    """utime + stime of all processes of a proxy."""
    total = 0
    for p in tree(pid):
        fields = pathlib.Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory(pid):
    """Resident bytes of all processes of a proxy: what each sees (RSS), and with shared pages shared out (Pss)."""
    sums = {"Rss": 0, "Pss": 0}
    for p in tree(pid):
        for line in pathlib.Path(f"/proc/{p}/smaps_rollup").read_text().splitlines():
            name = line.split(":")[0]
            if name in sums:
                sums[name] += int(line.split()[1]) * 1024
    return sums["Rss"], sums["Pss"]


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


@contextlib.contextmanager
def running(command, port, log, cpus=None, env=None):
    """A process that listens on a port; what it prints goes to the file `log`."""
    with open(log, "wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})})
    try:
        if cpus:
            os.sched_setaffinity(process.pid, cpus)
        deadline = time.monotonic() + 15
        while not listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                last = pathlib.Path(log).read_text(errors="replace")[-2000:]
                raise SystemExit(f"{' '.join(command)} does not listen on {port}\n{last}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def description():
    """What the figures were measured on."""
    info = pathlib.Path("/proc/cpuinfo").read_text()
    names = [line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")]
    return {"cpu": names[0] if names else platform.machine(), "cpus": len(CPUS), "system": f"{platform.system()} {platform.release()}"}
