"""The sentences of the bench say what was found, and no more."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from simulator.bench import summary, words
from simulator.bench.ranks import rank
from simulator.bench.results import Results
from simulator.bench.scores import SCORES, SEEN
from simulator.bench.statistics import Comparison, Estimate, Verdict, compare
from simulator.report.ink import KINDS, ink
from sites.wire import Kind

GAP = Estimate(trials=10, mean=0.042, deviation=0.01, low=0.031, high=0.053)
FOUND = Comparison(
    first="smdr",
    second="ewc",
    difference=GAP,
    dropped=0,
    d_z=4.2,
    rank_biserial=1.0,
    p=0.002,
    p_holm=0.029,
    verdict=Verdict.BETTER,
)


def test_a_pair_told_apart() -> None:
    assert words.pair(FOUND, SEEN, 15) == (
        "smdr is better than ewc: .042 more Dice on seen sites [.031 to .053] over 10 paired trials "
        "(p = .029, d_z 4.2)."
    )


def test_worse_is_less_and_its_interval_turns_with_it() -> None:
    turned = replace(GAP, mean=-0.042, low=-0.053, high=-0.031)
    worse = replace(FOUND, difference=turned, verdict=Verdict.WORSE, d_z=-4.2, dropped=2, p_holm=0.0001)
    assert words.pair(worse, SEEN, 15) == (
        "smdr is worse than ewc: .042 less Dice on seen sites [.031 to .053] over 10 paired trials "
        "(p < .001, d_z \N{MINUS SIGN}4.2). 2 pairs without both scores left out."
    )


def test_less_forgetting_is_better() -> None:
    turned = replace(GAP, mean=-0.042, low=-0.053, high=-0.031)
    assert words.pair(replace(FOUND, difference=turned), SCORES["dice_forgetting"], 15).startswith(
        "smdr is better than ewc: .042 less forgetting of Dice ["
    )


def test_a_pair_not_told_apart_says_at_how_many_trials() -> None:
    gap = replace(GAP, mean=0.003, low=-0.004, high=0.010)
    unclear = replace(FOUND, difference=gap, verdict=Verdict.NOT_TOLD_APART, p_holm=0.41)
    assert words.pair(unclear, SEEN, 15) == (
        "smdr and ewc are not told apart at this number of trials: smdr has .003 more Dice on seen sites "
        "[\N{MINUS SIGN}.004 to .010] over 10 paired trials (p = .410)."
    )


def test_too_few_trials_say_so() -> None:
    few = replace(FOUND, difference=replace(GAP, trials=5), verdict=Verdict.TOO_FEW)
    assert words.pair(few, SEEN, 15).startswith("smdr against ewc: 5 paired trials cannot tell 15 pairs apart;")
    lone = replace(few, difference=Estimate(trials=1, mean=0.04, deviation=np.nan, low=np.nan, high=np.nan))
    assert words.pair(lone, SEEN, 1) == (
        "smdr against ewc: 1 paired trial cannot tell one pair apart; smdr has .040 more Dice on seen sites."
    )


def test_equal_scores_are_called_the_same() -> None:
    same = replace(FOUND, difference=Estimate(trials=8, mean=0.0, deviation=0.0, low=0.0, high=0.0))
    assert words.pair(same, SEEN, 1) == "smdr and ewc have the same Dice on seen sites over 8 paired trials."


def test_a_family_beyond_reach_says_what_it_takes(make_results: Callable[..., Results]) -> None:
    few = make_results(schedules=["s"], orders=["A-B"], seeds=3)
    assert words.reach(compare(few, "s")) == (
        "3 paired trials cannot tell 15 pairs apart at .05, however large the difference: "
        "that takes 10 trials a strategy."
    )
    assert words.reach(compare(make_results(schedules=["s"]), "s")) == ""


@pytest.mark.parametrize(
    ("kinds", "worst"),
    [("diffusion+prompt", "diffusion"), ("image+label", "image"), ("count+segmenter", "segmenter"), ("", "nothing")],
)
def test_the_most_sensitive_kind(kinds: str, worst: str) -> None:
    assert words.most_sensitive(kinds) == worst


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.417, "0.42 s"), (9.51, "9.5 s"), (130.4, "130 s"), (36_000, "10.0 h"), (np.nan, "\N{EN DASH}")],
)
def test_durations(value: float, text: str) -> None:
    assert words.seconds(value) == text


def test_the_opening_counts_strategies_trials_and_failures(
    results: Results, make_results: Callable[..., Results]
) -> None:
    assert words.opening(results) == (
        "6 strategies on 2 schedules, each in 10 trials (2 site orders by 5 seeds): "
        "120 trials in all, 118 of which are done."
    )
    assert words.opening(make_results(strategies=["smdr"], schedules=["s"], orders=["A"], seeds=1)) == (
        "1 strategy on 1 schedule: 1 trial in all."
    )


def test_the_headline_names_the_best_beside_the_reference(
    results: Results, make_results: Callable[..., Results]
) -> None:
    def headline(results: Results) -> str:
        keys = ("dice_accuracy", "dice_unseen")
        tested = {where: {key: compare(results, where, SCORES[key]) for key in keys} for where in results.schedules}
        return summary.headline(results, tested)

    assert headline(results) == (
        "Leaving joint, the reference, aside, smdr_onsite has the highest mean Dice on seen sites and on unseen sites "
        "of every schedule."
    )
    trials = results.trials.copy()
    here = (trials["schedule"] == "fundus-phantom") & (trials["strategy"] == "ewc")
    trials.loc[here, "dice_unseen"] = 0.99
    assert headline(replace(results, trials=trials, reference=None)) == (
        "The highest mean Dice is reached on seen sites by joint and on unseen sites by joint (prostate-phantom) "
        "and ewc (fundus-phantom). These trials do not tell them apart from every other strategy."
    )
    lone = make_results(strategies=["smdr"], schedules=["s"], seeds=1)
    assert headline(lone) == "Only smdr was run, so there is nothing to compare it with."
    assert headline(replace(results, trials=trials.assign(status="failed"))).startswith("No trial ended")


def test_findings_tell_the_leader_from_the_rest(results: Results) -> None:
    families = {key: compare(results, "prostate-phantom", SCORES[key]) for key in ("dice_accuracy", "dice_forgetting")}
    first, second = summary.findings(results, "prostate-phantom", families)
    assert first.startswith("Dice on seen sites: smdr_onsite has the highest mean, .9")
    assert "it is better than all others. The reference" in first
    assert "The reference joint has .9" in first
    assert second.startswith("Past sites end .0")


def test_findings_tell_how_the_control_stands(results: Results) -> None:
    made = replace(results, control="ewc")
    families = {"dice_accuracy": compare(made, "prostate-phantom", SCORES["dice_accuracy"])}
    (first,) = summary.findings(made, "prostate-phantom", families)
    assert re.search(r"smdr_onsite has the highest mean, \.\d+ ± \.\d+; it is better than ewc\. The control ewc", first)
    assert re.search(r"The control ewc has \.\d+ ± \.\d+; it is (better|worse) than", first)
    alike = made.trials.assign(dice_accuracy=0.9, dice_unseen=0.9)
    keys = ("dice_accuracy", "dice_unseen")
    tested = {
        where: {key: compare(replace(made, trials=alike), where, SCORES[key]) for key in keys}
        for where in made.schedules
    }
    assert summary.headline(replace(made, trials=alike), tested).endswith("do not tell it apart from ewc.")


def test_past_sites_end_below_their_best_or_above_it() -> None:
    falls = {"finetune": 0.055, "smdr": -0.004, "lost": math.nan}
    assert words.retention(falls) == (
        "Past sites end .004 Dice above their earlier best under smdr and .055 Dice below their earlier best under "
        "finetune."
    )
    assert words.retention({"smdr": 0.02}) == "Past sites end .020 Dice below their earlier best under smdr."
    assert words.retention({"lost": math.nan}) == ""


def test_a_strategy_stands_among_the_others(results: Results) -> None:
    family = compare(results, "prostate-phantom", SCORES["dice_forgetting"])
    standing = words.standing("smdr", family, ("finetune", "ewc", "smdr_onsite"))
    assert standing == "better than finetune and ewc; not told apart from smdr_onsite"
    assert words.standing("finetune", family, ("ewc", "smdr", "smdr_onsite")) == "worse than all others"
    assert words.standing("smdr", family, ("smdr",)) == ""


def test_what_was_lost_is_named(results: Results) -> None:
    assert summary.lost(results) == (
        "fundus-phantom, ewc, order A-B-C-D, seed 3: failed (site B, step 2: OUT_OF_MEMORY)",
        "fundus-phantom, smdr, order C-A-D-B, seed 0: failed (site B, step 2: OUT_OF_MEMORY)",
    )


def test_patients_data_that_left_are_spoken_of(results: Results) -> None:
    assert summary.exposed(results) == "With joint, patients' images or labels themselves left the sites."
    harmless = replace(results, trials=results.trials[results.trials["strategy"] != "joint"])
    assert summary.exposed(harmless) == ""


def test_ranks_say_what_friedman_found(results: Results) -> None:
    text = words.ranking(rank(results, "fundus-phantom"))
    assert "over 8 trials that all share: best joint" in text
    assert "2 trials left out" in text
    assert "They differ (Friedman, p < .001); ranks closer than 2.67" in text


def test_every_kind_that_may_leave_has_a_place_in_the_order_and_a_colour() -> None:
    assert set(words.SENSITIVITY) == set(KINDS) == {kind.value for kind in Kind}
    assert len({ink(f"kind-{kind}") for kind in KINDS}) == len(KINDS)
