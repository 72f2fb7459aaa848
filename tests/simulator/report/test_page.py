"""The page says all that the run holds, to every reader, and needs nothing from outside itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from simulator.report.page import render, write_page
from simulator.report.view import RunView
from tests.simulator.pages import Page


@pytest.fixture(scope="module")
def html(view: RunView) -> str:
    return render(view)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


@pytest.fixture
def plain(make_view: Callable[..., RunView]) -> RunView:
    """A small run without sample pictures, quick to draw: two sites seen, one unseen, and four steps."""
    return replace(make_view(2, 4, 1, cases=2), samples=())


def test_the_verdict_and_every_score_are_there(page: Page, view: RunView) -> None:
    matrix = view.matrix("dice")
    assert f"scores {matrix.accuracy:.3f}".replace("0.", ".") in page.text
    assert "on 2 unseen sites" in page.text
    for short in ("ACC", "BWT", "FWT", "Forgetting", "Plasticity", "Unseen"):
        assert short in page.text
    assert len([title for title in page.all("abbr") if "mean over" in (title["title"] or "")]) == 6


def test_it_is_whole_in_itself(html: str, page: Page) -> None:
    without_pictures = re.sub(r"base64,[^\"]+", "", html)
    assert not re.findall(r"//|@import|url\((?!#)|(?:src|href)=\"(?!data:|#)", without_pictures)
    assert not page.all("script")
    assert not page.all("link")
    assert all((image["src"] or "").startswith("data:image/webp") for image in page.all("img"))
    assert len(html) < 3_000_000


def test_pictures_say_what_they_find(page: Page) -> None:
    drawings = [svg for svg in page.all("svg") if "aria-hidden" not in svg]
    assert [svg["role"] for svg in drawings] == ["img"] * 8
    assert all(re.search(r"\d", svg["aria-label"] or "") for svg in drawings)
    predicted = [image["alt"] or "" for image in page.all("img") if "overlap with Dice ." in (image["alt"] or "")]
    assert len(predicted) == 3 + 3 + 2 + 1 + 3 + 3


def test_tables_and_headings_are_made_for_listening(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(head["scope"] in ("row", "col", "rowgroup") for head in page.all("th"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_ids_are_unique_and_references_lead_somewhere(html: str, page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    pointed = re.findall(r'(?:href="#|url\(#|for="|aria-labelledby=")([\w-]+)', html)
    assert set(pointed) <= set(ids)


def test_samples_say_that_they_never_crossed_the_gate(page: Page, plain: RunView) -> None:
    assert "exist in the simulator only" in page.text
    assert "never crossed a site's gate" in page.text
    without = Page(render(plain)).text
    assert "Sample segmentations" not in without


def test_what_left_is_listed_by_site_and_field(page: Page) -> None:
    assert "No image and no label left any site." in page.text
    assert "as the server's receipts have them" in page.text
    assert "scores.dice" in page.text


def test_patients_data_that_left_raise_an_alarm(plain: RunView) -> None:
    loud = render(replace(plain, releases=plain.releases.replace({"kind": {"PROMPT": "LABEL"}})))
    assert 'class="alarm">2 sites released' in loud
    assert "Patients&#39; data were among it: label." in loud


def test_settings_and_versions_are_folded(html: str, page: Page) -> None:
    assert "budget.iterations" in page.text
    assert "torch" in page.text
    assert "<details open" not in html


def test_a_run_where_all_went_well_raises_no_alarm(html: str) -> None:
    assert 'class="alarm' not in html


def test_failures_are_loud(plain: RunView) -> None:
    text = Page(render(replace(plain, failures=("Bergen, step 2: refused (budget)", "Espoo, step 3: lost")))).text
    assert "2 failures" in text
    assert "Bergen, step 2: refused (budget)" in text
    assert "Do not compare it with other runs." in text


@pytest.mark.parametrize("last", [-1, 0, 2])
def test_an_incomplete_run_says_so_and_shows_what_there_is(plain: RunView, last: int) -> None:
    scores = plain.scores[plain.scores["step"] <= last]
    text = Page(render(replace(plain, scores=scores, complete=False))).text
    assert "This run is not complete" in text
    assert f"{max(last, 0)} of 4 steps scored" in text
    assert ("After 2 steps the network" if last == 2 else "No step has been scored.") in text


def test_without_an_unseen_site_none_is_spoken_of(make_view: Callable[..., RunView]) -> None:
    text = Page(render(make_view(3, 3, 0))).text
    assert "unseen site " not in text
    assert "of them unseen" not in text
    assert "never trained on Dice" not in text
    assert "\N{EN DASH}" in text


def test_one_step_has_no_curves(make_view: Callable[..., RunView]) -> None:
    page = Page(render(make_view(1, 1, 0)))
    assert len([svg for svg in page.all("svg") if svg.get("role") == "img"]) == 5


def test_nothing_released_and_infinite_distances_are_fine(plain: RunView) -> None:
    scores = plain.scores.assign(hd95=np.where(plain.scores["case"] == "case-0", np.inf, plain.scores["hd95"]))
    text = Page(render(replace(plain, scores=scores, releases=plain.releases[:0]))).text
    assert "∞" in text
    assert "Nothing left any site." in text


def test_names_are_text_and_never_markup(make_view: Callable[..., RunView]) -> None:
    view = make_view(2, 2, 1, pixels=8)
    evil = '<script>alert("1")</script>'
    named = {"Aalen": evil}
    steps = tuple(
        replace(
            step,
            arriving=tuple(named.get(site, site) for site in step.arriving),
            online=tuple(named.get(site, site) for site in step.online),
        )
        for step in view.steps
    )
    hostile = replace(
        view,
        name=evil,
        settings={evil: evil},
        structures=(evil, "zone"),
        failures=(evil,),
        steps=steps,
        sites=(evil, *view.sites[1:]),
        scores=view.scores.replace({"site": named, "structure": {"prostate": evil}}),
        releases=view.releases.replace({"site": named, "field": {"prompt": evil}}),
        samples=tuple(replace(sample, site=named.get(sample.site, sample.site)) for sample in view.samples),
    )
    page = Page(render(hostile))
    assert not page.all("script")
    assert page.text.count(evil) > 10


def test_the_page_is_written_whole_and_the_same_each_time(plain: RunView, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("before")
    write_page(plain, path)
    assert path.read_text(encoding="utf-8") == render(plain)
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
