"""A tab of a headless Chromium, driven over its DevTools protocol.

The messages go through a pair of pipes (`--remote-debugging-pipe`), so no port and no further package is needed.
Reference: https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from browser import find_browser

FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-extensions",
    "--disable-component-update",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
)
PATIENCE = 90.0
"""Seconds to wait for an answer or a condition, on a loaded machine."""


class Tab:
    """A tab, replaced by a new one for each page, and what the page logged and requested.

    Attributes:
        problems: errors on the console, exceptions and failed requests of the page.
        requests: addresses that were requested for the page, with its own.
    """

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._out, self._in = to_browser, from_browser
        self._loaded = False
        self._pending: dict[str, str] = {}
        self._received = b""
        self._count = 0
        self._target: str | None = None
        self._session: str | None = None

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result.

        Raises:
            RuntimeError: Chromium refuses the command.
            TimeoutError: there is no answer.
        """
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def open(self, page: Path, width: int, height: int = 900, scheme: str = "light") -> None:
        """Load a file in a window of `width` x `height` pixels, and wait for all of its requests.

        Args:
            scheme: what the page should think that the user prefers, light or dark.
        """
        self._renew()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=page.as_uri())
        deadline = time.monotonic() + PATIENCE
        while not self._loaded or self._pending:
            self._receive(deadline)
        self.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")  # what the last answers caused

    def run(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page; a promise is awaited."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Return the value of an expression as soon as it is true in JavaScript's sense."""
        deadline = time.monotonic() + PATIENCE
        while not (value := self.run(expression)):
            if time.monotonic() > deadline:
                raise TimeoutError(expression)
            time.sleep(0.05)
        return value

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _renew(self) -> None:
        """Replace the tab, so that nothing of the page before arrives late."""
        self._session, old = None, self._target
        self._target = self.call("Target.createTarget", url="about:blank")["targetId"]
        if old:
            self.call("Target.closeTarget", targetId=old)
        self._session = self.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.problems, self.requests, self._pending, self._loaded = [], [], {}, False

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError("no answer from Chromium")
            chunk = os.read(self._in, 1 << 20)
            if not chunk:
                raise RuntimeError("Chromium has ended")
            self._received += chunk
        line, _, self._received = self._received.partition(b"\0")
        message = json.loads(line)
        if message.get("sessionId") == self._session:
            self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, parameters: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
            self._pending[parameters["requestId"]] = parameters["request"]["url"]
        elif event in ("Network.loadingFinished", "Network.loadingFailed"):
            address = self._pending.pop(parameters["requestId"], None)
            if address and "errorText" in parameters:
                self.problems.append(f"{parameters['errorText']} {address}")
        elif event == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif event == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "assert"):
            self.problems.append(str([value.get("value", value.get("description")) for value in parameters["args"]]))
        elif event == "Log.entryAdded":
            entry = parameters["entry"]
            if entry["level"] == "error" and entry["source"] != "network":  # these come late, and are noted above
                self.problems.append(f"{entry['text']} {entry.get('url', '')}")


@contextmanager
def new_tab(directory: Path) -> Iterator[Tab]:
    """Start a browser with its files in `directory`, and end it afterwards."""
    (commands, to_browser), (from_browser, answers) = os.pipe(), os.pipe()
    # Chromium reads commands from descriptor 3 and writes answers to 4.
    shell = ["bash", "-c", f'exec "$0" "$@" 3<&{commands} 4>&{answers}']
    process = subprocess.Popen(
        [*shell, find_browser() or "chromium", *FLAGS, f"--user-data-dir={directory}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(commands, answers),
    )
    os.close(commands)
    os.close(answers)
    try:
        yield Tab(to_browser, from_browser)
    finally:
        process.terminate()
        process.wait(30)
        os.close(to_browser)
        os.close(from_browser)
