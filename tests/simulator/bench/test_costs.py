"""What strategies cost is listed, and compared over the trials that two of them share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from simulator.bench import words
from simulator.bench.costs import cost_table, price
from simulator.bench.ratios import cpu_ratio, growth
from simulator.bench.results import Results

Make = Callable[..., Results]


def priced(results: Results, strategy: str, factors: list[float], base: str = "finetune") -> Results:
    """Let each trial of a strategy take so many times the CPU seconds of its pair."""
    trials = results.trials.set_index("trial")
    costs = results.costs.set_index("trial")["cpu_seconds"]
    scale = pd.Series(1.0, index=costs.index)
    pairs = [trials.index[trials["strategy"] == name] for name in (base, strategy)]
    for cheap, dear, factor in zip(*pairs, factors, strict=True):
        scale[dear] = factor * costs[cheap] / costs[dear]
    spent = results.times["cpu_seconds"] * results.times["trial"].map(scale)
    return replace(results, times=results.times.assign(cpu_seconds=spent))


@pytest.fixture
def few(make_results: Make) -> Results:
    return make_results(strategies=["finetune", "smdr"], schedules=["s"], orders=["A-B"], seeds=4, reference=None)


def test_a_ratio_is_of_pairs_whatever_a_seed_costs(few: Results) -> None:
    found = cpu_ratio(priced(few, "smdr", [4.0] * 4), "s", "smdr", "finetune")
    assert (found.mean, found.low, found.high) == pytest.approx((4.0, 4.0, 4.0))
    assert found.pairs == 4


def test_its_mean_is_geometric_and_its_interval_students(few: Results) -> None:
    found = cpu_ratio(priced(few, "smdr", [2.0, 8.0, 2.0, 8.0]), "s", "smdr", "finetune")
    assert found.mean == pytest.approx(4.0)
    half = 3.182 * np.log(2) * (4 / 3) ** 0.5 / 2
    assert (found.low, found.high) == pytest.approx((4 * np.exp(-half), 4 * np.exp(half)), rel=1e-3)
    other = cpu_ratio(priced(few, "smdr", [2.0, 8.0, 2.0, 8.0]), "s", "finetune", "smdr")
    assert (other.mean, other.low) == pytest.approx((1 / found.mean, 1 / found.high))


def test_a_trial_without_its_pair_does_not_count(make_results: Make) -> None:
    lost = [("s", "smdr", "A-B", seed) for seed in range(3)]
    results = make_results(
        strategies=["finetune", "smdr"], schedules=["s"], orders=["A-B"], seeds=4, failed=lost, reference=None
    )
    found = cpu_ratio(results, "s", "smdr", "finetune")
    assert found.pairs == 1
    assert np.isnan(found.low)
    assert words.ratio(found).endswith("times the CPU time of finetune (over 1 paired trial)")


def test_every_cost_is_listed_with_its_ratio_to_the_cheapest(results: Results) -> None:
    table = cost_table(results)
    assert len(table.rows) == 12
    assert {len(cells) for _, cells in table.rows} == {len(table.columns) - 1}
    assert [cell.text for cell in table.rows[0][1][1:5]] == ["image, label", "image", "310 MB", "77.5 MB"]
    ratios = {name: cells[-2] for name, cells in table.rows[:6]}
    assert ratios["finetune"].text == "1"
    assert ratios["smdr"].value == pytest.approx(610 / 95, rel=0.05)
    assert ratios["smdr"].text.startswith("6.")
    assert " to " in ratios["smdr"].text


def test_the_last_step_is_held_against_the_second(few: Results) -> None:
    times = few.times[few.times["step"] == 1]
    steps = [times.assign(step=step, cpu_seconds=times["cpu_seconds"] * step) for step in (1, 2, 3)]
    grown = replace(few, times=pd.concat(steps))
    assert growth(grown, "s", "smdr").mean == pytest.approx(1.5)
    assert growth(grown, "s", "smdr").low == pytest.approx(1.5)
    row = dict(cost_table(grown).rows)["smdr"]
    assert row[-1].text.startswith("1.50 (1.50 to")
    assert math.isnan(growth(few, "s", "smdr").mean)
    assert dict(cost_table(few).rows)["smdr"][-1].text == "\N{EN DASH}"
    untold = grown.times.assign(step=float("nan"))
    assert math.isnan(growth(replace(few, times=untold), "s", "smdr").mean)


def test_a_single_schedule_takes_no_column(make_results: Callable[..., Results]) -> None:
    table = cost_table(make_results(schedules=["s"]))
    assert table.columns[1].title == "Kinds released"
    assert {len(cells) for _, cells in table.rows} == {len(table.columns) - 1}


def test_the_price_goes_from_the_least_to_the_most(results: Results) -> None:
    text = price(results)[0]
    assert text.startswith(
        "prostate-phantom: released a trial from 10.8 MB (smdr) to 310 MB (joint); CPU time a trial from 9"
    )
    assert "; smdr takes 6." in text
    assert " times the CPU time of finetune (95 % CI 6." in text
    assert text.endswith(" over 10 paired trials).")


def test_a_bench_in_which_nothing_ended_has_no_price(results: Results) -> None:
    nothing = replace(results, trials=results.trials.assign(status="failed"))
    assert price(nothing) == ()
    assert cost_table(nothing).rows[0][1][-1].text == "\N{EN DASH}"
