"""Compares what strategies and steps cost: how many times as much CPU time one takes as another."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from simulator.bench.results import Results
from simulator.bench.statistics import estimate, trial_table


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """First's CPU time over second's: of two strategies over the (order, seed) in which both ended, or of two steps.

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
    return _ratio(first, second, (table[first] / table[second]).to_numpy())


def growth(results: Results, schedule: str, strategy: str) -> Ratio:
    """Compare the CPU seconds of a strategy's last step with those of its second; of no trial where there is no third.

    The first step is left out: there is no past yet.
    """
    trials = results.trials.query("schedule == @schedule and strategy == @strategy and status == 'done'")
    mine = results.times[results.times["trial"].isin(trials["trial"])]
    steps = mine.groupby(["trial", "step"])["cpu_seconds"].sum().unstack("step")
    last = int(mine["step"].max()) if mine["step"].notna().any() else 0
    return _ratio(f"step {last}", "step 2", (steps[last] / steps[2]).to_numpy() if last > 2 else np.array([]))


def _ratio(first: str, second: str, values: npt.NDArray[np.float64]) -> Ratio:
    found = estimate(np.log(values))
    mean, low, high = map(math.exp, (found.mean, found.low, found.high))
    return Ratio(first=first, second=second, pairs=found.trials, mean=mean, low=low, high=high)
