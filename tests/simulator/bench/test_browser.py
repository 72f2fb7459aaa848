"""The report of a bench in a real browser: what a person sees, sorts and filters, on a desktop and on a phone."""

from __future__ import annotations

import html as entities
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.bench.chapters import chapters_of
from simulator.bench.page import write_page
from simulator.bench.results import Results

CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=6000", "--window-size=1300,900"),
)
WIDTHS = (1200, 360)

# Uses the page as a person would, by clicks and by typing, and tells the page round it what came of it.
PROBE = """
<script>
const texts = (rows, column) => [...rows].map(row => row.cells[column].innerText.trim());
const shown = () => texts([...document.querySelectorAll("table.main tbody tr")].filter(row => row.offsetParent), 0);
const type = (name, value) => {
  const field = document.querySelector(`[name=${name}]`);
  field.value = value;
  field.dispatchEvent(new Event("input", {bubbles: true}));
};
addEventListener("load", async () => {
  document.querySelectorAll("details").forEach(fold => { fold.open = true; });
  const table = document.querySelector("table.main");
  const heads = [...table.tHead.rows[0].cells];
  const seen = heads.find(head => head.innerText.replace(/\\s+/g, " ").startsWith("Dice Seen"));
  const column = heads.indexOf(seen);
  const values = () => [...table.tBodies[0].rows].map(row => Number(row.cells[column].dataset.value));
  const found = {screen: innerWidth, page: document.documentElement.scrollWidth, sorted: [], filtered: {}};
  const before = shown();
  for (let turn = 0; turn < 3; turn += 1) {
    seen.querySelector("button").click();
    found.sorted.push([seen.getAttribute("aria-sort"), values(), document.querySelectorAll("[aria-sort]").length]);
  }
  found.restored = JSON.stringify(shown()) === JSON.stringify(before);
  type("strategy", "SMDR");
  found.filtered.strategy = [shown(), document.querySelector("[role=status]").innerText];
  type("strategy", "");
  type("kind", "diffusion");
  found.filtered.kind = shown();
  type("schedule", "second");
  found.filtered.schedule = shown();
  document.querySelector(".filters [type=reset]").click();
  await new Promise(done => setTimeout(done, 50));
  found.filtered.reset = shown().length;
  found.verdict = document.querySelector(".verdict").innerText;
  found.drawings = [...document.querySelectorAll("svg[role=img]")].map(drawing => {
    const box = drawing.getBoundingClientRect();
    return box.width > 100 && box.height > 50;
  });
  found.boxes = [...document.querySelectorAll(".box")].every(box => box.tabIndex === 0);
  parent.postMessage(found, "*");
});
</script>
"""
HARNESS = """<!DOCTYPE html><html><head><title>harness</title></head><body>
<script>
const heard = [];
addEventListener("message", event => { heard.push(event.data); document.title = JSON.stringify(heard); });
console.log("the harness speaks");
</script>
<iframe src="report.html" width="1200" height="500"></iframe>
FRAMES
</body></html>
"""


@pytest.fixture(scope="module")
def folder(make_results: Callable[..., Results], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report, and the same one with the probe in it and without the policy that would stop the probe."""
    root = tmp_path_factory.mktemp("bench")
    results = make_results(
        strategies=["joint", "ewc", "smdr"],
        schedules=["first", "second"],
        orders=["A-B"],
        seeds=6,
        unseen=["E"],
        failed=[("second", "ewc", "A-B", 1)],
    )
    write_page(results, chapters_of(results), root / "report.html", f"description: {'wide ' * 60}\n")
    page = (root / "report.html").read_text(encoding="utf-8")
    policy = re.search(r"<meta http-equiv=.*?>", page)
    assert policy
    (root / "probe.html").write_text(page.replace(policy[0], "").replace("</body>", PROBE + "</body>"))
    frames = "".join(
        f'<iframe src="probe.html" width="{width}" height="500" style="border:0"></iframe>' for width in WIDTHS
    )
    (root / "harness.html").write_text(HARNESS.replace("FRAMES", frames))
    return root


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium (apt-get install chromium)")
def test_a_person_can_read_sort_and_filter_it(folder: Path) -> None:
    dom, log = browse(folder / "harness.html", folder / "profile")

    spoken = re.findall(r"CONSOLE.*", log)
    assert len(spoken) == 1, spoken
    assert "the harness speaks" in spoken[0]
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title
    heard = json.loads(entities.unescape(title[1]))
    assert {found["screen"] for found in heard} == set(WIDTHS)
    for found in heard:
        assert found["page"] <= found["screen"]
        assert found["verdict"].startswith("Leaving joint, the reference, aside, smdr has the highest mean Dice")
        (down, falling, _), (up, rising, _), (none, _, left) = found["sorted"]
        assert (down, up, none, left) == ("descending", "ascending", None, 0)
        assert falling == sorted(falling, reverse=True)
        assert rising == sorted(rising)
        assert found["restored"]
        filtered = found["filtered"]
        assert filtered["strategy"] == [["smdr", "smdr"], "2 of 6 rows"]
        assert [name.split()[0] for name in filtered["kind"]] == ["joint", "ewc", "joint", "ewc"]
        assert [name.split()[0] for name in filtered["schedule"]] == ["joint", "ewc"]
        assert filtered["reset"] == 6
        assert len(found["drawings"]) == 8 * 2
        assert all(found["drawings"])
        assert found["boxes"]


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium (apt-get install chromium)")
def test_its_script_runs_under_its_own_policy(folder: Path) -> None:
    dom, log = browse(folder / "report.html", folder / "profile")
    assert "CONSOLE" not in log
    assert '<form class="filters">' in dom
    assert "6 rows</span>" in dom
    assert len(re.findall(r'<th scope="col"[^>]*><button type="button">', dom)) > 50


def browse(page: Path, profile: Path) -> tuple[str, str]:
    """Open a page, wait until it has settled, and return its DOM and the browser's log."""
    assert CHROMIUM
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr
