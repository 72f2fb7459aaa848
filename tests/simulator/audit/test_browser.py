"""The audit in a real browser, as a data-protection officer opens it: no error, no script, no wider than the screen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.simulator.pages import needs_chromium, probed

Wardround = Callable[..., tuple[int, str, str]]
WIDTHS = (1200, 360)

# Opens all that is folded, and tells how wide things came out, what a reader meets first, and what is hard to reach.
PROBE = """
  document.querySelectorAll("details").forEach(fold => { fold.open = true; });
  return {
    screen: innerWidth,
    page: document.documentElement.scrollWidth,
    scripts: document.scripts.length,
    text: document.querySelector("main").innerText.slice(0, 2000),
    tables: [...document.querySelectorAll("table")].filter(table => table.offsetParent).length,
    named: [...document.querySelectorAll("table")].every(table => table.caption && table.caption.innerText.trim()),
    reached: [...document.querySelectorAll(".box")].every(box => box.tabIndex === 0),
  };
"""


def found(page: Path) -> list[dict[str, Any]]:
    """What every audit must show at each width; returns what else the probe found."""
    heard = probed(page, PROBE, WIDTHS)
    assert {one["screen"] for one in heard} == set(WIDTHS)
    for one in heard:
        assert one["page"] <= one["screen"]
        assert one["scripts"] == 1, "the probe's own alone"
        assert one["named"]
        assert one["reached"]
    return heard


@needs_chromium
def test_an_audit_with_a_finding_fits_every_screen(run_tiny: Callable[..., Path], wardround: Wardround) -> None:
    root = run_tiny()
    receipts = root / "receipts.jsonl"
    receipts.write_text("".join(receipts.read_text().splitlines(keepends=True)[1:]))
    assert wardround("audit", root)[0] == 1
    for one in found(root / "audit.html"):
        assert "1 finding" in one["text"]
        assert one["tables"] >= 4


@needs_chromium
@pytest.mark.slow
def test_an_audit_of_a_bench_fits_every_screen(benched: Path, wardround: Wardround) -> None:
    assert wardround("audit", benched)[0] == 0
    for one in found(benched / "audit.html"):
        assert "The default policy would have refused joint" in one["text"]
        assert one["tables"] == 2
