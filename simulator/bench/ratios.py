"""Compares what strategies cost: how many times as much CPU time one takes as another, over paired trials."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from simulator.bench.results import Results
from simulator.bench.statistics import estimate, trial_table


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """First's CPU time over second's, over the (order, seed) in which both ended.

    mean: geometric, with its 95 % confidence interval (Student's t on the logarithms); NaN where pairs are too few
    """

    first: str
    second: str
    pairs: int
    mean: float
    low: float
    high: float


def cpu_ratio(results: Results, schedule: str, first: str, second: str) -> Ratio:
    """Compare the CPU seconds of two strategies on one schedule."""
    priced = replace(results, trials=results.trials.merge(results.costs, on="trial", how="left"))
    table = trial_table(priced, schedule, "cpu_seconds")
    found = estimate(np.log((table[first] / table[second]).to_numpy()))
    mean, low, high = map(math.exp, (found.mean, found.low, found.high))
    return Ratio(first=first, second=second, pairs=found.trials, mean=mean, low=low, high=high)
