"""A headless Chromium for tests, spoken to by the DevTools protocol: pages at a given width, and what they complain of."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
)


def chromium() -> str | None:
    """Where a Chromium lies, if one is installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Tab:
    """One open page. `complaints`: what the page wrote as an error or warning, threw, or failed to load."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._last = socket, 0
        self.complaints: list[str] = []
        self.asked_for: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **told: Any) -> dict[str, Any]:
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": told}))
        while (heard := self._hear()).get("id") != self._last:
            pass
        assert "error" not in heard, heard
        result: dict[str, Any] = heard["result"]
        return result

    def open(self, page: Path, width: int, height: int = 900) -> None:
        """Load a page as a window (or, when narrow, a telephone) of this width shows it."""
        self.complaints.clear()
        self.asked_for.clear()
        narrow = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=narrow)
        self.call("Page.navigate", url=page.resolve().as_uri())
        while self._hear().get("method") != "Page.loadEventFired":
            pass

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self, to: Path) -> Path:
        """The whole page as a PNG."""
        height = self.ask("document.documentElement.scrollHeight")
        width = self.ask("window.innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        to.write_bytes(base64.b64decode(told["data"]))
        return to

    def _hear(self) -> dict[str, Any]:
        heard: dict[str, Any] = json.loads(self._socket.recv(timeout=60))
        told = heard.get("params", {})
        match heard.get("method"):
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.complaints.append(told["entry"]["text"])
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning", "assert"):
                self.complaints.append(str(told["args"]))
            case "Runtime.exceptionThrown":
                self.complaints.append(str(told["exceptionDetails"]))
            case "Network.requestWillBeSent":
                self.asked_for.append(told["request"]["url"])
            case "Network.loadingFailed":
                self.complaints.append(told["errorText"])
        return heard


@contextmanager
def open_tab(program: str) -> Iterator[Tab]:
    """A new Chromium with one empty page; it is gone afterwards."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        command = [program, *FLAGS, f"--user-data-dir={home}", "--remote-debugging-port=0", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = _port(Path(home) / "DevToolsActivePort", process)
            pages = httpx2.get(f"http://127.0.0.1:{port}/json/list", trust_env=False).json()
            address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
            with connect(address, max_size=None, proxy=None) as socket:
                yield Tab(socket)
        finally:
            process.terminate()
            process.wait(30)


def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, f"Chromium ended with {process.returncode}"
        if file.is_file() and (lines := file.read_text().split()):
            return int(lines[0])
        time.sleep(0.05)
    raise TimeoutError("Chromium did not open its debugging port")


#: Widths of a window and of a telephone.
WIDTHS = (1280, 390)
MOST_BYTES = 5_000_000
#: Elements beyond the right edge, but for those in something that scrolls.
BEYOND = """[...document.querySelectorAll('main *')]
  .filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, nav'))
  .slice(0, 5).map(e => 'beyond the edge: ' + e.tagName + ' ' + e.textContent.trim().slice(0, 60))"""
#: Pieces of text that lie over one another: by more than two fifths of the lower one's height.
OVER = """(() => {
  const walk = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT), boxes = [];
  while (walk.nextNode()) {
    const range = document.createRange();
    range.selectNodeContents(walk.currentNode);
    // What a folded part holds has boxes as well.
    if (walk.currentNode.textContent.trim() && walk.currentNode.parentElement.checkVisibility())
      for (const box of range.getClientRects()) if (box.width > 1 && box.height > 1) boxes.push([box, walk.currentNode]);
  }
  boxes.sort((a, b) => a[0].top - b[0].top);
  const over = [];
  boxes.forEach(([a, one], i) => {
    for (let j = i + 1; j < boxes.length && boxes[j][0].top < a.bottom; j++) {
      const [b, other] = boxes[j];
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - b.top;
      if (one !== other && wide > 2 && high > .4 * Math.min(a.height, b.height))
        over.push('over one another: ' + one.textContent.trim().slice(0, 30) + ' / ' + other.textContent.trim().slice(0, 30));
    }
  });
  return over.slice(0, 5);
})()"""


def faults_of(page: Path) -> list[str]:
    """What is wrong with a report page, at both widths, in both languages, folded and unfolded. Skips without a Chromium."""
    program = chromium()
    if program is None:
        pytest.skip("no Chromium here (apt-get install chromium)")
    found = [] if page.stat().st_size < MOST_BYTES else [f"{page.stat().st_size} bytes"]
    with open_tab(program) as tab:
        for width in WIDTHS:
            tab.open(page, width)
            for language in ("en", "zh"):
                tab.ask(f"document.getElementById('{language}').click()")
                for unfolded in ("false", "true"):
                    tab.ask(f"document.querySelectorAll('details').forEach(one => one.open = {unfolded})")
                    wide = tab.ask("document.documentElement.scrollWidth")
                    told = [*tab.ask(BEYOND), *tab.ask(OVER), *([f"{wide} pixels wide"] if wide > width else [])]
                    found += [f"{width} {language}: {one}" for one in told]
                # Every phrase of the other language is hidden, and none of this one is empty.
                shown = "[...document.querySelectorAll('.t')].filter(e => e.checkVisibility()).map(e => e.lang)"
                if set(tab.ask(shown)) != {language}:
                    found.append(f"{width}: another language than {language} shows")
            found += tab.complaints + [f"asks for {url}" for url in tab.asked_for[1:]]
    return found
