"""How figures of a bench show a strategy: the same colour, marker and stroke in each of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from simulator.bench.results import Results
from simulator.report.ink import LINES, ink

WIDE = 9.4
_MARKERS = "osD^vPX"
_STROKES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)))


@dataclass(frozen=True, kw_only=True)
class Plate:
    """A figure of the report: a name for its file, a title, a caption, and what it shows said in words.

    draw: to be called within `drawing()`
    """

    name: str
    title: str
    caption: str
    finding: str
    draw: Callable[[], Figure]


def looks(results: Results) -> dict[str, dict[str, Any]]:
    """Return colour, marker and line style by strategy; the reference in the colour of text."""
    others = [name for name in results.strategies if name != results.reference]
    found: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(others):
        colour, marker = ink(f"line-{place % LINES}"), _MARKERS[place % len(_MARKERS)]
        found[name] = {"color": colour, "marker": marker, "linestyle": _STROKES[place // LINES % len(_STROKES)]}
    if results.reference in results.strategies:
        found[str(results.reference)] = {"color": ink("ink"), "marker": "*", "linestyle": (0, (2, 2))}
    return {name: found[name] for name in results.strategies}


def legend(figure: Figure, chosen: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the strategies over a wide figure."""
    marks = [Line2D([], [], linewidth=1.8, markersize=5, label=name, **look) for name, look in chosen.items()]
    figure.legend(handles=marks, loc="outside upper left", ncols=_across(chosen), handlelength=2.4, columnspacing=1.4)


def legend_height(chosen: Mapping[str, Any]) -> float:
    """Return the height in inches that `legend` takes."""
    return 0.3 + 0.2 * math.ceil(len(chosen) / _across(chosen))


def _across(chosen: Mapping[str, Any]) -> int:
    return max(1, min(len(chosen), int(WIDE / (0.62 + 0.078 * max(map(len, chosen), default=0)))))


def plain(axes: Axes) -> None:
    """Take an axes' ticks and left edge away, and rule its background lightly."""
    axes.grid(axis="y", linewidth=0.8)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)


def done(results: Results, schedule: str) -> pd.DataFrame:
    """Return the trials of a schedule that ended."""
    rows = results.trials
    return rows[(rows["schedule"] == schedule) & (rows["status"] == "done")]
