"""The statistics are those of the books, and never say more than the trials allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from simulator.bench import statistics
from simulator.bench.results import Results
from simulator.bench.scores import SCORES, SEEN, TESTED
from simulator.bench.statistics import Verdict, compare, estimate, holm, sign_flip, summaries, trials_needed

NUMBERS = st.floats(-1, 1).map(lambda value: round(value, 3))


def bench(results: Results, scores: dict[str, Sequence[float]], key: str = "dice_accuracy") -> Results:
    """One schedule and one order in which each strategy has these scores, one a seed; NaN for a failed trial."""
    rows = [
        {"trial": f"{name}{seed}", "schedule": "s", "strategy": name, "order": "A-B", "seed": seed, key: value}
        | {"status": "failed" if np.isnan(value) else "done", "reason": ""}
        for name, values in scores.items()
        for seed, value in enumerate(values)
    ]
    trials = pd.DataFrame(rows).reindex(columns=results.trials.columns)
    return replace(results, trials=trials, strategies=tuple(scores), schedules=("s",), reference=None)


def test_the_interval_is_students() -> None:
    found = estimate([0.80, 0.82, 0.87, 0.90, 0.81])
    low, high = stats.t.interval(0.95, 4, loc=0.84, scale=stats.sem([0.80, 0.82, 0.87, 0.90, 0.81]))
    assert (found.trials, found.mean) == (5, pytest.approx(0.84))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.margin == pytest.approx((high - low) / 2)


@pytest.mark.parametrize("values", [[], [np.nan], [0.5], [np.inf, 0.5]])
def test_too_few_trials_have_no_interval(values: list[float]) -> None:
    found = estimate(values)
    assert np.isnan([found.low, found.high, found.margin]).all()
    assert np.isnan(found.mean) == (0.5 not in values)


@given(st.lists(NUMBERS, min_size=1, max_size=9))
@example([0.0, 0.0, 0.0, -0.238, -0.055, 0.938, 0.352, -1.0])
@settings(max_examples=60)
def test_the_test_counts_every_flip_of_signs(values: list[float]) -> None:
    differences = np.array(values)
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(values))).reshape(len(values), -1)
    flipped = signs.T @ differences
    above, below = (flipped >= differences.sum() - 1e-12).mean(), (flipped <= differences.sum() + 1e-12).mean()
    assert sign_flip(differences) == pytest.approx(min(1, 2 * min(above, below)))
    assert sign_flip(-differences) == pytest.approx(sign_flip(differences))


def test_many_pairs_are_sampled_from_one_seed_and_agree_with_the_t_test() -> None:
    differences = np.random.default_rng(3).normal(0.4, 1, 40)
    assert sign_flip(differences) == sign_flip(differences)
    assert sign_flip(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.01)
    assert 300 * sign_flip(np.full(20, 0.1), family=300) < 0.05


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_the_order_and_lies_between_nothing_and_bonferroni(values: list[float]) -> None:
    corrected = np.array(holm(values))
    assert (corrected >= values).all()
    assert (corrected <= np.minimum(1, np.array(values) * len(values)) + 1e-12).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(corrected[order]) >= 0).all()


@given(st.lists(NUMBERS, min_size=2, max_size=10), st.lists(NUMBERS, min_size=2, max_size=10))
@settings(max_examples=40)
def test_a_comparison_turned_round_says_the_opposite(results: Results, one: list[float], other: list[float]) -> None:
    count = min(len(one), len(other))
    family = compare(bench(results, {"x": one[:count], "y": other[:count]}), "s")
    there, back = family.between("x", "y"), family.between("y", "x")
    assert there is not None
    assert back is not None
    assert {there.verdict, back.verdict} in ({Verdict.BETTER, Verdict.WORSE}, {there.verdict})
    assert back.difference.mean == -there.difference.mean
    assert (back.difference.low, back.difference.high) == (-there.difference.high, -there.difference.low)
    assert back.rank_biserial == -there.rank_biserial
    assert -1 <= there.rank_biserial <= 1


def test_a_clear_difference_is_told(results: Results) -> None:
    low = [0.80, 0.81, 0.82, 0.80, 0.83, 0.81]
    (found,) = compare(bench(results, {"x": [value + 0.05 for value in low], "y": low}), "s").comparisons
    assert (found.verdict, found.pairs, found.p) == (Verdict.BETTER, 6, 2 / 2**6)
    assert found.difference.mean == pytest.approx(0.05)
    assert found.rank_biserial == 1


def test_effect_sizes_are_those_of_the_books(results: Results) -> None:
    differences = np.array([0.03, -0.01, 0.02, 0.05, 0.04, 0.01])
    (found,) = compare(bench(results, {"x": list(0.8 + differences), "y": [0.8] * 6}), "s").comparisons
    assert found.d_z == pytest.approx(differences.mean() / differences.std(ddof=1))
    # |ranks| of -0.01 and 0.01 are tied at 1.5: (21 - 2 * 1.5) / 21
    assert found.rank_biserial == pytest.approx((21 - 3) / 21)


@pytest.mark.parametrize("key", ["dice_forgetting", "hd95_accuracy"])
def test_less_is_better_where_it_is(results: Results, key: str) -> None:
    scores = {"x": [1.0, 1.1, 1.0, 1.2, 1.1, 1.0], "y": [2.0, 2.2, 2.1, 2.3, 2.0, 2.4]}
    (found,) = compare(bench(results, scores, key), "s", SCORES[key]).comparisons
    assert found.difference.mean < 0
    assert found.verdict is Verdict.BETTER
    assert found.d_z > 0


@pytest.mark.parametrize(("pairs", "trials"), [(1, 6), (3, 7), (15, 10), (28, 11), (300, 14)])
def test_below_this_many_trials_nothing_can_be_told(pairs: int, trials: int) -> None:
    assert trials_needed(pairs) == trials
    assert pairs * 2 / 2**trials <= 0.05 < pairs * 2 / 2 ** (trials - 1)


def test_five_trials_are_too_few_for_any_pair(results: Results) -> None:
    (found,) = compare(bench(results, {"x": [0.9] * 5, "y": [0.1] * 5}), "s").comparisons
    assert found.verdict is Verdict.TOO_FEW


def test_equal_scores_are_not_told_apart(results: Results) -> None:
    (found,) = compare(bench(results, {"x": [0.9] * 8, "y": [0.9] * 8}), "s").comparisons
    assert (found.verdict, found.p, found.rank_biserial) == (Verdict.NOT_TOLD_APART, 1, 0)
    assert np.isnan(found.d_z)


def test_failed_trials_drop_their_pairs(results: Results) -> None:
    scores = {"x": [0.9, 0.9, np.nan, 0.9], "y": [0.8, np.nan, 0.8, 0.8], "z": [np.nan] * 4}
    family = compare(bench(results, scores), "s")
    (found,) = family.comparisons
    assert (found.first, found.second, found.pairs, found.dropped) == ("x", "y", 2, 2)
    assert family.between("x", "z") is None


def test_the_score_of_a_failed_trial_counts_for_nothing(results: Results) -> None:
    made = bench(results, {"x": [0.9, 0.1], "y": [0.8, 0.8]})
    failed = made.trials.assign(status=["done", "failed", "done", "done"])
    (found,) = compare(replace(made, trials=failed), "s").comparisons
    assert found.pairs == 1


def test_strategies_that_share_no_trial_are_not_compared(results: Results) -> None:
    made = bench(results, {"x": [0.9, np.nan], "y": [np.nan, 0.8]})
    assert compare(made, "s").comparisons == ()


def test_pairs_share_schedule_order_and_seed(make_results: Callable[..., Results]) -> None:
    """Luck that all strategies share in a trial is no reason to doubt the difference between them."""
    made = make_results(strategies=["ewc", "smdr"], noise=0.0, reference=None)
    luck = made.trials.groupby(["schedule", "order", "seed"]).ngroup() / 10
    noisy = replace(made, trials=made.trials.assign(dice_accuracy=made.trials["dice_accuracy"] + luck))
    (found,) = compare(noisy, "prostate-phantom").comparisons
    assert found.pairs == 10
    assert found.difference.deviation < 0.01 < estimate(noisy.trials["dice_accuracy"].to_numpy()).deviation
    assert found.verdict is Verdict.WORSE


def test_false_findings_are_rare_where_all_are_alike(results: Results) -> None:
    """Of 60 benches of four equal strategies, those with any pair told apart should be about one in twenty."""
    random = np.random.default_rng(5)
    false = 0
    for _ in range(60):
        scores = {name: list(random.normal(0.8, 0.02, 8)) for name in "wxyz"}
        verdicts = {found.verdict for found in compare(bench(results, scores), "s").comparisons}
        false += bool(verdicts & {Verdict.BETTER, Verdict.WORSE})
    assert false <= 8


def test_summaries_hold_every_score_of_every_strategy(results: Results) -> None:
    table = summaries(results)
    assert len(table) == 2 * 6 * len(SCORES)
    row = table[(table["strategy"] == "ewc") & (table["schedule"] == "fundus-phantom") & (table["score"] == SEEN.key)]
    mine = results.trials[(results.trials["strategy"] == "ewc") & (results.trials["schedule"] == "fundus-phantom")]
    assert row["trials"].item() == 9
    assert row["mean"].item() == pytest.approx(mine["dice_accuracy"].mean())


def test_the_reference_is_compared_first(make_results: Callable[..., Results]) -> None:
    made = make_results(strategies=["ewc", "smdr", "joint"], schedules=["s"], seeds=2)
    assert [found.first for found in compare(made, "s").comparisons] == ["joint", "joint", "ewc"]


def test_with_a_control_each_is_compared_with_it_alone_and_fewer_trials_will_do(results: Results) -> None:
    random = np.random.default_rng(1)
    luck = random.normal(0, 0.02, 8)
    scores = {name: list(0.8 + gap + luck) for name, gap in zip("wxyz", (0, 0.01, 0.02, -0.01), strict=True)}
    made = bench(results, scores)
    every, controlled = compare(made, "s"), compare(replace(made, control="x"), "s")
    assert [(found.first, found.second) for found in controlled.comparisons] == [("w", "x"), ("y", "x"), ("z", "x")]
    assert controlled.between("w", "y") is None
    for found in controlled.comparisons:
        there = every.between(found.first, "x")
        assert there is not None
        assert (there.difference, there.p) == (found.difference, found.p)
        assert found.p_holm < there.p_holm
    seven = bench(results, {name: values[:7] for name, values in scores.items()})
    assert {found.verdict for found in compare(seven, "s").comparisons} == {Verdict.TOO_FEW}
    assert Verdict.TOO_FEW not in {found.verdict for found in compare(replace(seven, control="x"), "s").comparisons}


def test_a_control_that_never_ended_leaves_nothing_to_compare(results: Results) -> None:
    made = bench(results, {"x": [0.9, 0.9], "y": [np.nan, np.nan], "z": [0.8, 0.8]})
    assert compare(replace(made, control="y"), "s").comparisons == ()


def test_every_tested_score_is_one_that_trials_have(results: Results) -> None:
    assert {score.key for score in TESTED} <= set(results.trials.columns)
    assert set(SCORES) <= set(results.trials.columns)
    assert statistics.ALPHA == 0.05
