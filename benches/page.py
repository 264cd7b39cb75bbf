#!/usr/bin/env python3
"""How long a page takes to open in headless Chromium, whether it is silent, and what it looks like.

    wgrad train --epochs 100 --out long
    python benches/page.py long/report.html --json docs/measurements/DATE-report.json --pictures pictures

Chromium is started once, before anything is timed. The page is then opened several times: `load_ms` is its own clock, from the
start of the navigation to the end of its load event, and `painted_ms` the time from the command to open it until the frame
after its load is drawn. Anything that the page writes to the console, and any request besides itself and what it holds
(`data:`), is an error. For `wgrad serve`, give the address. Needs chromium; nothing of PyPI.
"""

import argparse
import base64
import json
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path


class Browser:
    """A tab of a Chromium of its own, by the DevTools protocol."""

    def __init__(self, chromium, folder):
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0"]
        command = [chromium, *flags, "--remote-allow-origins=*", f"--user-data-dir={folder}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port_file = Path(folder) / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not port_file.exists() or not port_file.read_text().strip():
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit("chromium does not start")
            time.sleep(0.05)
        port = int(port_file.read_text().split()[0])
        tabs = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
        path = next(tab for tab in tabs if tab["type"] == "page")["webSocketDebuggerUrl"].split("/", 3)[3]
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.stream = self.socket.makefile("rb")
        while self.stream.readline().strip():
            pass
        self.sent, self.events = 0, []
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(f"{domain}.enable")

    def receive(self):
        length = self.stream.read(2)[1] & 127
        if length == 126:
            (length,) = struct.unpack(">H", self.stream.read(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self.stream.read(8))
        return json.loads(self.stream.read(length))

    def call(self, method, **parameters):
        self.sent += 1
        text = json.dumps({"id": self.sent, "method": method, "params": parameters}).encode()
        size = bytes([128 | len(text)]) if len(text) < 126 else bytes([128 | 126]) + struct.pack(">H", len(text))
        self.socket.sendall(b"\x81" + size + b"\0\0\0\0" + text)
        while True:
            message = self.receive()
            if message.get("id") == self.sent:
                return message.get("result", message)
            self.events.append(message)

    def value(self, expression):
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        return found["result"].get("value")

    def open(self, address):
        """Opens a page; gives when it is drawn, in seconds from now, and its own time to the end of its load event, in ms."""
        self.events.clear()
        begun = time.perf_counter()
        self.call("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.receive())
        self.value("new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)))")
        painted = time.perf_counter() - begun
        return painted, self.value("performance.getEntriesByType('navigation')[0].loadEventEnd")

    def foreign(self, address):
        """What the page has asked for besides itself, and what it has written to the console."""
        for event in self.events:
            method, parameters = event.get("method"), event.get("params", {})
            if method in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                yield json.dumps(parameters)[:300]
            elif method == "Network.requestWillBeSent":
                url = parameters["request"]["url"]
                if not url.startswith((address, "data:")):
                    yield f"request: {url[:200]}"

    def picture(self, width, scheme, file):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        wide = self.value("document.documentElement.scrollWidth")
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))
        return wide


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", help="a file or an address")
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--pictures", type=Path, help="a folder for pictures: phone and desk, light and dark")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("chromium-browser") or "chrome")
    args = parser.parse_args()
    file = None if "://" in args.page else Path(args.page).resolve()
    address = file.as_uri() if file else args.page
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(args.chromium, folder)
        try:
            found, problems = [], []
            for _ in range(args.times):
                found.append(browser.open(address))
                problems += browser.foreign(address)
            if args.pictures:
                args.pictures.mkdir(parents=True, exist_ok=True)
                for width, name in [(390, "phone"), (1200, "desk")]:
                    for scheme in ["light", "dark"]:
                        wide = browser.picture(width, scheme, args.pictures / f"{name}-{scheme}.png")
                        if wide > width:
                            problems.append(f"{name}: the page is {wide} wide, of {width}")
        finally:
            browser.process.terminate()
            browser.process.wait()
    painted, load = [p * 1e3 for p, _ in found], [l for _, l in found]
    report = {
        "bytes": file.stat().st_size if file else None,
        "load_ms": {"median": statistics.median(load), "first": load[0], "max": max(load)},
        "painted_ms": {"median": statistics.median(painted), "first": painted[0], "max": max(painted)},
        "problems": problems,
    }
    print(json.dumps(report, indent=1))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
