"""What a person sees in the terminal: progress, tables, and the last line that says what to do next."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import isnan
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.status import Status
from rich.table import Table

if TYPE_CHECKING:
    from simulator.metrics import ScoreMatrix
    from simulator.schedule import Schedule
    from sites.wire import Manifest

# Held to the real streams: a site's output is redirected to its own log while it works in this process.
out = Console(file=sys.stdout, highlight=False)
err = Console(file=sys.stderr, highlight=False)


def loading() -> Status:
    """Show, on a terminal, that the heavy libraries are being loaded."""
    return err.status("loading torch and its friends")


class Bar:
    """A progress bar on a terminal; a line for each turn where the output is a file or a pipe."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("starting", total=None)

    def begin(self, total: int, done: int) -> None:
        self._bar.update(self._task, total=total, completed=done)

    def doing(self, what: str) -> None:
        self._bar.update(self._task, description=what)
        if not err.is_terminal:
            err.print(what)

    def advance(self, count: int = 1) -> None:
        self._bar.advance(self._task, count)


@contextmanager
def progress_bar() -> Iterator[Bar]:
    """Show a progress bar on standard error while a run goes on."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal, redirect_stdout=False) as bar:
        yield Bar(bar)


def narrow_table(title: str) -> Table:
    """Return a table without lines between columns, so that 80 hold more of them."""
    return Table(title=title, box=SIMPLE_HEAD, title_justify="left", caption_justify="left")


def timeline_table(schedule: Schedule) -> Table:
    """Return the resolved timeline: who arrives, with which cases, and who holds data."""
    timeline = schedule.timeline
    table = Table(title=f"{schedule.config.name}: {schedule.config.strategy.name} on {schedule.config.task}")
    for column in ("step", "arriving", "training cases", "online"):
        table.add_column(column, justify="right" if column == "step" else "left")
    for step in timeline.steps:
        cases = [
            f"{site} {visit.first}-{visit.first + visit.count - 1}"
            for site in step.arriving
            for visit in timeline.visits[site]
            if visit.step == step.number
        ]
        table.add_row(str(step.number), ", ".join(step.arriving), ", ".join(cases), ", ".join(step.online))
    table.caption = f"unseen: {', '.join(timeline.unseen) or 'none'}; seed {schedule.config.seed}"
    return table


def score_table(matrix: ScoreMatrix) -> Table:
    """Return a score matrix: a row for each step, a column for each site, the newest arrival in bold."""
    table = Table(title="Dice after each step")
    table.add_column("step", justify="right")
    for site in matrix.sites:
        table.add_column(site if matrix.arrivals[site] else f"{site} (unseen)", justify="right")
    for step, row in enumerate(matrix.values):
        cells = [
            f"[bold]{value:.3f}[/bold]" if step in matrix.arrivals[site] else f"{value:.3f}"
            for site, value in zip(matrix.sites, row, strict=True)
        ]
        table.add_row("untrained" if step == 0 else str(step), *cells)
    return table


def summary_table(summaries: dict[str, dict[str, float]]) -> Table:
    """Return the scores read off the matrices: a row for each metric, a dash where a score is not defined."""
    table = Table(title="Scores at the end")
    table.add_column("metric")
    for score in next(iter(summaries.values())):
        table.add_column(score.replace("_", " "), justify="right")
    for metric, summary in summaries.items():
        table.add_row(metric, *("-" if isnan(value) else f"{value:.3f}" for value in summary.values()))
    return table


def release_table(manifest: Manifest) -> Table:
    """Return what leaves a site each time it learns: declared fields with kind, tensors and bytes."""
    table = Table(title="What leaves a site each time it learns")
    for column in ("field", "kind", "tensors", "bytes"):
        table.add_column(column, justify="left" if column in ("field", "kind") else "right")
    for field in dict.fromkeys(leaf.field for leaf in manifest):
        leaves = [leaf for leaf in manifest if leaf.field == field]
        table.add_row(field, leaves[0].kind, str(len(leaves)), f"{sum(leaf.nbytes for leaf in leaves):,}")
    return table
