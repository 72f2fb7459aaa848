"""The page in a real browser: no error, no script of its own, and never wider than the screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from simulator.report.page import write_page
from simulator.report.view import RunView
from tests.simulator.pages import needs_chromium, probed

WIDTHS = (1200, 390, 360)

# Opens all that is folded, shows each metric in turn, and tells how wide things came out.
PROBE = """
  document.querySelectorAll("details").forEach(fold => { fold.open = true; });
  const wide = [...document.querySelectorAll("input[name=metric]")].map(tab => {
    tab.click();
    const shown = [...document.querySelectorAll(".panel")].filter(panel => panel.offsetParent).map(panel => panel.id);
    return {screen: innerWidth, page: document.documentElement.scrollWidth, shown: shown};
  });
  return {wide: wide, scripts: document.scripts.length};
"""


@needs_chromium
def test_the_page_fits_every_screen_without_an_error(make_view: Callable[..., RunView], tmp_path: Path) -> None:
    long = "a" * 90
    view = replace(make_view(8, 10, 2, cases=2, pixels=16), name=f"<script>{long}</script>", failures=(long,))
    view = replace(view, settings={f"{long}.{long}": long}, complete=False)
    write_page(view, tmp_path / "page.html")
    heard = probed(tmp_path / "page.html", PROBE, WIDTHS)
    assert [frame["scripts"] for frame in heard] == [1] * len(WIDTHS)
    assert {frame["wide"][0]["screen"] for frame in heard} == set(WIDTHS)
    for frame in heard:
        assert [tab["shown"] for tab in frame["wide"]] == [["panel-dice"], ["panel-hd95"], ["panel-asd"]]
        assert all(tab["page"] <= tab["screen"] for tab in frame["wide"]), frame["wide"]
