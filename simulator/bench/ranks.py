"""Ranks strategies over the trials that all of them share: Friedman's test and Nemenyi's critical difference.

Demsar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006. Demsar's blocks are data sets;
here a block is one (order, seed) of a schedule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from simulator.bench.results import Results
from simulator.bench.scores import SEEN, Score
from simulator.bench.statistics import ALPHA, NAN, trial_table


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Average ranks on one score of one schedule, 1 the best.

    average: by strategy, best first; empty where no trial is shared
    blocks: the (order, seed) that all ranked strategies have; dropped: those that one or more of them lack
    left_out: strategies without any score, which are not ranked
    p: Friedman's test (chi-squared form); NaN for fewer than three strategies or two blocks
    critical_difference: of Nemenyi's test; NaN for fewer than two strategies or blocks
    """

    schedule: str
    score: Score
    average: dict[str, float]
    blocks: int
    dropped: int
    left_out: tuple[str, ...]
    p: float
    critical_difference: float

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The largest runs of strategies, best first, whose ranks lie within the critical difference."""
        names = list(self.average)
        runs: list[tuple[str, ...]] = []
        for start, name in enumerate(names):
            within = [other for other in names[start:] if self.average[other] - self.average[name] < self._reach]
            if len(within) > 1 and not (runs and within[-1] in runs[-1]):
                runs.append(tuple(within))
        return tuple(runs)

    @property
    def _reach(self) -> float:
        return 0.0 if np.isnan(self.critical_difference) else self.critical_difference


def rank(results: Results, schedule: str, score: Score = SEEN) -> Ranks:
    """Rank the strategies on one score of one schedule."""
    table = trial_table(results, schedule, score.key)
    left_out = tuple(name for name in results.strategies if table[name].isna().all())
    shared = table.drop(columns=list(left_out)).dropna()
    values = -score.sign * shared.to_numpy(dtype=np.float64)
    blocks, count = values.shape
    means = stats.rankdata(values, axis=1).mean(axis=0) if blocks and count else np.array([])
    average = dict(sorted(zip(shared.columns, map(float, means), strict=False), key=lambda item: item[1]))
    enough = blocks >= 2 and count >= 3 and bool(np.ptp(values, axis=1).any())
    return Ranks(
        schedule=schedule,
        score=score,
        average=average,
        blocks=blocks,
        dropped=len(table) - blocks,
        left_out=left_out,
        p=float(stats.friedmanchisquare(*values.T).pvalue) if enough else NAN,
        critical_difference=critical_difference(count, blocks) if blocks >= 2 and count >= 2 else NAN,
    )


def critical_difference(strategies: int, blocks: int) -> float:
    """Return by how much two average ranks must differ for Nemenyi's test to tell them apart at alpha."""
    quantile = float(stats.studentized_range.ppf(1 - ALPHA, strategies, np.inf)) / 2**0.5
    return float(quantile * (strategies * (strategies + 1) / (6 * blocks)) ** 0.5)
