"""Draws what is traded against what: seen against unseen sites, and Dice against what left and what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from simulator.bench import words
from simulator.bench.looks import WIDE, Plate, looks
from simulator.bench.results import Results
from simulator.bench.scores import SEEN, UNSEEN, Score
from simulator.bench.statistics import Estimate
from simulator.bench.tables import best_of, cost_of, estimates_of, kinds_of
from simulator.report.ink import KINDS, ink
from simulator.report.labels import Plain, place_names
from simulator.report.words import listed

_KIND_MARKERS = dict(zip(words.SENSITIVITY, "XPDpsohv^<>", strict=True))


def scatter(results: Results, schedule: str) -> Plate | None:
    """Seen against unseen sites; None where no strategy has both."""
    seen, unseen = estimates_of(results, schedule, SEEN), estimates_of(results, schedule, UNSEEN)
    points = {
        name: (seen[name], unseen[name]) for name in results.strategies if _has(seen[name]) and _has(unseen[name])
    }
    if not points:
        return None
    best = [str(best_of(results, {name: pair[place] for name, pair in points.items()}, 1)) for place in (0, 1)]
    seen_best, unseen_best = SEEN.number(seen[best[0]].mean), UNSEEN.number(unseen[best[1]].mean)
    if len(points) == 1:
        finding = f"{best[0]} reaches {seen_best} Dice on seen sites and {unseen_best} on unseen ones."
    elif best[0] == best[1]:
        finding = f"{best[0]} has the highest mean Dice, on seen sites ({seen_best}) and on unseen ones ({unseen_best})"
    else:
        finding = (
            f"On seen sites {best[0]} has the highest mean Dice ({seen_best}), on unseen ones {best[1]} ({unseen_best})"
        )
    if len(points) > 1:
        finding += f"; {results.reference}, the reference, set aside." if results.reference in points else "."
    return Plate(
        name="seen-unseen",
        title="Seen against unseen sites",
        caption="Top right is best. Bars: 95 % confidence interval of the mean, from three trials on.",
        finding=finding,
        draw=partial(
            draw_points,
            results,
            points,
            across="Dice on seen sites (higher is better)",
            up="Dice on unseen sites (higher is better)",
        ),
    )


def draw_points(
    results: Results,
    points: Mapping[str, tuple[Estimate, Estimate]],
    *,
    across: str,
    up: str,
    chance: float | None = None,
) -> Figure:
    """Draw each strategy's two estimates, both in 0..1, as a point with error bars; a dotted line stands at chance."""
    figure = Figure(figsize=(6.6, max(4.6, 2.6 + 0.16 * len(points))), layout="constrained")
    axes = figure.subplots()
    if chance is not None:
        axes.axvline(chance, color=ink("other"), linewidth=1.0, linestyle=(0, (2, 2)))
    shown = {name: look for name, look in looks(results).items() if name in points}
    for name, look in shown.items():
        _point(axes, *points[name], **{**look, "linestyle": "none"}, markersize=7)
    axes.margins(0.18)
    _hold_to_unit(axes)
    axes.grid(linewidth=0.8)
    axes.tick_params(length=0)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(Plain(useOffset=False))
    places = {name: (one.mean, other.mean) for name, (one, other) in points.items()}
    place_names(figure, axes, places, {name: look["color"] for name, look in shown.items()})
    return figure


def _hold_to_unit(axes: Axes) -> None:
    """Show no more than 0..1 and room for a mark at either end: an interval may reach further than a score can."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    axes.set_xlim(max(left, -0.03), min(right, 1.03))
    axes.set_ylim(max(low, -0.03), min(high, 1.03))


def costs(results: Results, schedule: str) -> Plate | None:
    """Dice against bytes and kinds released, and against CPU seconds; None where no strategy has a score."""
    score = UNSEEN if any(_has(one) for one in estimates_of(results, schedule, UNSEEN).values()) else SEEN
    found = {name: one for name, one in estimates_of(results, schedule, score).items() if _has(one)}
    if not found:
        return None
    released = {name: cost_of(results, schedule, name, "bytes_up") for name in found}
    cpu = {name: cost_of(results, schedule, name, "cpu_seconds") for name in found}
    least, fastest = (min(cost, key=lambda name: _order(cost[name])) for cost in (released, cpu))
    bare = [name for name in found if {"image", "label"} & set(kinds_of(results, schedule, name).split("+"))]
    finding = (
        f"{score.noun} against its price. The fewest bytes leave the sites with {least} "
        f"({words.amount(released[least].mean)} a trial); the least CPU time takes {fastest} "
        f"({words.seconds(cpu[fastest].mean)})."
    )
    finding += f" Patients' data themselves leave with {listed(bare)}." if bare else ""
    return Plate(
        name="costs",
        title="Dice against what left the sites and what it cost",
        caption="Top left is best, on both sides. Colour and shape: the most sensitive kind that a strategy releases. "
        "Bars: 95 % confidence interval of the mean, from three trials on.",
        finding=finding,
        draw=partial(_costs, results, schedule, score, found, (released, cpu)),
    )


def _costs(
    results: Results,
    schedule: str,
    score: Score,
    found: dict[str, Estimate],
    prices: tuple[dict[str, Estimate], dict[str, Estimate]],
) -> Figure:
    figure = Figure(figsize=(WIDE, max(4.4, 2.6 + 0.16 * len(found))), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    worst = {name: words.most_sensitive(kinds_of(results, schedule, name)) for name in found}
    for axes, price in zip((left, right), prices, strict=True):
        for name, one in found.items():
            if math.isfinite(price[name].mean):
                look = {"marker": _KIND_MARKERS.get(worst[name], "."), "color": _kind_ink(worst[name])}
                _point(axes, price[name], one, **look, markersize=8, linestyle="none")
        _price_axis(axes, [one.mean for one in price.values() if math.isfinite(one.mean)])
        axes.margins(y=0.16)
        axes.grid(linewidth=0.8)
        axes.tick_params(length=0, which="both")
    left.set_ylabel(f"{score.noun} (higher is better)")
    left.yaxis.set_major_formatter(Plain(useOffset=False))
    left.set_xlabel("bytes released by all sites, a trial")
    right.set_xlabel("CPU seconds, a trial")
    left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.amount(value).replace(".0 ", " ")))
    right.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))
    shown = sorted(set(worst.values()), key=lambda kind: [*words.SENSITIVITY, kind].index(kind))
    marks = [
        Line2D(
            [], [], linewidth=0, marker=_KIND_MARKERS.get(kind, "."), color=_kind_ink(kind), markersize=8, label=kind
        )
        for kind in shown
    ]
    title, across = "most sensitive kind released:", min(len(marks), 6)
    figure.legend(handles=marks, loc="outside upper left", ncols=across, title=title, alignment="left")
    for axes, price in zip((left, right), prices, strict=True):
        priced = {name: (price[name].mean, one.mean) for name, one in found.items() if math.isfinite(price[name].mean)}
        place_names(figure, axes, priced, {name: _kind_ink(worst[name]) for name in priced})
    return figure


def _price_axis(axes: Axes, values: list[float]) -> None:
    """Scale an axis of prices by decades with room for names; prices of nothing get a place left of the rest."""
    paid = [value for value in values if value > 0]
    low, high = (min(paid), max(paid)) if paid else (1.0, 1.0)
    room = max(2.2, (high / low) ** 0.18)
    if len(paid) < len(values):
        axes.set_xscale("symlog", linthresh=low / 10)
        axes.set_xlim(-low / 30, high * room)
        axes.xaxis.set_major_locator(
            FixedLocator([0, *10.0 ** np.arange(math.ceil(math.log10(low)), math.ceil(math.log10(high * room)))])
        )
    else:
        axes.set_xscale("log")
        axes.set_xlim(low / room, high * room)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if high / low < 30 else (1.0,)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _kind_ink(kind: str) -> str:
    return ink(f"kind-{kind}") if kind in KINDS else ink("other")


def _point(axes: Axes, across: Estimate, up: Estimate, **look: Any) -> None:
    """A mark with its error bars."""
    axes.errorbar(across.mean, up.mean, xerr=_bar(across), yerr=_bar(up), elinewidth=1.1, capsize=2.5, **look)


def _bar(found: Estimate) -> float | None:
    return found.margin if found.drawn else None


def _has(found: Estimate) -> bool:
    return math.isfinite(found.mean)


def _order(found: Estimate) -> float:
    return found.mean if _has(found) else math.inf
