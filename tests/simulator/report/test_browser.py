"""The page in a real browser: no error, no script of its own, and never wider than the screen."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from simulator.report.page import write_page
from simulator.report.view import RunView

CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=4000", "--window-size=1300,900"),
)
WIDTHS = (1200, 390, 360)

# Opens all that is folded, shows each metric in turn, and tells the page round it how wide things came out.
PROBE = """
<script>
addEventListener("load", () => {
  document.querySelectorAll("details").forEach(fold => { fold.open = true; });
  const wide = [...document.querySelectorAll("input[name=metric]")].map(tab => {
    tab.click();
    const shown = [...document.querySelectorAll(".panel")].filter(panel => panel.offsetParent).map(panel => panel.id);
    return {screen: innerWidth, page: document.documentElement.scrollWidth, shown: shown};
  });
  parent.postMessage({wide: wide, scripts: document.scripts.length}, "*");
});
</script>
"""
HARNESS = """<!DOCTYPE html><html><head><title>harness</title></head><body>
<script>
const heard = [];
addEventListener("message", event => { heard.push(event.data); document.title = JSON.stringify(heard); });
console.log("the harness speaks");
</script>
<iframe src="page.html" width="1200" height="500"></iframe>
FRAMES
</body></html>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium (apt-get install chromium)")
def test_the_page_fits_every_screen_without_an_error(make_view: Callable[..., RunView], tmp_path: Path) -> None:
    long = "a" * 90
    view = replace(make_view(8, 10, 2, cases=2, pixels=16), name=f"<script>{long}</script>", failures=(long,))
    view = replace(view, settings={f"{long}.{long}": long}, complete=False)
    write_page(view, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    policy = re.search(r"<meta http-equiv=.*?>", html)
    assert policy
    (tmp_path / "probe.html").write_text(html.replace(policy[0], "").replace("</body>", PROBE + "</body>"))
    frames = "".join(
        f'<iframe src="probe.html" width="{width}" height="500" style="border:0"></iframe>' for width in WIDTHS
    )
    (tmp_path / "harness.html").write_text(HARNESS.replace("FRAMES", frames))

    dom, log = browse(tmp_path / "harness.html", tmp_path / "profile")

    spoken = re.findall(r"CONSOLE.*", log)
    assert len(spoken) == 1, spoken
    assert "the harness speaks" in spoken[0]
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title
    heard = json.loads(title[1])
    assert [frame["scripts"] for frame in heard] == [1] * len(WIDTHS)
    assert {frame["wide"][0]["screen"] for frame in heard} == set(WIDTHS)
    for frame in heard:
        assert [tab["shown"] for tab in frame["wide"]] == [["panel-dice"], ["panel-hd95"], ["panel-asd"]]
        assert all(tab["page"] <= tab["screen"] for tab in frame["wide"]), frame["wide"]


def browse(page: Path, profile: Path) -> tuple[str, str]:
    """Open a page, wait until it has settled, and return its DOM and the browser's log."""
    assert CHROMIUM
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, done.stderr
