"""A schedule is resolved into a timeline, and checked before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.config import ScheduleConfig, shipped
from simulator.schedule import from_json, read_schedule, timeline_of
from sites.errors import UserError
from sites.stream import Visit

Tiny = Callable[..., Path]
BARE = {"name": "bare", "task": "prostate", "source": "phantom", "strategy": "finetune", "budget": {"epochs": 1}}


def test_sites_arrive_one_after_another_and_go(tiny: Tiny) -> None:
    timeline = read_schedule(tiny(arrivals=["A", "B", "C"])).timeline
    assert [(step.number, step.arriving, step.online) for step in timeline.steps] == [
        (1, ("A",), ("A",)),
        (2, ("B",), ("B",)),
        (3, ("C",), ("C",)),
    ]
    assert timeline.seen == ("A", "B", "C")
    assert timeline.sites == ("A", "B", "C", "E")
    assert timeline.arrivals == {"A": (1,), "B": (2,), "C": (3,), "E": ()}


def test_several_sites_arrive_in_one_step(tiny: Tiny) -> None:
    timeline = read_schedule(tiny(arrivals=["A", ["B", "C"]])).timeline
    assert timeline.steps[1].arriving == ("B", "C")


def test_a_site_that_stays_is_online_until_it_goes(tiny: Tiny) -> None:
    arrivals = [{"site": "A", "stay": 1}, {"site": "B", "stay": "forever"}, "C", "D"]
    timeline = read_schedule(tiny(arrivals=arrivals)).timeline
    assert [step.online for step in timeline.steps] == [("A",), ("A", "B"), ("B", "C"), ("B", "D")]


def test_a_site_that_arrives_again_brings_new_cases_in_place_of_the_old(tiny: Tiny) -> None:
    timeline = read_schedule(tiny(arrivals=["A", "B", {"site": "A", "train": 5}], stay="forever")).timeline
    assert timeline.visits["A"] == (
        Visit(step=1, last_step=3, first=0, count=3),
        Visit(step=3, last_step=3, first=3, count=5),
    )
    assert timeline.steps[2].online == ("A", "B")
    assert timeline.arrivals["A"] == (1, 3)


def test_a_schedule_survives_its_own_json(tiny: Tiny) -> None:
    schedule = read_schedule(tiny(strategy={"name": "fedavg", "weighting": "uniform"}))
    again = from_json(schedule.as_json())
    assert again.resolved() == schedule.resolved()
    assert again.strategy_config == schedule.strategy_config
    assert again.source_config == schedule.source_config


def test_the_seed_and_overrides_take_precedence_over_the_file(tiny: Tiny) -> None:
    schedule = read_schedule(tiny(seed=1), ["budget.rounds=4", "seed=2"], seed=3)
    assert schedule.config.budget.rounds == 4
    assert schedule.config.seed == 3


def test_the_name_is_the_files_unless_it_is_given(tiny: Tiny) -> None:
    assert read_schedule(tiny()).config.name == "tiny"
    assert read_schedule(tiny(name="other")).config.name == "other"


def test_a_policy_beside_the_schedule_is_found_and_a_site_may_have_its_own(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("admit: [score]\nbyte_budget: 10\n")
    schedule = read_schedule(tiny(site_policies={"E": "own.yaml"}))
    assert schedule.policies["E"].byte_budget == 10
    assert schedule.policies["A"].round_counts_to == 5
    assert from_json(schedule.as_json()).policies == schedule.policies


@settings(max_examples=60)
@given(
    arrivals=st.lists(st.lists(st.sampled_from("ABCD"), min_size=1, max_size=3, unique=True), min_size=1, max_size=8),
    stay=st.one_of(st.integers(0, 4), st.just("forever")),
    train=st.integers(1, 9),
)
def test_any_order_of_arrival_gives_a_consistent_timeline(
    arrivals: list[list[str]], stay: int | str, train: int
) -> None:
    config = ScheduleConfig.model_validate({**BARE, "arrivals": arrivals, "stay": stay, "cases": {"train": train}})
    timeline = timeline_of(config)
    assert [list(step.arriving) for step in timeline.steps] == arrivals
    for site, visits in timeline.visits.items():
        held = [case for visit in visits for case in range(visit.first, visit.first + visit.count)]
        assert held == list(range(train * len(visits))), "cases of two visits are disjoint and leave no gap"
        assert timeline.arrivals[site] == tuple(visit.step for visit in visits)
    for step in timeline.steps:
        assert set(step.arriving) <= set(step.online)
        for site in set(timeline.seen) - set(step.online):
            past = [visit.step for visit in timeline.visits[site] if visit.step <= step.number]
            assert not past or (stay != "forever" and step.number > past[-1] + int(stay))


@pytest.mark.parametrize(
    ("keys", "fragments"),
    [
        ({"unseen": ["A"]}, ["unseen: A arrives too"]),
        ({"arrivals": [["A", "A"]]}, ["a site arrives twice in step 1"]),
        ({"arrivals": ["Ax"]}, ["source 'phantom' has no site 'Ax'", "did you mean"]),
        ({"strategy": "fedvag"}, ["tiny.yaml:", "strategy: there is no strategy 'fedvag'; did you mean 'fedavg'?"]),
        ({"strategy": {"name": "fedavg", "weigting": "uniform"}}, ["strategy.weigting", "did you mean 'weighting'?"]),
        ({"source": {"kind": "phantum"}}, ["tiny.yaml:", "phantum"]),
        ({"source": {"kind": "phantom", "siez": 3}}, ["source.siez", "did you mean 'size'?"]),
        ({"policy": "none"}, ["there is no policy", "none", "default"]),
        ({"strategy": "joint"}, ["tiny.yaml", "'default' of site 'A' does not admit image, label", "'joint'"]),
        ({"budget": {"iterations": 3, "epochs": 2}}, ["either iterations or epochs"]),
        ({"site_policies": {"Z": "default"}}, ["site_policies: Z is no site"]),
        ({"task": "spleen"}, ["spleen"]),
        ({"arrivals": ["../A"]}, ["arrivals.0.0.site"]),
    ],
)
def test_a_schedule_that_cannot_run_is_refused_before_any_work(
    tiny: Tiny, keys: dict[str, object], fragments: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        read_schedule(tiny(**keys)).check()
    for fragment in fragments:
        assert fragment in str(caught.value)


@pytest.mark.parametrize("name", sorted(shipped("schedules")))
def test_every_shipped_schedule_can_run(name: str, real_roots: dict[str, Path]) -> None:
    read_schedule(Path(name), [f"source.root={real_roots[name]}"] if name in real_roots else []).check()


def test_a_schedule_on_real_data_asks_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"source.root: is not set; say where the data are, such as --set source.root="):
        read_schedule(Path("prostate-real"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"{tmp_path}/data: missing-root: is not a folder; .* that holds Domain1"):
        read_schedule(Path("fundus-real"), ["source.root=data"]).check()
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match=r"holds none of RUNMC, .*; `wardround sites check .*/data --set layout=saml`"):
        read_schedule(Path("prostate-real"), ["source.root=data"]).check()
