"""Tells what trials say of strategies: means with confidence intervals, and paired tests.

The unit is the trial: one schedule, site order and seed, run by one strategy. Slices and cases of a trial share a
network, so they are averaged before anything is tested.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from simulator.bench.results import Results
from simulator.bench.scores import SCORES, SEEN, Score

ALPHA = 0.05
DIGITS = 12
NAN = float("nan")
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over trials with its 95 % confidence interval (Student's t); NaN where there are too few trials."""

    trials: int
    mean: float
    deviation: float
    low: float
    high: float

    @property
    def margin(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    @property
    def drawn(self) -> bool:
        """Whether a figure shows the interval: that of two trials is so wide that it would hide every score."""
        return self.trials > 2 and math.isfinite(self.margin)


class Verdict(StrEnum):
    """What a comparison says of its first strategy."""

    BETTER = "better"
    WORSE = "worse"
    NOT_TOLD_APART = "not told apart"
    TOO_FEW = "too few trials"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two strategies on one score of one schedule, over the (order, seed) in which both have it.

    difference: first minus second, mean over pairs with its interval, not corrected for the number of pairs
    dropped: pairs that a missing, failed or undefined trial took away
    d_z: the mean difference over the standard deviation of differences (Cohen 1988), above 0 where first is better
    rank_biserial: matched pairs, -1..1 (Kerby 2014), above 0 where first is better
    p: two-sided sign-flip permutation test; p_holm: the same, corrected within the family
    """

    first: str
    second: str
    difference: Estimate
    dropped: int
    d_z: float
    rank_biserial: float
    p: float
    p_holm: float
    verdict: Verdict

    @property
    def pairs(self) -> int:
        """The number of paired trials."""
        return self.difference.trials


@dataclass(frozen=True, kw_only=True)
class Family:
    """Every pair of strategies that share a trial, on one score of one schedule: what Holm corrects over.

    control: where there is one, every pair is of a strategy with it
    """

    schedule: str
    score: Score
    comparisons: tuple[Comparison, ...]
    control: str | None = None

    def between(self, first: str, second: str) -> Comparison | None:
        """Return the comparison of two strategies, seen from the first; None where they share no trial."""
        for found in self.comparisons:
            if (found.first, found.second) == (first, second):
                return found
            if (found.second, found.first) == (first, second):
                return _turned(found)
        return None


def estimate(values: Sequence[float] | Array) -> Estimate:
    """Average the finite ones of some trials' values."""
    given = np.asarray(values, dtype=np.float64)
    found = given[np.isfinite(given)]
    if len(found) < 2:
        mean = float(found[0]) if len(found) else NAN
        return Estimate(trials=len(found), mean=mean, deviation=NAN, low=NAN, high=NAN)
    mean, deviation = float(found.mean()), float(found.std(ddof=1))
    margin = float(stats.t.ppf(1 - ALPHA / 2, len(found) - 1)) * deviation / len(found) ** 0.5
    return Estimate(trials=len(found), mean=mean, deviation=deviation, low=mean - margin, high=mean + margin)


def trial_table(results: Results, schedule: str, score: str) -> pd.DataFrame:
    """Return a score by (order, seed) and strategy; NaN where a trial is not done or its score not finite."""
    rows = results.trials[results.trials["schedule"] == schedule]
    values = rows[score].where((rows["status"] == "done") & np.isfinite(rows[score].astype(float)))
    table = values.astype(float).set_axis(pd.MultiIndex.from_frame(rows[["order", "seed", "strategy"]])).unstack()
    return table.reindex(columns=list(results.strategies))


def summaries(results: Results) -> pd.DataFrame:
    """Return one row a schedule, strategy and score: trials, mean, deviation, low and high."""
    rows = []
    for schedule in results.schedules:
        for score in SCORES:
            table = trial_table(results, schedule, score)
            for strategy in results.strategies:
                found = estimate(table[strategy].to_numpy())
                rows.append(
                    (schedule, strategy, score, found.trials, found.mean, found.deviation, found.low, found.high)
                )
    columns = ["schedule", "strategy", "score", "trials", "mean", "deviation", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def compare(results: Results, schedule: str, score: Score = SEEN) -> Family:
    """Compare strategies on one score of one schedule: each with the control, or every pair, the reference's first."""
    table = trial_table(results, schedule, score.key)
    present = [name for name in _reference_first(results) if table[name].notna().any()]
    control = results.control
    pairs = [(name, control) for name in present if name != control] if control else list(combinations(present, 2))
    found = [_compared(table, first, second, score.sign, len(pairs)) for first, second in pairs]
    testable = [one for one in found if one.pairs > 0]
    reachable = max((one.pairs for one in testable), default=0) >= trials_needed(len(testable))
    corrected = holm([one.p for one in testable])
    judged = tuple(_judged(one, p, score.sign, reachable) for one, p in zip(testable, corrected, strict=True))
    return Family(schedule=schedule, score=score, comparisons=judged, control=control)


def holm(values: Sequence[float]) -> list[float]:
    """Correct p-values so that the chance of any false finding among them stays below alpha (Holm 1979)."""
    p = np.asarray(values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1, np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]))
    corrected = np.empty_like(p)
    corrected[order] = stepped
    return [float(value) for value in corrected]


def sign_flip(differences: Array, family: int = 1) -> float:
    """Return the two-sided p of the mean of paired differences, under all flips of their signs (Fisher 1935).

    Exact to 13 pairs; beyond that 9,999 flips drawn from a fixed seed, more where a large family needs finer ones.
    Means that differ by rounding alone are ties.
    """
    if len(differences) < 2:
        return 1.0 if len(differences) else NAN
    found = stats.permutation_test(
        (differences,),
        lambda flipped, axis: np.mean(flipped, axis=axis).round(DIGITS),
        permutation_type="samples",
        vectorized=True,
        n_resamples=max(9_999, 200 * family - 1),
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def trials_needed(pairs: int) -> int:
    """Return the least number of paired trials at which a family of `pairs` can reach alpha at all."""
    trials = 1
    while pairs * 2.0 ** (1 - trials) > ALPHA:
        trials += 1
    return trials


def _reference_first(results: Results) -> list[str]:
    return sorted(results.strategies, key=lambda name: name != results.reference)


def _compared(table: pd.DataFrame, first: str, second: str, sign: int, family: int) -> Comparison:
    differences = (table[first] - table[second]).dropna().to_numpy(dtype=np.float64)
    found = estimate(differences)
    return Comparison(
        first=first,
        second=second,
        difference=found,
        dropped=len(table) - found.trials,
        d_z=sign * found.mean / found.deviation if found.deviation > 0 else NAN,
        rank_biserial=sign * _rank_biserial(differences),
        p=sign_flip(differences, family),
        p_holm=NAN,
        verdict=Verdict.TOO_FEW,
    )


def _rank_biserial(differences: Array) -> float:
    moved = differences[differences != 0]
    if not len(moved):
        return 0.0 if len(differences) else NAN
    ranks = stats.rankdata(np.abs(moved))
    return float((ranks * np.sign(moved)).sum() / ranks.sum())


def _judged(found: Comparison, p_holm: float, sign: int, reachable: bool) -> Comparison:
    if p_holm <= ALPHA:
        verdict = Verdict.BETTER if sign * found.difference.mean > 0 else Verdict.WORSE
    elif reachable and found.pairs >= trials_needed(1):
        verdict = Verdict.NOT_TOLD_APART
    else:
        verdict = Verdict.TOO_FEW
    return replace(found, p_holm=p_holm, verdict=verdict)


def _turned(found: Comparison) -> Comparison:
    gap = found.difference
    opposite = {Verdict.BETTER: Verdict.WORSE, Verdict.WORSE: Verdict.BETTER}
    return replace(
        found,
        first=found.second,
        second=found.first,
        difference=replace(gap, mean=-gap.mean, low=-gap.high, high=-gap.low),
        d_z=-found.d_z,
        rank_biserial=-found.rank_biserial,
        verdict=opposite.get(found.verdict, found.verdict),
    )
