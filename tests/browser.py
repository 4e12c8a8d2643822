"""A page as a browser without a window draws it, by nothing but the browser's own flags."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

NAMES = ("google-chrome", "chromium", "chromium-browser")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"


def find_browser() -> str | None:
    """The browser that ``ALSTM_BROWSER`` names, be it there or not; else one that is installed."""
    return os.environ.get("ALSTM_BROWSER") or next(filter(None, map(shutil.which, (*NAMES, MAC))), None)


def screenshot(browser: str, url: str, folder: Path) -> tuple[np.ndarray, set[str]]:
    """Open a page of this machine, let it run for 20 of its seconds, and photograph it.

    Returns:
        The pixels, uint8 (1000, 1400, 3), and the hosts (with port) that the page asked for something; those beyond
        this machine are out of reach.
    """
    image, log = folder / "page.png", folder / "net.json"
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--no-proxy-server"]
    flags += [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", f"--screenshot={image}"]
    flags += ["--window-size=1400,1000", "--virtual-time-budget=20000"]
    subprocess.run([browser, *flags, url], check=True, capture_output=True, timeout=60)
    page = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    requests = [event.get("params", {}) for event in json.loads(log.read_text(encoding="utf-8"))["events"]]
    hosts = {urlsplit(request["url"]).netloc for request in requests if request.get("initiator") == page}
    return np.array(Image.open(image).convert("RGB")), hosts
