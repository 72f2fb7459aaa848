"""Sums a bench up for those who read no further: who did best, what cannot be told, what was lost and what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping

from simulator.bench import words
from simulator.bench.results import Results
from simulator.bench.scores import SCORES, SEEN, UNSEEN, Score
from simulator.bench.statistics import Estimate, Family, Verdict
from simulator.bench.tables import best_of, estimates_of, kinds_of
from simulator.report.words import counted, listed

_FORGETTING = SCORES["dice_forgetting"]
_SITES = {SEEN.key: "seen", UNSEEN.key: "unseen"}


def headline(results: Results, families: Mapping[str, Mapping[str, Family]]) -> str:
    """Say who has the highest mean Dice on seen and on unseen sites, over all schedules, and whether that can be told.

    families: the comparisons of each schedule, by score
    """
    parts: list[tuple[Score, dict[str, list[str]]]] = []
    for score in (SEEN, UNSEEN):
        by_best: dict[str, list[str]] = {}
        for schedule in results.schedules:
            best = best_of(results, estimates_of(results, schedule, score), score.sign)
            if best:
                by_best.setdefault(best, []).append(schedule)
        if by_best:
            parts.append((score, by_best))
    if not parts:
        return "No trial ended: there is nothing to compare."
    if len(results.strategies) == 1:
        return f"Only {results.strategies[0]} was run, so there is nothing to compare it with."
    winners = {best for _, by_best in parts for best in by_best}
    aside = f"Leaving {results.reference}, the reference, aside, " if results.reference else ""
    if len(winners) == 1:
        where = " and ".join(f"on {_SITES[score.key]} sites" for score, _ in parts)
        on = "" if len(results.schedules) == 1 else " of every schedule"
        text = f"{aside}{next(iter(winners))} has the highest mean Dice {where}{on}."
    else:
        clauses = [
            f"on {_SITES[score.key]} sites {_winners(by_best, len(results.schedules))}" for score, by_best in parts
        ]
        text = f"{aside}the highest mean Dice is reached {' and '.join(clauses)}."
    if not all(
        _stands_out(results, best, families[schedule][score.key])
        for score, by_best in parts
        for best, where in by_best.items()
        for schedule in where
    ):
        other = results.control if results.control not in (None, *winners) else "every other strategy"
        text += f" These trials do not tell {'it' if len(winners) == 1 else 'them'} apart from {other}."
    return text if text.startswith(tuple(winners)) else text[0].upper() + text[1:]


def _stands_out(results: Results, best: str, family: Family) -> bool:
    """Say whether a strategy is told to be better than all that it is compared with, the reference aside."""
    found = [family.between(best, name) for name in _rivals(results, best)]
    return all(one is not None and one.verdict is Verdict.BETTER for one in found)


def _winners(by_best: Mapping[str, list[str]], schedules: int) -> str:
    if len(by_best) == 1 or schedules == 1:
        return f"by {next(iter(by_best))}"
    return "by " + listed([f"{best} ({listed(where)})" for best, where in by_best.items()])


def findings(results: Results, schedule: str, families: Mapping[str, Family]) -> tuple[str, ...]:
    """Say what a schedule's trials show: the best on each score, whom it beats, and what cannot be told."""
    found = [_leader(results, schedule, families[score.key]) for score in (SEEN, UNSEEN) if score.key in families]
    if _FORGETTING.key in families:
        falls = estimates_of(results, schedule, _FORGETTING)
        found.append(words.retention({name: one.mean for name, one in falls.items()}))
    found.append(words.reach(families[SEEN.key]) if SEEN.key in families else "")
    return tuple(sentence for sentence in found if sentence)


def _leader(results: Results, schedule: str, family: Family) -> str:
    score, estimates = family.score, estimates_of(results, schedule, family.score)
    best = best_of(results, estimates, score.sign)
    if best is None:
        return f"No trial has a score for {score.noun}."
    text = (
        f"{score.noun}: {best} has the highest mean, {_value(estimates[best], score)}{_standing(results, best, family)}"
    )
    if len(results.strategies) == 1:
        text = f"{score.noun}: {_value(estimates[best], score)} over {counted(estimates[best].trials, 'trial')}."
    control = results.control
    if control and control != best and math.isfinite(estimates[control].mean):
        text += f" The control {control} has {_value(estimates[control], score)}{_standing(results, control, family)}"
    reference = results.reference
    if reference and reference != best and math.isfinite(estimates[reference].mean):
        against = family.between(best, reference)
        verdict = f", from which it is {against.verdict}" if against and against.verdict == "not told apart" else ""
        text += f" The reference {reference} has {_value(estimates[reference], score)}{verdict}."
    return text


def _standing(results: Results, strategy: str, family: Family) -> str:
    standing = words.standing(strategy, family, _rivals(results, strategy))
    return f"; it is {standing}." if standing else "."


def _rivals(results: Results, strategy: str) -> tuple[str, ...]:
    """Return what a strategy is compared with, the reference aside."""
    return tuple(name for name in results.compared_with(strategy) if name != results.reference)


def _value(found: Estimate, score: Score) -> str:
    value = score.number(found.mean, unit=True)
    return value if math.isnan(found.margin) else f"{value} ± {score.number(found.margin, signed=False)}"


def exposed(results: Results) -> str:
    """Say with which strategies patients' data themselves left the sites; "" where with none."""
    names = [
        name
        for name in results.strategies
        if any({"image", "label"} & set(kinds_of(results, where, name).split("+")) for where in results.schedules)
    ]
    return f"With {listed(names)}, patients' images or labels themselves left the sites." if names else ""


def lost(results: Results) -> tuple[str, ...]:
    """Name each trial that failed or is missing, with its reason."""
    rows = results.trials[results.trials["status"] != "done"]
    names = ["schedule", "strategy", "order", "seed", "status", "reason"]
    return tuple(
        f"{schedule}, {strategy}, order {order}, seed {seed}: {status}" + (f" ({reason})" if reason else "")
        for schedule, strategy, order, seed, status, reason in rows[names].astype(str).to_numpy()
    )
