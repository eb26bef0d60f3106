"""A headless Chromium, driven by the DevTools protocol: as much of it as the tests of the UI need."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

# Without these Chromium looks for hosts of its vendor; as root it has no sandbox.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
NAMES = ("chromium", "chromium-browser", "google-chrome")
SHOWN_WITHIN = 60.0  # seconds until the page shows what a test waits for

# The innermost visible elements whose text is the one that is looked for, or holds it.
FIND = """
(text, exact) => {
  const says = (e) => (e.innerText || "").replace(/\\s+/g, " ").trim();
  const fits = (e) => exact ? says(e) === text : says(e).includes(text);
  const shown = (e) => { const r = e.getBoundingClientRect(); return r.width > 0 && r.height > 0; };
  const all = [...document.querySelectorAll("body *")].filter((e) => shown(e) && fits(e));
  return all.filter((e) => !all.some((other) => other !== e && e.contains(other)));
}
"""


class Browser:
    """One page. Whatever is asked of it waits until the page shows it."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.clicks = 0

    def go(self, url: str) -> None:
        """Open an address; clicks are counted from here."""
        self.clicks = 0
        self._call("Page.navigate", url=url)

    def text(self) -> str:
        """All that the page says, in one line."""
        return " ".join(str(self._evaluate("document.body ? document.body.innerText : ''")).split())

    def wait_for(self, *texts: str, seconds: float = SHOWN_WITHIN) -> str:
        """Until the page says all of these; returns what it says."""
        end = time.monotonic() + seconds
        while True:
            said = self.text()
            if all(text in said for text in texts):
                return said
            missing = [text for text in texts if text not in said]
            assert time.monotonic() < end, f"{missing} not in: {said[:3000]}"
            time.sleep(0.1)

    def click(self, text: str, *, exact: bool = True, number: int = 0) -> None:
        """Click what says this, as a person does; the how manieth of several."""
        left, top, width, height = self._place_of(text, exact, number)
        self._click_at(left + min(width / 2, 60), top + height / 2)

    def click_right_of(self, text: str) -> None:
        """Click what stands just right of that, such as the arrow of a button with a menu."""
        left, top, width, height = self._place_of(text, exact=True, number=0)
        self._click_at(left + width + 25, top + height / 2)

    def _place_of(self, text: str, exact: bool, number: int) -> tuple[float, float, float, float]:
        end = time.monotonic() + SHOWN_WITHIN
        script = (
            f"(() => {{ const e = ({FIND})({json.dumps(text)}, {json.dumps(exact)})[{number}];"
            " if (!e) return null; e.scrollIntoView({block: 'center'});"
            " const r = e.getBoundingClientRect(); return [r.left, r.top, r.width, r.height]; })()"
        )
        before = None
        # A page that still moves would be clicked beside it.
        while (place := self._evaluate(script)) is None or place != before:
            assert time.monotonic() < end, f"nothing says {text!r}, or it moves: {self.text()[:3000]}"
            before = place
            time.sleep(0.3)
        left, top, width, height = place
        return left, top, width, height

    def _click_at(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.clicks += 1

    def picture(self, path: Path) -> None:
        """Save what the page looks like now."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def size(self, width: int, height: int) -> None:
        """Make the window so large."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def _evaluate(self, expression: str) -> Any:
        return self._call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get(
            "value"
        )

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=SHOWN_WITHIN))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]


@contextmanager
def opened(width: int = 1500, height: int = 900) -> Iterator[Browser]:
    """A browser with one empty page. Where there is no Chromium the test is skipped, and fails in CI."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        said = f"no browser: install one of {', '.join(NAMES)} to run the tests of the UI"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with connect(_page(Path(profile), process), max_size=None) as socket:
                browser = Browser(socket)
                browser.size(width, height)
                yield browser
        finally:
            process.terminate()
            process.wait(20)


def _page(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """The address of the page that it opened at its start."""
    end = time.monotonic() + SHOWN_WITHIN
    while True:
        assert process.poll() is None, "the browser ended at once"
        assert time.monotonic() < end, "the browser did not start"
        try:
            port = (profile / "DevToolsActivePort").read_text(encoding="ascii").splitlines()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=5) as answer:
                pages = [one for one in json.load(answer) if one["type"] == "page"]
            return str(pages[0]["webSocketDebuggerUrl"])
        except (OSError, IndexError):
            time.sleep(0.1)
