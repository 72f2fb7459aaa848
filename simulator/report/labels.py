"""Labels and ticks of figures, kept apart where they would overlap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import ScalarFormatter
from matplotlib.transforms import Bbox, BboxBase

from simulator.report.ink import ink

# Directions in which a name may stand off its point, the likeliest first, and how many strides at most.
_ROUND = (
    *((1, 0), (-1, 0), (0.7, 0.8), (0.7, -0.8), (-0.7, 0.8), (-0.7, -0.8), (0, 1), (0, -1)),
    *((1, 0.4), (1, -0.4), (-1, 0.4), (-1, -0.4), (0.35, 1), (0.35, -1), (-0.35, 1), (-0.35, -1)),
)
_STRIDES = 26


class Plain(ScalarFormatter):
    """Writes .85 for 0.85, as the text of a report does."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return str(super().__call__(x, pos)).removeprefix("0") if 0 < x < 1 else str(super().__call__(x, pos))


def end_labels(axes: Axes, ends: dict[str, tuple[float, str]], last: int) -> None:
    """Write each name at the end of its line, moved apart where lines end close together."""
    low, high = axes.get_ylim()
    step = (high - low) * 0.062
    names = sorted(ends, key=lambda site: ends[site][0])
    for site, y in zip(names, spread([ends[site][0] for site in names], step), strict=True):
        value, colour = ends[site]
        axes.annotate(
            site,
            xy=(last, value),
            xytext=(last + 0.035 * max(last - 1, 1), y),
            color=ink("ink"),
            va="center",
            fontsize=8.5,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "alpha": 0.6, "shrinkA": 1, "shrinkB": 2},
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move ascending places apart to at least `gap`, each run of crowded ones staying round its own middle."""
    runs: list[tuple[float, int]] = []
    for place in places:
        middle, count = place, 1
        while runs and middle - gap * (count - 1) / 2 < runs[-1][0] + gap * (runs[-1][1] + 1) / 2:
            other, more = runs.pop()
            middle, count = (middle * count + other * more) / (count + more), count + more
        runs.append((middle, count))
    return [middle + gap * (k - (count - 1) / 2) for middle, count in runs for k in range(count)]


def step_ticks(steps: int) -> list[int]:
    """Return the steps to write under an axis, a dozen at most."""
    stride = max(1, math.ceil(steps / 12))
    return list(range(1, steps + 1, stride))


def place_names(
    figure: Figure, axes: Axes, points: Mapping[str, tuple[float, float]], colours: Mapping[str, str]
) -> None:
    """Write a name beside each point, where no point, error bar or other name is in the way.

    To be called once the axes have their limits: it fixes the figure's layout. A name that must stand off its point
    is tied to it by a thin line of the point's colour.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    taken = [Bbox.from_extents(x - 6, y - 6, x + 6, y + 6) for x, y in axes.transData.transform([*points.values()])]
    taken += _error_bars(axes)
    room = axes.get_window_extent().padded(-2)
    for name, point in sorted(points.items(), key=lambda item: (-item[1][1], item[1][0])):
        text = axes.annotate(
            name, point, xytext=(0, 0), textcoords="offset points", fontsize=8.5, va="center", zorder=5
        )
        taken.append(_settle(text, taken, room))
        if math.hypot(*text.xyann) > 15:
            tie = {"arrowstyle": "-", "color": colours[name], "linewidth": 0.8, "shrinkA": 0, "shrinkB": 4}
            axes.annotate("", point, xytext=text.xyann, textcoords="offset points", arrowprops=tie)


def _error_bars(axes: Axes) -> list[Bbox]:
    drawn = (container for container in axes.containers if isinstance(container, ErrorbarContainer))
    bars = (bar for container in drawn for bar in container.lines[2])
    segments = (segment for bar in bars for segment in bar.get_segments())
    return [Bbox(axes.transData.transform(segment)).padded(2) for segment in segments]


def _settle(text: Annotation, taken: Sequence[BboxBase], room: BboxBase) -> Bbox:
    """Move a name outwards from its point, round and round, until it is free; return the box that it takes."""
    best: tuple[float, tuple[float, float], str] | None = None
    for turn in range(_STRIDES * len(_ROUND)):
        reach, (across, up) = 9 + 9 * (turn // len(_ROUND)), _ROUND[turn % len(_ROUND)]
        offset, side = (reach * across, reach * up), "left" if across > 0 else "right" if across < 0 else "center"
        text.set(position=offset, ha=side)
        box = text.get_window_extent().padded(1.5)
        over = sum(_overlap(box, other) for other in taken) + 100 * (1 - _overlap(box, room))
        if best is None or over < best[0] - 1e-9:
            best = over, offset, side
        if over < 1e-9:
            break
    assert best is not None
    text.set(position=best[1], ha=best[2])
    return text.get_window_extent().padded(1.5)


def _overlap(one: BboxBase, other: BboxBase) -> float:
    """The share of one box that another covers."""
    common = Bbox.intersection(one, other)
    return common.width * common.height / (one.width * one.height) if common else 0.0
