"""Draws by how much each strategy differs from the control, on seen and on unseen sites."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from simulator.bench.looks import WIDE, Plate, looks
from simulator.bench.results import Results
from simulator.bench.scores import SEEN, UNSEEN, Score
from simulator.bench.statistics import Comparison, Family, Verdict
from simulator.report.ink import ink
from simulator.report.labels import Plain
from simulator.report.words import listed


def gaps(results: Results, families: Mapping[str, Family]) -> Plate | None:
    """Each strategy's Dice less the control's, over the trials that both have; None without a control.

    families: the comparisons of a schedule, by score's key
    """
    tested = [families[score.key] for score in (SEEN, UNSEEN) if score.key in families]
    found = {family.score: family.comparisons for family in tested if family.comparisons}
    if results.control is None or not found:
        return None
    return Plate(
        name="differences",
        title=f"Each strategy less {results.control}",
        caption=f"Mean difference of Dice from {results.control} over paired trials: right of the line is better. "
        "Bars: 95 % confidence interval, from three trials on, not corrected for their number.",
        finding=" ".join(_finding(score, pairs) for score, pairs in found.items()),
        draw=partial(_forest, results, found),
    )


def _finding(score: Score, pairs: Sequence[Comparison]) -> str:
    most, least = (one(pairs, key=lambda pair: pair.difference.mean) for one in (max, min))
    ends = [f"{pair.first} {score.number(pair.difference.mean, signed=True)}" for pair in dict.fromkeys((most, least))]
    told = [pair.first for pair in pairs if pair.verdict in (Verdict.BETTER, Verdict.WORSE)]
    text = f"{score.noun}, less {pairs[0].second}: {' and '.join(ends)} lie furthest out"
    return f"{text}; told apart: {listed(told)}." if told else f"{text}; none is told apart."


def _forest(results: Results, found: Mapping[Score, Sequence[Comparison]]) -> Figure:
    named = {pair.first for pairs in found.values() for pair in pairs}
    names = [name for name in results.strategies if name in named]
    figure = Figure(figsize=(WIDE, 1.0 + 0.27 * len(names)), layout="constrained")
    grid = figure.subplots(1, len(found), sharey=True, sharex=True, squeeze=False)
    shown = looks(results)
    for axes, (score, pairs) in zip(grid.flat, found.items(), strict=True):
        axes.axvline(0, color=ink("muted"), linewidth=1.0)
        for pair in pairs:
            gap, row = pair.difference, names.index(pair.first)
            look = {**shown[pair.first], "linestyle": "none", "markersize": 6}
            reach = gap.margin if gap.drawn else math.nan
            axes.errorbar(gap.mean, row, xerr=reach, elinewidth=1.6, **look)
        axes.set_title(score.noun, loc="left", fontsize=9.5)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(axis="x", linewidth=0.8)
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(Plain(useOffset=False))
    return figure
