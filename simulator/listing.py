"""What `wardround strategies` shows: each strategy's family, what it releases, what it keeps at a site, may it run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from rich.filesize import decimal
from rich.table import Table

from simulator.config import shipped
from simulator.schedule import Schedule, read_schedule
from simulator.terminal import out
from sites.wire import Manifest, Weights, manifest_of
from strategies import Family, known

SCHEDULE = "quickstart"


@dataclass(frozen=True, kw_only=True)
class Release:
    """A kind of tensors that leaves a site each time it learns: bytes in the first turn of a run, and in later ones."""

    kind: str
    first: int
    later: int

    def __str__(self) -> str:
        return f"{self.kind} {decimal(self.first)}{'' if self.later == self.first else ' (first turn of a run)'}"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A listed strategy. `keeps`: bytes in the vault by group; `refused`: kinds that the default policy refuses."""

    name: str
    family: Family
    what: str
    releases: tuple[Release, ...]
    keeps: Mapping[str, int]
    refused: tuple[str, ...]

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """The columns of a row: name, family, releases, keeps, and whether it may run under the default policy."""
        released = ", ".join(map(str, self.releases)) or "nothing"
        kept = ", ".join(f"{group} {decimal(size)}" for group, size in self.keeps.items()) or "nothing"
        return self.name, self.family, released, kept, f"no: {', '.join(self.refused)}" if self.refused else "yes"


HEADINGS = ("strategy", "family", "releases each time", "keeps at a site", "default policy")


def listed(name: str) -> Listed:
    """Return what there is to say of a strategy, read off its blanks under a shipped schedule and its own defaults."""
    schedule = read_schedule(shipped("schedules")[SCHEDULE], [f"strategy={name}"])
    strategy, config, setting = schedule.strategy, schedule.strategy_config, schedule.setting
    first, later = (manifest_of(strategy.blank_upload(config, setting, is_first)) for is_first in (True, False))
    return Listed(
        name=name,
        family=strategy.family,
        what=_what(schedule),
        releases=tuple(
            Release(kind=kind, first=_bytes_of(first, kind), later=_bytes_of(later, kind))
            for kind in dict.fromkeys(leaf.kind for leaf in first)
        ),
        keeps={group: _size(tensors) for group, tensors in strategy.blank_vault(config, setting).items()},
        refused=tuple(next(iter(schedule.policies.values())).refused_kinds(first)),
    )


def every(names: Iterable[str] | None = None) -> list[Listed]:
    """Return the strategies named, or all that are at hand, family after family and by name within one."""
    families, chosen = get_args(Family), known() if names is None else names
    return sorted(map(listed, chosen), key=lambda one: (families.index(one.family), one.name))


def markdown(strategies: Iterable[Listed]) -> str:
    """Return the list as a Markdown table, a line for each strategy."""
    rows = [HEADINGS, tuple("---" for _ in HEADINGS)]
    rows += [(f"`{name}`", *rest) for name, *rest in (one.cells for one in strategies)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def show(output: Literal["text", "json", "markdown"]) -> None:
    """Print the list of all strategies."""
    strategies = every()
    if output == "json":
        out.print_json(json.dumps([asdict(one) for one in strategies]))
    elif output == "markdown":
        out.print(markdown(strategies), end="", soft_wrap=True, markup=False)
    else:
        table = Table(title=f"Strategies, with the sizes of the schedule '{SCHEDULE}'", show_lines=True)
        for heading in HEADINGS:
            table.add_column(heading, no_wrap=heading == "strategy")
        for one in strategies:
            table.add_row(*one.cells)
        out.print(table)


def _what(schedule: Schedule) -> str:
    """Return the first paragraph of a strategy's file."""
    text = sys.modules[type(schedule.strategy_config).__module__].__doc__ or ""
    return " ".join(text.split("\n\n")[0].split())


def _bytes_of(manifest: Manifest, kind: str) -> int:
    return sum(leaf.nbytes for leaf in manifest if leaf.kind == kind)


def _size(tensors: Weights) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
