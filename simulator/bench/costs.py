"""Sets out what strategies cost: what left the sites, the time that trials took, and how the times compare."""

from __future__ import annotations

import math
from collections.abc import Callable

from simulator.bench import words
from simulator.bench.ratios import Ratio, cpu_ratio, growth
from simulator.bench.results import Results
from simulator.bench.tables import Cell, Column, Table, cost_of, kinds_of
from simulator.report.words import NONE

_COSTS = ("bytes_up", "bytes_first", "cpu_seconds", "wall_seconds")


def cost_table(results: Results) -> Table:
    """Return what each strategy released and computed on each schedule, means over the trials done."""
    several = len(results.schedules) > 1
    columns = (
        *map(Column, ("Strategy", *(["Schedule"] if several else []), "Kinds released", "Most sensitive")),
        *(Column("Released", "a trial", "low"), Column("First turn", "", "low")),
        *(Column("CPU", "a trial", "low"), Column("Wall clock", "a trial", "low")),
        *(Column("CPU ratio", "to the cheapest", "low"), Column("Last step", "to the second", "low")),
    )
    rows = []
    for schedule in results.schedules:
        ends = _extremes(results, schedule, "cpu_seconds")
        cheapest = ends[0][0] if ends else None
        for name in results.strategies:
            kinds = kinds_of(results, schedule, name)
            means = [cost_of(results, schedule, name, column).mean for column in _COSTS]
            says = (words.amount, words.amount, words.seconds, words.seconds)
            numbers = [Cell(say(mean), value=mean) for say, mean in zip(says, means, strict=True)]
            said = (*([schedule] if several else []), kinds.replace("+", ", ") or NONE, words.most_sensitive(kinds))
            ratios = (_to_cheapest(results, schedule, name, cheapest), _ratio_cell(growth(results, schedule, name)))
            rows.append((name, (*map(Cell, said), *numbers, *ratios)))
    caption = (
        "What all sites together released while learning, and the time that a trial took: means over the trials done. "
        "CPU ratio: geometric mean over paired trials, with its 95 % confidence interval. Last step: how many times "
        "the CPU time of the second step the last one took, its scoring included."
    )
    return Table(caption=caption, columns=columns, rows=tuple(rows))


def _to_cheapest(results: Results, schedule: str, name: str, cheapest: str | None) -> Cell:
    if cheapest is None:
        return Cell(NONE)
    if name == cheapest:
        return Cell("1", value=1.0, best=True)
    return _ratio_cell(cpu_ratio(results, schedule, name, cheapest))


def _ratio_cell(found: Ratio) -> Cell:
    interval = "" if math.isnan(found.low) else f" ({words.times(found.low)} to {words.times(found.high)})"
    return Cell(words.times(found.mean) + interval, value=found.mean)


def price(results: Results) -> tuple[str, ...]:
    """Say, for each schedule, what the cheapest and the dearest strategy released and computed."""
    found = []
    for schedule in results.schedules:
        released = _extremes(results, schedule, "bytes_up")
        computed = _extremes(results, schedule, "cpu_seconds")
        texts = []
        if released:
            texts.append(_range("released a trial", released, words.amount))
        if computed:
            texts.append(_range("CPU time a trial", computed, words.seconds))
            (least, _), (most, _) = computed
            if least != most and (ratio := cpu_ratio(results, schedule, most, least)).pairs:
                texts.append(words.ratio(ratio))
        if texts:
            found.append(f"{schedule}: {'; '.join(texts)}.")
    return tuple(found)


def _extremes(results: Results, schedule: str, column: str) -> tuple[tuple[str, float], tuple[str, float]] | None:
    """Return the strategies with the lowest and the highest mean of a cost, each with it."""
    means = {name: cost_of(results, schedule, name, column).mean for name in results.strategies}
    known = sorted((mean, name) for name, mean in means.items() if math.isfinite(mean))
    return ((known[0][1], known[0][0]), (known[-1][1], known[-1][0])) if known else None


def _range(what: str, ends: tuple[tuple[str, float], tuple[str, float]], say: Callable[[float], str]) -> str:
    (least, low), (most, high) = ends
    return f"{what} from {say(low)} ({least}) to {say(high)} ({most})" if least != most else f"{what} {say(low)}"
