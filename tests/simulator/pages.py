"""A page as tests see it: parsed into its elements, or opened in a real browser as wide as a desktop and a phone."""

from __future__ import annotations

import html as entities
import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

VOID = {"meta", "img", "input", "br"}
CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=6000", "--window-size=1300,900"),
)
# A page round the page: it hears what the probe in each frame found, and says one word to the console of its own.
HARNESS = """<!DOCTYPE html><html><head><title>harness</title></head><body>
<script>
const heard = [];
addEventListener("message", event => { heard.push(event.data); document.title = JSON.stringify(heard); });
console.log("the harness speaks");
</script>
<iframe src="PAGE" width="1200" height="500"></iframe>
FRAMES
</body></html>
"""
LISTENER = """<script>
const probe = async () => {PROBE};
addEventListener("load", async () => parent.postMessage(await probe(), "*"));
</script>"""
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium (apt-get install chromium)")


class Page(HTMLParser):
    """Collects elements with their attributes and text; fails where a tag is left open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        assert not self.inside

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.inside.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.inside):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def browse(page: Path) -> tuple[str, str]:
    """Open a page, wait until it has settled, and return its DOM and the browser's log."""
    assert CHROMIUM
    profile = page.parent / "profile"
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def probed(page: Path, probe: str, widths: Iterable[int]) -> list[Any]:
    """What a script finds in a page at each width. Fails where the page itself says a word to the console.

    The page is shown as it is, and, for the probe's sake, without the policy that would stop it. `probe` is the body of
    a function that runs once the page has loaded, and returns what it found.
    """
    html = page.read_text(encoding="utf-8")
    policy = re.search(r"<meta http-equiv=.*?>", html)
    assert policy
    script = LISTENER.replace("PROBE", probe)
    (page.parent / "probe.html").write_text(html.replace(policy[0], "").replace("</body>", f"{script}</body>"))
    frames = "".join(
        f'<iframe src="probe.html" width="{width}" height="500" style="border:0"></iframe>' for width in widths
    )
    harness = page.parent / "harness.html"
    harness.write_text(HARNESS.replace("PAGE", page.name).replace("FRAMES", frames))

    dom, log = browse(harness)

    spoken = re.findall(r"CONSOLE.*", log)
    assert len(spoken) == 1, spoken
    assert "the harness speaks" in spoken[0]
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title
    heard: list[Any] = json.loads(entities.unescape(title[1]))
    return heard
