"""A headless Chromium driven over its debugging port, with the standard library alone."""

import base64
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find():
    """The path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def wait_for_still_network(seconds=30, still=3):
    """Waits until no interface has come, gone or changed its addresses for a while.

    Chromium fails requests that are under way when one does (ERR_NETWORK_CHANGED), and a container's gets its last
    address seconds after it has started.
    """
    def addresses():
        return [pathlib.Path(file).read_text() for file in ("/proc/net/if_inet6", "/proc/net/route") if os.path.exists(file)]

    deadline = time.monotonic() + seconds
    known, since = addresses(), time.monotonic()
    while time.monotonic() < min(since + still, deadline):
        time.sleep(0.1)
        if (now := addresses()) != known:
            known, since = now, time.monotonic()


class Browser:
    """One page in one browser; a context manager that ends it."""

    def __init__(self, width=390, height=844, dark=False):
        self.size = width, height
        self.dark = dark
        # What the browser has told unasked, once `watch` has asked for it.
        self.events = []

    def __enter__(self):
        wait_for_still_network()
        self._profile = tempfile.TemporaryDirectory(prefix="robin-browser-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [
                find(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                "--no-first-run", "--disable-background-networking", "--disable-component-update", "--no-proxy-server",
                "--remote-debugging-port=0", f"--user-data-dir={self._profile.name}", "about:blank",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        try:
            self._socket = WebSocket(self._page_address(time.monotonic() + 30))
            self._last_id = 0
            width, height = self.size
            self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2, mobile=width < 800)
            self.call("Emulation.setTouchEmulationEnabled", enabled=width < 800)
            scheme = "dark" if self.dark else "light"
            self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._profile.cleanup()

    def _page_address(self, deadline):
        """Where the browser said it listens, once it does and has its page."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while time.monotonic() < deadline:
            try:
                with open(os.path.join(self._profile.name, "DevToolsActivePort")) as file:
                    port = int(file.readline())
                with opener.open(f"http://127.0.0.1:{port}/json/list", timeout=5) as answer:
                    pages = [target for target in json.load(answer) if target["type"] == "page"]
                if pages:
                    return pages[0]["webSocketDebuggerUrl"]
            except (OSError, ValueError):
                pass
            if self._process.poll() is not None:
                raise RuntimeError(f"the browser ended at its start with code {self._process.returncode}")
            time.sleep(0.1)
        raise TimeoutError("the browser opened no debugging port")

    def call(self, method, **params):
        self._last_id += 1
        self._socket.send(json.dumps({"id": self._last_id, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.receive())
            if message.get("id") != self._last_id:
                self.events.append(message)
                continue
            if "error" in message:
                raise RuntimeError(f"{method}: {message['error']['message']}")
            return message["result"]

    def watch(self):
        """From now on keeps what pages ask for and complain about, see `requests` and `complaints`."""
        for domain in ("Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def requests(self):
        """The addresses that pages have asked for."""
        return [event["params"]["request"]["url"] for event in self._told("Network.requestWillBeSent")]

    def complaints(self):
        """What pages and the browser have written on the console, but for plain notes, and what was thrown."""
        written = [event["params"] for event in self._told("Runtime.consoleAPICalled")]
        logged = [event["params"]["entry"] for event in self._told("Log.entryAdded")]
        thrown = [event["params"]["exceptionDetails"] for event in self._told("Runtime.exceptionThrown")]
        return (
            [json.dumps(call["args"]) for call in written if call["type"] in ("error", "warning", "assert")]
            + [f"{entry['text']} {entry.get('url', '')}" for entry in logged if entry["level"] in ("error", "warning")]
            + [details.get("exception", {}).get("description", details["text"]) for details in thrown]
        )

    def _told(self, method):
        self.evaluate("0")  # What was told before this answer is here then.
        return [event for event in self.events if event.get("method") == method]

    def open(self, url):
        failure = self.call("Page.navigate", url=url).get("errorText")
        if failure:
            raise RuntimeError(f"{url}: {failure}")

    def evaluate(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"].get("exception", {}).get("description", script))
        return result["result"].get("value")

    def wait_for(self, script, seconds=15):
        """Waits until the script's value is true."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(f"Boolean({script})"):
            if time.monotonic() > deadline:
                page = self.evaluate("document.body.innerText")
                raise TimeoutError(f"not within {seconds} s: {script}; the page says: {page!r}")
            time.sleep(0.05)

    def screenshot(self, path, whole=False):
        """What is seen, or with `whole` all of the page."""
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **(self._all() if whole else {}))
        with open(path, "wb") as file:
            file.write(base64.b64decode(picture["data"]))


    def _all(self):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {**size, "scale": 1}}


class WebSocket:
    """The client side of RFC 6455, as far as the debugging port needs it: text, unmasked answers."""

    def __init__(self, address):
        host, _, path = address.removeprefix("ws://").partition("/")
        name, _, port = host.partition(":")
        self._socket = socket.create_connection((name, int(port)), timeout=60)
        self._file = self._socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        status = self._file.readline()
        if b" 101 " not in status:
            raise ConnectionError(f"no websocket: {status!r}")
        while self._file.readline() != b"\r\n":
            pass

    def send(self, text):
        payload, mask = text.encode(), os.urandom(4)
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", 0x81, 0x80 | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", 0x81, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", 0x81, 0x80 | 127, size)
        self._socket.sendall(head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)))

    def receive(self):
        message = b""
        while True:
            first, size = self._read(2)
            size &= 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", self._read(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", self._read(8))
            payload = self._read(size)
            if first & 0x0F == 8:
                raise ConnectionError("the browser closed its debugging port")
            # Pings (9) and pongs (10) may stand between the parts of a message.
            if first & 0x0F < 8:
                message += payload
                if first & 0x80:
                    return message.decode()

    def _read(self, size):
        data = self._file.read(size)
        if len(data) < size:
            raise ConnectionError("the browser closed its debugging port")
        return data
