"""The report of a bench opens with what it found, and holds all of it, for every reader and without a network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from simulator.bench.chapters import chapters_of
from simulator.bench.page import render
from simulator.bench.results import Results
from tests.simulator.pages import Page


def rendered(results: Results, suite: str = "") -> str:
    return render(results, chapters_of(results), suite)


@pytest.fixture(scope="module")
def html(results: Results) -> str:
    return rendered(results, "name: phantoms\nseeds: 5\n")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


@pytest.fixture(scope="module")
def small(make_results: Callable[..., Results]) -> Results:
    """Two strategies, one order and two seeds: quick to draw."""
    return make_results(strategies=["ewc", "smdr"], schedules=["s"], orders=["A-B"], seeds=2, unseen=["E"])


def test_it_opens_with_what_was_found(page: Page) -> None:
    order = [
        "smdr_onsite has the highest mean Dice",
        "2 trials without a result",
        "In short",
        "120 trials in all",
        "Results",
    ]
    places = [page.text.index(part) for part in order]
    assert places == sorted(places)
    assert "these trials do not show a difference, not that there is none" in page.text


def test_it_is_whole_in_itself(html: str, page: Page) -> None:
    assert not re.findall(r"https?://|@import|url\((?!#)|(?:src|href)=\"(?!data:|#)", html)
    assert not page.all("link")
    assert len(html) < 3_000_000


def test_only_its_own_script_may_run(html: str, page: Page) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"


def test_without_a_script_the_table_is_whole_and_the_filter_away(page: Page, results: Results) -> None:
    assert "hidden" in page.all("form")[0]
    rows = [row for row in page.all("tr") if "data-strategy" in row]
    assert [(row["data-schedule"], row["data-strategy"]) for row in rows] == [
        (schedule, strategy) for schedule in results.schedules for strategy in results.strategies
    ]
    assert {row["data-kinds"] for row in rows if row["data-strategy"] == "smdr"} == {"diffusion prompt"}


def test_every_pair_of_every_tested_score_has_its_sentence(html: str) -> None:
    lists = re.findall(r'<ul class="pairs">(.*?)</ul>', html, re.DOTALL)
    assert [part.count("<li>") for part in lists] == [15] * 6 * 2
    assert all(
        re.search(r"better|worse|not told apart|same|cannot tell", item) for item in re.findall("<li>.*", lists[0])
    )


def test_figures_say_what_they_show(page: Page) -> None:
    drawings = page.all("svg")
    assert len(drawings) == 8 * 2
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in drawings)


def test_tables_and_headings_are_made_for_listening(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("main")) == 1
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(head["scope"] in ("row", "col") for head in page.all("th"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert "(best)" in page.text
    assert "(not told apart from the best)" in page.text


def test_ids_are_unique_and_references_lead_somewhere(html: str, page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    pointed = re.findall(r'(?:href="#|url\(#|for="|aria-labelledby=")([\w-]+)', html)
    assert set(pointed) <= set(ids)


def test_it_names_machine_suite_trials_and_costs(page: Page) -> None:
    for part in ("5eb1e04c", "2026-11-23", "seeds: 5", "310 MB", "diffusion, prompt", "OUT_OF_MEMORY", "C-A-D-B"):
        assert part in page.text, part


def test_patients_data_that_left_raise_an_alarm(html: str, small: Results) -> None:
    alarm = '<p class="alarm">With joint, patients&#39; images or labels themselves left the sites.'
    assert alarm in html
    assert 'class="alarm' not in rendered(small)


def test_one_trial_of_one_strategy_has_a_report(make_results: Callable[..., Results]) -> None:
    page = Page(rendered(make_results(strategies=["smdr"], schedules=["s"], orders=["A"], seeds=1, unseen=())))
    assert "Only smdr was run, so there is nothing to compare it with." in page.text
    assert "not told apart from the best" not in page.text
    assert not page.all("form")


def test_a_bench_in_which_nothing_ended_says_so(small: Results) -> None:
    lost = replace(small, trials=small.trials.assign(status="failed", reason="killed"), matrix=small.matrix[:0])
    page = Page(rendered(lost))
    assert "No trial ended: there is nothing to compare." in page.text
    assert "4 trials without a result" in page.text
    assert not page.all("svg")


def test_a_long_list_of_what_is_lost_is_folded(make_results: Callable[..., Results]) -> None:
    part = make_results(strategies=["smdr"], schedules=["s"], orders=["A-B"], seeds=12, unseen=())
    page = Page(rendered(replace(part, trials=part.trials.assign(status=["done", *["missing"] * 11]))))
    assert "11 trials without a result" in page.text
    assert len(page.all("details")) >= 1


def test_names_are_text_and_never_markup(small: Results) -> None:
    evil = '<script>alert("1")</script>'
    trials = small.trials.replace({"strategy": {"ewc": evil}, "schedule": {"s": evil}})
    trials.loc[0, ["status", "reason"]] = ["failed", evil]
    hostile = replace(
        small,
        suite=evil,
        description=evil,
        strategies=(evil, "smdr"),
        schedules=(evil,),
        trials=trials,
        matrix=small.matrix.replace({"site": {"A": evil}}),
        machine={evil: evil},
    )
    page = Page(rendered(hostile, evil))
    assert len(page.all("script")) == 1
    assert page.text.count(evil) > 10


def test_the_same_results_give_the_same_page(small: Results) -> None:
    assert rendered(small) == rendered(small)
