"""Draws how trials went, step by step: mean score matrices, and curves of means and of sites."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simulator.bench import words
from simulator.bench.looks import WIDE, Plate, done, legend, legend_height, looks, plain
from simulator.bench.results import Results
from simulator.bench.statistics import estimate
from simulator.metrics import METRICS, ScoreMatrix
from simulator.report import heat
from simulator.report.ink import ink
from simulator.report.labels import Plain, step_ticks
from simulator.report.words import counted, listed, number

DICE = METRICS[0]
_BAND_LIMIT = 8


def placed(results: Results, schedule: str) -> pd.DataFrame:
    """Return the Dice of a schedule's trials with the columns strategy, trial, step, place, arrived, dice.

    A place is a site's name where it is the same in every order, else its turn of arrival ("1st", "2nd", ...).
    """
    trials = done(results, schedule)[["trial", "strategy"]]
    rows = results.matrix.merge(trials, on="trial", how="inner")
    sites = rows.drop_duplicates(["trial", "site"])[["trial", "site", "arrived"]]
    seen = sites[sites["arrived"] > 0].sort_values(["trial", "arrived"], kind="stable")
    seen = seen.assign(turn=seen.groupby("trial").cumcount() + 1)
    fixed = bool((seen.groupby("turn")["site"].nunique() <= 1).all())
    seen["place"] = seen["site"] if fixed else seen["turn"].map(_ordinal)
    unseen = sites[sites["arrived"] == 0].assign(place=lambda frame: frame["site"], turn=len(seen) + 1)
    places = pd.concat([seen, unseen])[["trial", "site", "turn", "place"]]
    return rows.merge(places, on=["trial", "site"]).sort_values(["turn", "step"], kind="stable")


def matrices(results: Results, schedule: str) -> dict[str, ScoreMatrix]:
    """Return the mean score matrix of Dice by strategy, over the trials done."""
    rows = placed(results, schedule)
    arrived = rows.groupby("place", sort=False)["arrived"].min()
    arrivals = {str(place): (int(step),) if step else () for place, step in arrived.items()}
    found = {}
    for name in results.strategies:
        mine = rows[rows["strategy"] == name]
        if len(mine):
            table = mine.pivot_table(index="step", columns="place", values="dice", dropna=False)
            table = table.reindex(index=range(int(rows["step"].max()) + 1), columns=list(arrivals))
            found[name] = ScoreMatrix(table.to_numpy(dtype=float), tuple(arrivals), arrivals)
    return found


def matrix_plate(results: Results, schedule: str) -> Plate | None:
    """The mean score matrix of every strategy; None where no trial ended."""
    found = matrices(results, schedule)
    if not found:
        return None
    falls = words.retention({name: matrix.forgetting for name, matrix in found.items()})
    finding = f"Mean score matrices of {counted(len(found), 'strategy', 'strategies')}. {falls}".rstrip()
    turns = any(place[0].isdigit() for matrix in found.values() for place in matrix.seen_sites)
    caption = "Dice of each site after each step, mean over trials. Outlined: the step at which a site's data arrived."
    caption += " Sites stand in their order of arrival, which differs between trials." if turns else ""
    caption += " Set apart on the right: sites never trained on." if next(iter(found.values())).unseen_sites else ""
    return Plate(
        name="matrices",
        title="What each strategy remembers",
        caption=caption,
        finding=finding,
        draw=partial(_matrices, found),
    )


def _matrices(found: dict[str, ScoreMatrix]) -> Figure:
    width, height = heat.extent(next(iter(found.values())))
    across = max(1, min(len(found), int(2 * WIDE / (width + 0.2) / 1.55)))
    down = -(-len(found) // across)
    figure = Figure(figsize=(across * (width + 0.15), down * (height + 0.4)), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    scale = heat.span(*found.values())
    for place, axes in enumerate(grid.flat):
        if place >= len(found):
            axes.set_axis_off()
            continue
        name, matrix = list(found.items())[place]
        heat.paint(axes, matrix, DICE, scale)
        axes.set_title(name, loc="left", fontsize=10.5, fontweight="bold")
        if place % across:
            axes.tick_params(labelleft=False)
    return figure


def curves(results: Results, schedule: str) -> Plate | None:
    """The mean over the sites seen so far, and over the unseen ones, after each step; None below two steps."""
    rows = placed(results, schedule)
    if rows.empty or rows["step"].max() < 2:
        return None
    so_far = rows[(rows["arrived"] > 0) & (rows["arrived"] <= rows["step"])]
    unseen = rows[(rows["arrived"] == 0) & (rows["step"] > 0)]
    panels = {"mean of the sites seen so far": so_far, "mean of the unseen sites": unseen}
    panels = {title: part for title, part in panels.items() if part["dice"].notna().any()}
    if not panels:
        return None
    ends = [f"{title}: {_ends(part, results)}" for title, part in panels.items()]
    return Plate(
        name="curves",
        title="Step by step",
        caption="Mean over trials; shaded: its 95 % interval (three trials or more, eight strategies or fewer).",
        finding=f"Dice after the first and after the last step, {'; '.join(ends)}.",
        draw=partial(_panels, results, panels, 2, band=True),
    )


def _ends(part: pd.DataFrame, results: Results) -> str:
    means = part.groupby(["strategy", "step"])["dice"].mean().unstack("step")
    known = [name for name in results.strategies if name in means.index]
    ends = {name: means.loc[name].to_numpy(dtype=float)[[0, -1]] for name in known}
    texts = [f"{name} {number(first, DICE)} to {number(last, DICE)}" for name, (first, last) in ends.items()]
    return listed(texts)


def sites(results: Results, schedule: str) -> Plate | None:
    """Each site's Dice over the steps; None below two steps."""
    rows = placed(results, schedule)
    rows = rows[rows["step"] > 0]
    if rows.empty or rows["step"].max() < 2 or rows["dice"].isna().all():
        return None
    panels = {
        f"{place}, unseen"
        if part["arrived"].max() == 0
        else f"{place} to arrive"
        if place[0].isdigit()
        else place: part
        for place, part in ((str(place), part) for place, part in rows.groupby("place", sort=False))
    }
    return Plate(
        name="sites",
        title="Site by site",
        caption="Mean Dice over trials. A vertical line: the step at which the site's data arrive.",
        finding=f"Dice of {listed(list(panels))} over the steps, a panel each; the curves above tell their means.",
        draw=partial(_panels, results, panels, 3, band=False),
    )


def _panels(results: Results, panels: dict[str, pd.DataFrame], across: int, *, band: bool) -> Figure:
    """A panel each, a line for each strategy."""
    present = set().union(*(part["strategy"] for part in panels.values()))
    chosen = {name: look for name, look in looks(results).items() if name in present}
    across = min(across, len(panels))
    down = -(-len(panels) // across)
    head = legend_height(chosen)
    size = (WIDE, head + down * (3.2 if across < 3 else 2.3))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    legend(figure, chosen)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, part) in zip(grid.flat, panels.items(), strict=False):
        for name, look in chosen.items():
            _course(axes, part[part["strategy"] == name], look, band=band and len(chosen) <= _BAND_LIMIT)
        for arrived in sorted(set(part["arrived"]) - {0}) if not band else ():
            axes.axvline(arrived, color=ink("muted"), linewidth=1, linestyle=(0, (1, 2)), zorder=0)
        axes.set_title(title, loc="left", fontsize=9.5)
        steps = int(part["step"].max())
        axes.set_xticks(step_ticks(steps))
        axes.tick_params(labelbottom=True)
        axes.yaxis.set_major_formatter(Plain(useOffset=False))
        plain(axes)
    figure.supxlabel("step", fontsize=9.5, color=ink("muted"))
    figure.supylabel("Dice", fontsize=9.5, color=ink("muted"))
    return figure


def _course(axes: Axes, rows: pd.DataFrame, look: dict[str, Any], *, band: bool) -> None:
    by_trial = rows.groupby(["step", "trial"])["dice"].mean().unstack("step")
    if by_trial.empty:
        return
    found = [estimate(by_trial[step].to_numpy(dtype=float)) for step in by_trial.columns]
    steps = by_trial.columns.to_numpy(dtype=float)
    axes.plot(steps, [one.mean for one in found], linewidth=1.8, markersize=4.5, **look)
    if band and all(one.drawn for one in found):
        low, high = np.array([[one.low, one.high] for one in found]).T
        axes.fill_between(steps, low, high, color=look["color"], alpha=0.14, linewidth=0)


def _ordinal(turn: int) -> str:
    ending = "th" if turn % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(turn % 10, "th")
    return f"{turn}{ending}"
