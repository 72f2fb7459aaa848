"""Ranks, Friedman's test and the critical difference agree with Demsar (2006)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from simulator.bench.ranks import Ranks, critical_difference, rank
from simulator.bench.results import Results
from simulator.bench.scores import SCORES, SEEN
from simulator.bench.statistics import trial_table


@pytest.mark.parametrize(
    ("strategies", "quantile"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (10, 3.164)]
)
def test_the_critical_difference_is_that_of_the_table(strategies: int, quantile: float) -> None:
    """Demsar's table 5(a), and the value of the example in his section 3.2.4: four classifiers, 14 data sets."""
    scale = (strategies * (strategies + 1) / (6 * 14)) ** 0.5
    assert critical_difference(strategies, 14) / scale == pytest.approx(quantile, abs=1e-3)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)


def test_ranks_and_friedman_agree_with_scipy(results: Results) -> None:
    found = rank(results, "prostate-phantom")
    table = trial_table(results, "prostate-phantom", SEEN.key)
    assert found.p == pytest.approx(stats.friedmanchisquare(*table.to_numpy().T).pvalue)
    assert list(found.average) == sorted(found.average, key=lambda name: found.average[name])
    assert sum(found.average.values()) == pytest.approx(6 * 7 / 2)
    assert (found.blocks, found.dropped, found.left_out) == (10, 0, ())


def test_of_forgetting_the_least_ranks_first(results: Results) -> None:
    assert list(rank(results, "prostate-phantom", SCORES["dice_forgetting"]).average)[-1] == "finetune"
    assert next(iter(rank(results, "prostate-phantom", SCORES["hd95_accuracy"]).average)) == "joint"


def test_a_trial_that_one_strategy_lacks_is_dropped(results: Results) -> None:
    found = rank(results, "fundus-phantom")
    assert (found.blocks, found.dropped) == (8, 2)


def test_a_strategy_without_a_score_is_left_out(results: Results) -> None:
    trials = results.trials.copy()
    trials.loc[trials["strategy"] == "ewc", "status"] = "missing"
    found = rank(replace(results, trials=trials), "prostate-phantom")
    assert found.left_out == ("ewc",)
    assert (found.blocks, len(found.average)) == (10, 5)


@pytest.mark.parametrize("strategies", [["smdr"], ["smdr", "ewc"]])
def test_few_strategies_have_no_friedman(make_results: Callable[..., Results], strategies: list[str]) -> None:
    found = rank(make_results(strategies=strategies, schedules=["s"]), "s")
    assert len(found.average) == len(strategies)
    assert np.isnan(found.p)


def test_equal_strategies_share_their_rank(results: Results) -> None:
    same = replace(results, trials=results.trials.assign(dice_accuracy=0.5))
    found = rank(same, "prostate-phantom")
    assert set(found.average.values()) == {3.5}
    assert np.isnan(found.p)
    assert len(found.groups) == 1


def test_groups_are_the_longest_runs_within_the_difference() -> None:
    found = Ranks(
        schedule="s",
        score=SEEN,
        average={"a": 1.0, "b": 1.8, "c": 2.4, "d": 5.0},
        blocks=10,
        dropped=0,
        left_out=(),
        p=0.01,
        critical_difference=1.0,
    )
    assert found.groups == (("a", "b"), ("b", "c"))
