"""Says in plain sentences what a bench found: who did best, which pairs can be told apart, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping

from simulator.bench.ranks import Ranks
from simulator.bench.ratios import Ratio
from simulator.bench.results import Results
from simulator.bench.scores import SEEN, Score
from simulator.bench.statistics import ALPHA, Comparison, Family, Verdict, trials_needed
from simulator.report.words import NONE, counted, listed, size

# What a release of each kind could give away, most first: patients' data as they are, models that can draw images,
# updates that can be inverted (Geiping et al., NeurIPS 2020), weights that can memorise, then summaries.
SENSITIVITY = (
    "image",
    "label",
    "diffusion",
    "generator",
    "gradient",
    "segmenter",
    "statistic",
    "prompt",
    "score",
    "count",
    "key",
)


def most_sensitive(kinds: str) -> str:
    """Return the most sensitive of some kinds joined by "+"; "nothing" where there is none."""
    found = [kind for kind in kinds.split("+") if kind]
    return min(found, key=lambda kind: SENSITIVITY.index(kind) if kind in SENSITIVITY else -1, default="nothing")


def p_value(p: float) -> str:
    """Write a p-value: = .031, < .001."""
    return "undefined" if math.isnan(p) else "< .001" if p < 0.001 else f"= {f'{p:.3f}'.removeprefix('0')}"


def seconds(value: float) -> str:
    """Write a duration with two or three digits: 0.42 s, 9.5 s, 130 s, 2.1 h."""
    if math.isnan(value):
        return NONE
    if value >= 9_999.5:
        return f"{value / 3600:.1f} h"
    return f"{value:.2f} s" if value < 0.995 else f"{value:.1f} s" if value < 99.95 else f"{value:.0f} s"


def times(value: float) -> str:
    """Write a ratio with two or three digits: 1.04, 4.6, 120."""
    return (
        NONE
        if math.isnan(value)
        else f"{value:.2f}"
        if value < 3
        else f"{value:.1f}"
        if value < 99.5
        else f"{value:.0f}"
    )


def ratio(found: Ratio) -> str:
    """Say how many times another strategy's CPU time one takes, and on what evidence."""
    interval = "" if math.isnan(found.low) else f"95 % CI {times(found.low)} to {times(found.high)} "
    over = f"({interval}over {counted(found.pairs, 'paired trial')})"
    return f"{found.first} takes {times(found.mean)} times the CPU time of {found.second} {over}"


def amount(value: float) -> str:
    """Write a mean number of bytes."""
    return NONE if math.isnan(value) else size(value)


def pair(found: Comparison, score: Score, family: int) -> str:
    """Say of two strategies which is better on a score, or that they are not told apart, and on what evidence."""
    gap = found.difference
    over = f"over {counted(found.pairs, 'paired trial')}"
    missing = f" {counted(found.dropped, 'pair')} without both scores left out." if found.dropped else ""
    if gap.mean == 0 and gap.deviation in (0.0, math.nan):
        return f"{found.first} and {found.second} have the same {score.noun} {over}.{missing}"
    interval = _interval(found, score)
    if found.verdict in (Verdict.BETTER, Verdict.WORSE):
        size_of = "" if math.isnan(found.d_z) else f", d_z {found.d_z:.1f}".replace("-", "\N{MINUS SIGN}")
        return (
            f"{found.first} is {found.verdict} than {found.second}: {_more(found, score)} {interval} "
            f"{over} (p {p_value(found.p_holm)}{size_of}).{missing}"
        )
    change = f"{_more(found, score)} {interval}".rstrip()
    if found.verdict is Verdict.TOO_FEW:
        return (
            f"{found.first} against {found.second}: {counted(found.pairs, 'paired trial')} cannot tell "
            f"{'one pair' if family == 1 else f'{family} pairs'} apart; {found.first} has {change}.{missing}"
        )
    return (
        f"{found.first} and {found.second} are not told apart at this number of trials: {found.first} has {change} "
        f"{over} (p {p_value(found.p_holm)}).{missing}"
    )


def _more(found: Comparison, score: Score) -> str:
    mean = found.difference.mean
    return f"{score.number(abs(mean), signed=False, unit=True)} {'more' if mean >= 0 else 'less'} {score.noun}"


def _interval(found: Comparison, score: Score) -> str:
    """The interval of the difference, turned so that it belongs to the `more` or `less` before it."""
    gap = found.difference
    if math.isnan(gap.low):
        return ""
    low, high = (gap.low, gap.high) if gap.mean >= 0 else (-gap.high, -gap.low)
    return f"[{score.number(low, signed=False)} to {score.number(high, signed=False)}]"


def reach(family: Family) -> str:
    """Say where no pair of a family could have been told apart, and how many trials would do; "" where some could."""
    found = family.comparisons
    most = max((one.pairs for one in found), default=0)
    if not found or most >= trials_needed(len(found)):
        return ""
    return (
        f"{counted(most, 'paired trial')} cannot tell {counted(len(found), 'pair')} apart at {_alpha()}, however "
        f"large the difference: that takes {trials_needed(len(found))} trials a strategy."
    )


def standing(strategy: str, family: Family, among: tuple[str, ...]) -> str:
    """Say whom a strategy is better than, worse than, and not told apart from; "" where it was compared with none."""
    by_verdict: dict[Verdict, list[str]] = {verdict: [] for verdict in Verdict}
    for other in among:
        found = family.between(strategy, other) if other != strategy else None
        if found:
            by_verdict[found.verdict].append(other)
    unclear = [*by_verdict[Verdict.NOT_TOLD_APART], *by_verdict[Verdict.TOO_FEW]]
    compared = sum(map(len, by_verdict.values()))
    parts = (
        ("better than", "all others", by_verdict[Verdict.BETTER]),
        ("worse than", "all others", by_verdict[Verdict.WORSE]),
        ("not told apart from", "any other", unclear),
    )
    return "; ".join(
        f"{verdict} {everyone if len(names) == compared > 2 else listed(names)}"
        for verdict, everyone, names in parts
        if names
    )


def retention(forgetting: Mapping[str, float]) -> str:
    """Say where past sites end, against their best, under who forgets the least and the most; "" where none can."""
    known = {name: value for name, value in forgetting.items() if math.isfinite(value)}
    if not known:
        return ""
    least, most = min(known, key=lambda name: known[name]), max(known, key=lambda name: known[name])
    ends = [f"{_off_best(known[name])} under {name}" for name in dict.fromkeys((least, most))]
    return f"Past sites end {listed(ends)}."


def _off_best(fall: float) -> str:
    return f"{SEEN.number(abs(fall))} Dice {'below' if fall > 0 else 'above'} their earlier best"


def ranking(found: Ranks) -> str:
    """Say what Friedman's test and Nemenyi's critical difference make of the ranks."""
    if not found.average:
        return f"No trial has a {found.score.noun} from every strategy: there are no ranks."
    best = min(found.average, key=lambda name: found.average[name])
    text = f"Average ranks by {found.score.noun} over {counted(found.blocks, 'trial')} that all share: "
    text += f"best {best} ({found.average[best]:.1f} of {len(found.average)})."
    if found.left_out:
        text += f" Without a score, so not ranked: {listed(found.left_out)}."
    if found.dropped:
        text += f" {counted(found.dropped, 'trial')} left out, as a strategy lacks a score there."
    if math.isnan(found.p):
        return f"{text} Friedman's test needs three strategies that differ, and two trials."
    if found.p > ALPHA:
        return f"{text} Friedman's test finds no difference among them (p {p_value(found.p)})."
    return (
        f"{text} They differ (Friedman, p {p_value(found.p)}); ranks closer than {found.critical_difference:.2f} "
        "(Nemenyi's critical difference), joined by a bar, are not told apart."
    )


def opening(results: Results) -> str:
    """Say what was compared, in how many trials, and how many of them ended."""
    trials = results.trials
    done = int((trials["status"] == "done").sum())
    by_schedule = trials.groupby("schedule")
    each = trials.groupby(["schedule", "strategy"]).size()
    orders, seeds = by_schedule["order"].nunique().max(), by_schedule["seed"].nunique().max()
    text = counted(len(results.strategies), "strategy", "strategies")
    text += f" on {counted(len(results.schedules), 'schedule')}"
    if len(trials) > 1 and each.nunique() == 1 and each.iloc[0] == orders * seeds:
        design = f"{counted(orders, 'site order')} by {counted(seeds, 'seed')}"
        text += f", each in {counted(each.iloc[0], 'trial')} ({design})"
    if done == len(trials):
        return f"{text}: {counted(done, 'trial')} in all."
    return f"{text}: {counted(len(trials), 'trial')} in all, {done} of which are done."


def provenance(results: Results) -> str:
    """Say which code ran how many trials, where it was not the same for all; "" where it was."""
    counts = results.trials.loc[results.trials["status"] == "done", "commit"].value_counts(sort=False)
    if len(counts) < 2:
        return ""
    each = listed([f"{commit} ({counted(count, 'trial')})" for commit, count in counts.items()])
    return f"Trials were run by several versions of the code: {each}."


def _alpha() -> str:
    return f"{ALPHA:.2f}".removeprefix("0")
