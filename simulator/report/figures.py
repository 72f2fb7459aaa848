"""Draws the figures of the report: score matrix, curves, timeline, and what left each site."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from simulator.metrics import Metric, ScoreMatrix
from simulator.report import heat, words
from simulator.report.ink import KINDS, drawing, ink, inline_svg
from simulator.report.labels import Plain, end_labels, step_ticks
from simulator.report.view import RunView

LINE = 0.26
WIDE = 9.4
DOTS = (0, (1, 2))
ONLINE: dict[str, Any] = {"facecolor": ink("seen-soft"), "linewidth": 0}
TESTED: dict[str, Any] = {"facecolor": "none", "edgecolor": ink("unseen"), "hatch": "////", "linewidth": 0}


def heat_map(matrix: ScoreMatrix, metric: Metric) -> Markup:
    """Draw the score matrix: steps down, sites across, unseen ones set apart, arrivals outlined."""
    with drawing():
        figure = Figure(figsize=heat.extent(matrix), layout="constrained")
        heat.paint(figure.subplots(), matrix, metric, heat.span(matrix))
        return inline_svg(figure, f"heat-{metric.key}", words.heat_finding(matrix, metric))


def curves(matrix: ScoreMatrix, metric: Metric) -> Markup:
    """Draw each site's score over the steps, dotted until it arrives, and the means over seen and unseen sites."""
    steps = np.arange(1, matrix.steps + 1)
    with drawing():
        figure = Figure(figsize=(WIDE, max(3.8, 1.2 + 0.21 * len(matrix.sites))), layout="constrained")
        axes = figure.subplots()
        ends: dict[str, tuple[float, str]] = {}
        for site in matrix.sites:
            arrivals = matrix.arrivals[site]
            colour = ink("seen" if arrivals else "unseen")
            scores = matrix.values[1:, matrix.sites.index(site)]
            column = np.where(np.isfinite(scores), scores, np.nan)
            first = arrivals[0] - 1 if arrivals else 0
            axes.plot(steps[: first + 1], column[: first + 1], color=colour, linewidth=1, alpha=0.6, linestyle=DOTS)
            axes.plot(steps[first:], column[first:], color=colour, linewidth=1.1, alpha=0.7)
            for step in arrivals:
                axes.plot(step, column[step - 1], "o", color=colour, markersize=5, markeredgecolor=ink("card"))
            if len(column) and np.isfinite(column[-1]):
                ends[site] = (float(column[-1]), colour)
        for means, name in ((words.seen_mean(matrix), "seen"), (words.unseen_mean(matrix), "unseen")):
            marker = "D" if len(means) == 1 else ""
            axes.plot(steps, means, color=ink(name), linewidth=3, solid_capstyle="round", marker=marker)
        end_labels(axes, ends, matrix.steps)
        _curve_axes(axes, matrix, metric)
        return inline_svg(figure, f"curves-{metric.key}", words.curve_finding(matrix, metric))


def _curve_axes(axes: Axes, matrix: ScoreMatrix, metric: Metric) -> None:
    axes.set_xlim(0.8, matrix.steps + 0.1)
    axes.set_xticks(step_ticks(matrix.steps), [f"step {step}" for step in step_ticks(matrix.steps)])
    unit = f", {metric.unit}" if metric.unit else ""
    axes.set_ylabel(f"{metric.title}{unit} ({'higher' if metric.higher_is_better else 'lower'} is better)")
    axes.yaxis.set_major_formatter(Plain(useOffset=False))
    axes.grid(axis="y", linewidth=0.8)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    marks = [
        Line2D([], [], color=ink("seen"), linewidth=3, label="mean of the sites seen so far"),
        Line2D([], [], color=ink("unseen"), linewidth=3, label="mean of the unseen sites"),
        Line2D([], [], color=ink("seen"), linewidth=0, marker="o", markersize=5, label="a site's data arrive"),
        Line2D([], [], color=ink("seen"), linewidth=1, linestyle=DOTS, label="before that"),
    ]
    chosen = marks if matrix.unseen_sites else [mark for mark in marks if mark is not marks[1]]
    axes.figure.legend(handles=chosen, loc="outside upper left", ncols=4, handlelength=1.6, columnspacing=1.4)


def timeline(view: RunView) -> Markup:
    """Draw who is there when: sites down, steps across, a bar while online, a dot where data arrive."""
    steps = len(view.steps)
    with drawing():
        figure = Figure(figsize=(WIDE, 0.7 + LINE * len(view.sites)), layout="constrained")
        axes = _bare_axes(figure)
        for row, site in enumerate(view.sites):
            unseen = site in view.unseen
            look = TESTED if unseen else ONLINE
            for first, last in _stretches([step.step for step in view.steps if site in step.online]):
                axes.barh(row, last - first + 0.94, left=first - 0.47, height=0.56, **look)
            arrivals = view.arrivals[site]
            axes.plot(arrivals, [row] * len(arrivals), "o", color=ink("seen"), markersize=7, markeredgewidth=0)
        axes.set_xlim(0.4, steps + 0.6)
        axes.set_ylim(len(view.sites) - 0.4, -0.6)
        axes.set_xticks(step_ticks(steps), [f"step {step}" for step in step_ticks(steps)])
        axes.set_yticks(range(len(view.sites)), view.sites)
        axes.tick_params(length=0)
        marks = [
            Line2D([], [], color=ink("seen"), linewidth=0, marker="o", markersize=7, label="data arrive"),
            Patch(**ONLINE, label="online"),
            Patch(**TESTED, label="online, only tested on"),
        ]
        figure.legend(handles=marks if view.unseen else marks[:2], loc="outside upper left", ncols=3)
        return inline_svg(figure, "timeline", words.timeline_finding(view))


def _stretches(steps: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of each run of consecutive steps."""
    first = None
    for step in steps:
        first = step if first is None else first
        if step + 1 not in steps:
            yield first, step
            first = None


def releases(view: RunView) -> Markup:
    """Draw how many bytes each site released, stacked by kind."""
    kinds = view.releases["kind"].astype(str).str.lower()
    table = pd.crosstab(view.releases["site"], kinds, values=view.releases["bytes"], aggfunc="sum")
    table = table.reindex(list(view.sites)).fillna(0)
    ranked = sorted(table.columns, key=lambda kind: KINDS.index(kind) if kind in KINDS else len(KINDS))
    top = float(table.sum(axis=1).max())
    unit = 1000 ** min(3, int(math.log10(max(top, 1)) // 3))
    with drawing():
        figure = Figure(figsize=(WIDE, 0.8 + LINE * len(view.sites)), layout="constrained")
        axes = _bare_axes(figure)
        start = np.zeros(len(table))
        for kind in ranked:
            amount = table[kind].to_numpy(dtype=float) / unit
            colour = ink(f"kind-{kind}") if kind in KINDS else ink("other")
            axes.barh(range(len(table)), amount, left=start, height=0.6, color=colour, label=kind)
            start += amount
        for row, total in enumerate(start):
            axes.annotate(
                words.size(total * unit), (total, row), (5, 0), textcoords="offset points", va="center", fontsize=8.5
            )
        axes.set_xlim(0, top / unit * 1.12)
        axes.set_ylim(len(table) - 0.4, -0.6)
        axes.set_yticks(range(len(table)), list(table.index))
        axes.tick_params(length=0)
        axes.xaxis.set_visible(False)
        figure.legend(loc="outside upper left", ncols=len(ranked), handlelength=1, columnspacing=1.4)
        return inline_svg(figure, "releases", words.release_finding(view))


def _bare_axes(figure: Figure) -> Axes:
    axes = figure.subplots()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return axes
