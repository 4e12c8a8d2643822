"""A browser without a window, for tests that look at pages."""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, sync_playwright

NAMES = ("google-chrome", "chromium", "chromium-browser")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"


def find_browser() -> str | None:
    """The browser that ``ALSTM_BROWSER`` names, be it there or not; else one that is installed."""
    return os.environ.get("ALSTM_BROWSER") or next(filter(None, map(shutil.which, (*NAMES, MAC))), None)


class Window:
    """A page, what it complained of, and the hosts (with port) that it asked for something."""

    def __init__(self, page: Page) -> None:
        self.page, self.complaints, self.hosts = page, list[str](), set[str]()
        page.on("console", lambda message: self._note(message.text if message.type == "error" else ""))
        page.on("pageerror", lambda error: self._note(str(error)))
        page.on("requestfailed", lambda request: self._note(f"{request.url} failed"))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def _note(self, text: str) -> None:
        if text:
            self.complaints.append(text)

    def pixels(self) -> np.ndarray:
        """What is seen now; uint8 (H, W, 3)."""
        return np.array(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB"))

    def shows(self, seen: Callable[[np.ndarray], bool], seconds: float = 20) -> bool:
        """Whether what is wanted is seen within that time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if seen(self.pixels()):
                return True
            time.sleep(0.2)
        return False

    def ask(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        return self.page.evaluate(script)


@contextmanager
def window(width: int = 1400, height: int = 1000) -> Iterator[Window]:
    """A page in a browser of its own, out of reach of anything beyond this machine; skips where there is none."""
    path = find_browser()
    if path is None:
        pytest.skip("no Chrome or Chromium is installed; ALSTM_BROWSER can name one")
    # Whatever is no name of this machine is not found, and no proxy is asked.
    reach = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--no-proxy-server", "--no-sandbox"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*reach, "--disable-gpu"])
        try:
            yield Window(browser.new_page(viewport={"width": width, "height": height}))
        finally:
            browser.close()
