"""Labels and ticks of figures, kept apart where they would overlap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import ScalarFormatter
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from simulator.report.ink import ink

# Directions in which a name may stand off its point, the likeliest first, and how many strides at most.
_ROUND = (
    *((1, 0), (-1, 0), (0.7, 0.8), (0.7, -0.8), (-0.7, 0.8), (-0.7, -0.8), (0, 1), (0, -1)),
    *((1, 0.4), (1, -0.4), (-1, 0.4), (-1, -0.4), (0.35, 1), (0.35, -1), (-0.35, 1), (-0.35, -1)),
)
_STRIDES = 26
# Boxes in pixels, [..., 4]: left, bottom, right, top.
Boxes = NDArray[np.float64]
_LOW, _HIGH = slice(0, 2), slice(2, 4)


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
    centres = axes.transData.transform(np.reshape([*points.values()], (-1, 2)))
    taken = np.concatenate([np.hstack([centres - 6, centres + 6]), _error_bars(axes)])
    room = np.array(axes.get_window_extent().padded(-2).extents)
    for name, point in sorted(points.items(), key=lambda item: (-item[1][1], item[1][0])):
        text = axes.annotate(
            name, point, xytext=(0, 0), textcoords="offset points", fontsize=8.5, va="center", zorder=5
        )
        taken = np.vstack([taken, _settle(text, taken, room)])
        if math.hypot(*text.xyann) > 15:
            tie = {"arrowstyle": "-", "color": colours[name], "linewidth": 0.8, "shrinkA": 0, "shrinkB": 4}
            axes.annotate("", point, xytext=text.xyann, textcoords="offset points", arrowprops=tie)


def _error_bars(axes: Axes) -> Boxes:
    drawn = (container for container in axes.containers if isinstance(container, ErrorbarContainer))
    bars = (bar for container in drawn for bar in container.lines[2])
    segments = (axes.transData.transform(segment) for bar in bars for segment in bar.get_segments())
    return np.array([Bbox(segment).padded(2).extents for segment in segments]).reshape(-1, 4)


def _settle(text: Annotation, taken: Boxes, room: Boxes) -> Boxes:
    """Move a name outwards from its point, round and round, until it is free; return the box [4] that it takes."""
    text.set(ha="left")
    box = text.get_window_extent()
    across, up = np.tile(np.array(_ROUND), (_STRIDES, 1)).T
    reach = 9 + 9 * np.repeat(np.arange(_STRIDES), len(_ROUND))
    points_to_pixels = text.figure.dpi / 72
    # A name to the left of its point ends there, one above or below it has its middle there.
    x = reach * across * points_to_pixels - box.width * (1 - np.sign(across)) / 2
    y = reach * up * points_to_pixels
    boxes = box.padded(1.5).extents + np.stack([x, y, x, y], axis=1)
    over = _overlaps(boxes, taken).sum(1) + 100 * (1 - _overlaps(boxes, room[None])[:, 0])
    best = int(np.argmin(over.round(9)))
    side = {1: "left", -1: "right", 0: "center"}[int(np.sign(across[best]))]
    text.set(position=(reach[best] * across[best], reach[best] * up[best]), ha=side)
    settled: Boxes = boxes[best]
    return settled


def _overlaps(boxes: Boxes, others: Boxes) -> NDArray[np.float64]:
    """Return the share of each box [N, 4] that each of the others [M, 4] covers, [N, M]."""
    low, high = (
        pick(boxes[:, None, at], others[None, :, at]) for pick, at in ((np.maximum, _LOW), (np.minimum, _HIGH))
    )
    shares: Boxes = np.clip(high - low, 0, None).prod(-1) / (boxes[:, _HIGH] - boxes[:, _LOW]).prod(-1)[:, None]
    return shares
