"""Draws average ranks with the critical difference: strategies joined by a bar are not told apart."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simulator.bench import words
from simulator.bench.looks import Plate
from simulator.bench.ranks import Ranks
from simulator.report.ink import ink

_ROW, _BAR = 0.27, 0.13


def rank_plate(found: Ranks) -> Plate | None:
    """The diagram of Demsar (2006); None for fewer than two strategies ranked."""
    if len(found.average) < 2:
        return None
    bars = (
        "" if math.isnan(found.critical_difference) else " A bar joins strategies whose ranks lie within the critical "
    )
    caption = f"Average rank by {found.score.noun}, 1 the best."
    caption += f"{bars}difference (CD, Nemenyi)." if bars else ""
    return Plate(
        name=f"ranks-{found.score.key.replace('_', '-')}",
        title=f"Average ranks by {found.score.noun}",
        caption=caption,
        finding=words.ranking(found),
        draw=partial(_diagram, found),
    )


def _diagram(found: Ranks) -> Figure:
    names, count = list(found.average), len(found.average)
    half = -(-count // 2)
    bars = len(found.groups) * _BAR
    height = 0.75 + bars + 0.12 + _ROW * half
    margin = 0.75 + 0.085 * max(map(len, names))
    left, right = margin, margin + 4
    figure = Figure(figsize=(right + margin, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, right + margin)
    axes.set_ylim(-(height - 0.55), 0.55)
    spread = (right - left) / (count - 1)
    at = {name: left + (rank - 1) * spread for name, rank in found.average.items()}
    line: dict[str, Any] = {"color": ink("muted"), "linewidth": 1.0, "solid_capstyle": "butt"}
    axes.plot([left, right], [0, 0], **line)
    stride = -(-count // 13)
    for rank in range(1, count + 1, stride):
        x = left + (rank - 1) * spread
        axes.plot([x, x], [0, 0.07], **line)
        axes.text(x, 0.1, str(rank), ha="center", va="bottom", color=ink("muted"), fontsize=8.5)
    if not math.isnan(found.critical_difference):
        _critical(axes, found.critical_difference, spread, left)
    for level, group in enumerate(found.groups):
        y = -(0.1 + level * _BAR)
        axes.plot([at[group[0]] - 0.04, at[group[-1]] + 0.04], [y, y], color=ink("seen"), linewidth=3.6)
    for place, name in enumerate(names):
        first = place < half
        row = place if first else count - 1 - place
        y, edge = -(0.2 + bars + _ROW * row + 0.06), left - 0.12 if first else right + 0.12
        axes.plot([at[name], at[name], edge], [0, y, y], **{**line, "linewidth": 0.9})
        side = "right" if first else "left"
        label = f"{name}  {found.average[name]:.1f}" if first else f"{found.average[name]:.1f}  {name}"
        axes.text(edge + (-0.06 if first else 0.06), y, label, ha=side, va="center", fontsize=9)
    return figure


def _critical(axes: Axes, difference: float, spread: float, left: float) -> None:
    """A ruler as long as the critical difference, over the axis."""
    wide = difference * spread
    style: dict[str, Any] = {"color": ink("seen"), "linewidth": 1.4}
    axes.plot([left, left + wide], [0.36, 0.36], **style)
    for x in (left, left + wide):
        axes.plot([x, x], [0.32, 0.40], **style)
    axes.text(left + wide + 0.08, 0.36, f"CD {difference:.2f}", va="center", fontsize=8.5, color=ink("muted"))
