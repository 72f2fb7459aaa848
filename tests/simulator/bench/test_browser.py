"""The report of a bench in a real browser: what a person sees, sorts and filters, on a desktop and on a phone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.bench.chapters import chapters_of
from simulator.bench.page import write_page
from simulator.bench.results import Results
from tests.simulator.pages import browse, needs_chromium, probed

WIDTHS = (1200, 360)

# Uses the page as a person would, by clicks and by typing, and tells what came of it.
PROBE = """
  const texts = (rows, column) => [...rows].map(row => row.cells[column].innerText.trim());
  const shown = () => texts([...document.querySelectorAll("table.main tbody tr")].filter(row => row.offsetParent), 0);
  const type = (name, value) => {
    const field = document.querySelector(`[name=${name}]`);
    field.value = value;
    field.dispatchEvent(new Event("input", {bubbles: true}));
  };
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
  return found;
"""


@pytest.fixture(scope="module")
def report(make_results: Callable[..., Results], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of three strategies on two schedules, one trial of which failed."""
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
    return root / "report.html"


@needs_chromium
def test_a_person_can_read_sort_and_filter_it(report: Path) -> None:
    heard = probed(report, PROBE, WIDTHS)
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


@needs_chromium
def test_its_script_runs_under_its_own_policy(report: Path) -> None:
    dom, log = browse(report)
    assert "CONSOLE" not in log
    assert '<form class="filters">' in dom
    assert "6 rows</span>" in dom
    assert len(re.findall(r'<th scope="col"[^>]*><button type="button">', dom)) > 50
