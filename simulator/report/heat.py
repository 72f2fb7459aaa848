"""Paints a score matrix: steps down, sites across, the stronger the better."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from simulator.metrics import Metric, ScoreMatrix
from simulator.report import words
from simulator.report.ink import HEAT_LEVELS, ink

GAP = 0.35


def extent(matrix: ScoreMatrix) -> tuple[float, float]:
    """Return the width and height in inches that a score matrix needs, its labels included."""
    longest = _longest(matrix)
    width = 1.05 + 0.66 * len(matrix.sites) + GAP
    return width, 0.55 + 0.36 * (matrix.steps + 1) + (0.065 * longest if longest > 7 else 0)


def span(*matrices: ScoreMatrix) -> tuple[float, float]:
    """Return the worst and the best finite score of some matrices of one metric, in that order.

    The untrained row doesn't stretch the scale, or all others would look alike.
    """
    trained = np.concatenate([(matrix.values[1:] if matrix.steps else matrix.values).ravel() for matrix in matrices])
    finite = trained[np.isfinite(trained)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return (low, high) if matrices[0].higher_is_better else (high, low)


def paint(axes: Axes, matrix: ScoreMatrix, metric: Metric, scale: tuple[float, float]) -> None:
    """Paint a score matrix: colours from the worst to the best of `scale`, unseen sites apart, arrivals outlined."""
    axes.spines[:].set_visible(False)
    places = _columns(matrix)
    levels = _levels(matrix, *scale)
    for step in range(matrix.steps + 1):
        for site, x in places.items():
            value = words.number(matrix.score(step, site), metric)
            _cell(axes, x, step, levels[step, matrix.sites.index(site)], value)
    for site in matrix.seen_sites:
        for step in matrix.arrivals[site]:
            axes.add_patch(_square(places[site], step, 0.47, fill=False, edgecolor=ink("ink"), linewidth=1.8))
    axes.set_xlim(-0.55, max(places.values(), default=0) + 0.55)
    axes.set_ylim(matrix.steps + 0.55, -0.55)
    rotation = 40 if _longest(matrix) > 7 else 0
    axes.set_xticks(list(places.values()), list(places), rotation=rotation, ha="left" if rotation else "center")
    axes.set_yticks(range(matrix.steps + 1), ["untrained", *(f"step {step}" for step in range(1, matrix.steps + 1))])
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False, left=False)


def _longest(matrix: ScoreMatrix) -> int:
    return max((len(site) for site in matrix.sites), default=0)


def _columns(matrix: ScoreMatrix) -> dict[str, float]:
    shift = GAP if matrix.seen_sites else 0.0
    seen = {site: float(x) for x, site in enumerate(matrix.seen_sites)}
    return seen | {site: x + len(seen) + shift for x, site in enumerate(matrix.unseen_sites)}


def _levels(matrix: ScoreMatrix, worst: float, best: float) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Sort the scores into levels of colour, 0 the worst; -1 where there is none."""
    sign = 1 if matrix.higher_is_better else -1
    values, low, high = sign * matrix.values, sign * worst, sign * best
    share = np.clip((values - low) / (high - low), 0, 1) if high > low else (values >= high).astype(float)
    return np.where(np.isnan(values), -1, np.nan_to_num(share) * (HEAT_LEVELS - 1)).round().astype(np.int64)


def _cell(axes: Axes, x: float, step: int, level: int, value: str) -> None:
    if level < 0:
        axes.add_patch(_square(x, step, 0.45, fill=False, edgecolor=ink("rule"), linewidth=0.8))
    else:
        axes.add_patch(_square(x, step, 0.47, facecolor=ink(f"heat-{level}"), linewidth=0))
    colour = ink("muted" if level < 0 else f"on-heat-{level}")
    axes.text(x, step, value, ha="center", va="center", color=colour)


def _square(x: float, y: float, half: float, **style: Any) -> Rectangle:
    return Rectangle((x - half, y - half), 2 * half, 2 * half, **style)
